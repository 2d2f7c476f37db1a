"""Weights files of hibari-mini's networks: safetensors, both directions, strict.

A file's metadata holds the sizes of the networks in it, so that it says itself what it fits. The shipped file is in
float16, and its hash stands in the manifest beside it. A file may hold a transformer alone and name the file beside it
that lends the rest, with the autoencoder's fingerprint: latents of another one would mean something else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from hibari.contracts import InputError, WeightsError
from hibari.models import manifest
from hibari.models.mini.autoencoder import Autoencoder, AutoencoderConfig
from hibari.models.mini.transformer import Transformer, TransformerConfig
from hibari.models.mini.upscaler import Upscaler, UpscalerConfig

FOLDER = Path(__file__).parent / "weights"
FORMAT = "hibari-mini/7"  # 1 answered with velocity, 2 with x0; 3, 4 refine by cells, 6, 7 by fields; 5 knows the time
ABOUT = "hibari"  # the one key of a file's metadata: safetensors writes several in any order


def write(path: Path, networks: Mapping[str, Network], dtype: torch.dtype, about: Mapping[str, str]) -> None:
    """Write networks to one file, aside and then renamed.

    Args:
        networks: by the names in `NETWORKS`.
        about: what else the metadata should say (recipe, commit, ...).
    """
    tensors = {
        f"{name}.{key}": value.detach().to(dtype).contiguous()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }
    sizes = {name: asdict(network.config) for name, network in networks.items()}
    said = json.dumps({"format": FORMAT, **sizes, **about}, sort_keys=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata={ABOUT: said})
    part.chmod(0o644)  # safetensors writes for the owner alone; an installed file is for everybody
    part.replace(path)


def ship(path: Path, networks: Mapping[str, Network], about: Mapping[str, str]) -> str:
    """Write networks in float16, and the file's hash to the manifest beside it. Returns the hash."""
    write(path, networks, torch.float16, about)
    return manifest.record(path)


def borrowing(lender: Path, autoencoder: Autoencoder) -> dict[str, str]:
    """What the metadata of a file of a transformer alone says: who lends it its autoencoder, and which that must be."""
    return {"borrows": lender.name, "autoencoder_sha256": fingerprint(autoencoder)}


def fingerprint(network: Network) -> str:
    """sha256 of a network's tensors in float16, as they ship: the same whatever else is in its file."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.half().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read(path: Path) -> dict[str, Network]:
    """The networks of a file, in float32, ready to run.

    Raises:
        WeightsError: if the file cannot be read, or a tensor is missing, left over or of another shape.
    """
    return _read(path)[0]


def read_autoencoder(path: Path) -> Autoencoder:
    """The autoencoder of a file.

    Raises:
        InputError: it holds none.
        WeightsError: as `read`.
    """
    found = read(path).get("autoencoder")
    if not isinstance(found, Autoencoder):
        raise InputError(f"{path} holds no autoencoder; name a weights file that does")
    return found


def _read(path: Path) -> tuple[dict[str, Network], dict[str, Any]]:
    """The networks, and what the metadata says."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            said = json.loads(metadata.get(ABOUT, "{}"))
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"the weights {path} cannot be read: {error}") from error
    if (format_ := said.get("format") or metadata.get("format", "unknown")) != FORMAT:
        raise WeightsError(f"{path} is of format {format_!r}, wanted {FORMAT!r}; export it again")
    networks = {name: build(said[name]) for name, build in NETWORKS.items() if name in said}
    _fill(nn.ModuleDict(networks), state, path)
    for network in networks.values():
        network.eval().requires_grad_(False)
    return networks, said


def load(path: Path) -> tuple[Autoencoder, Transformer, Upscaler | None]:
    """The networks of a file; those written before there was an upscaler hold none.

    Raises:
        WeightsError: as `read`, or if one of the first two is not in it, or the file that lends it is missing, damaged
            or has another autoencoder.
    """
    networks, said = _read(path)
    if "borrows" in said:
        networks = _lent(path.with_name(said["borrows"]), path, said["autoencoder_sha256"]) | networks
    autoencoder, transformer = networks.get("autoencoder"), networks.get("transformer")
    if not isinstance(autoencoder, Autoencoder) or not isinstance(transformer, Transformer):
        raise WeightsError(f"{path} holds {', '.join(networks)}; wanted are autoencoder and transformer")
    upscaler = networks.get("upscaler")
    assert upscaler is None or isinstance(upscaler, Upscaler)
    return autoencoder, transformer, upscaler


def _lent(lender: Path, borrower: Path, wanted: str) -> dict[str, Network]:
    manifest.check(lender)
    networks = read(lender)
    found = fingerprint(networks["autoencoder"]) if "autoencoder" in networks else "none"
    if found != wanted:
        raise WeightsError(
            f"{borrower} was trained for the autoencoder {wanted[:12]}..., and {lender} beside it has {found[:12]}...; "
            "take both files from one version"
        )
    return networks


def _sizes(said: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}


Network = Autoencoder | Transformer | Upscaler
NETWORKS: dict[str, Callable[[dict[str, Any]], Network]] = {
    "autoencoder": lambda said: Autoencoder(AutoencoderConfig(**_sizes(said))),
    "transformer": lambda said: Transformer(TransformerConfig(**_sizes(said))),
    "upscaler": lambda said: Upscaler(UpscalerConfig(**_sizes(said))),
}
"""How each network is built from the sizes in a file's metadata."""


def _fill(module: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    wanted = module.state_dict()
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or extra:
        raise WeightsError(
            f"{path} does not fit: missing {missing[:3] or 'nothing'}, left over {extra[:3] or 'nothing'}"
        )
    for key, value in state.items():
        if value.shape != wanted[key].shape:
            raise WeightsError(f"{path}: {key} is {list(value.shape)}, wanted {list(wanted[key].shape)}")
    module.load_state_dict(state)
