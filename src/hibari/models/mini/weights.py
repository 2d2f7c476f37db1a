"""The weights file of hibari-mini: one safetensors file in float16, both directions, strict.

Its metadata holds the sizes of both networks, so that a file says itself what it fits; its hash stands in
`weights/manifest.json`, so that a damaged file is refused before anything is computed from it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from hibari.contracts import WeightsError
from hibari.models.mini.autoencoder import Autoencoder, AutoencoderConfig
from hibari.models.mini.transformer import Transformer, TransformerConfig

FOLDER = Path(__file__).parent / "weights"
MANIFEST = "manifest.json"


def save(path: Path, autoencoder: Autoencoder, transformer: Transformer, about: Mapping[str, str]) -> str:
    """Write both networks to `path` and their hash to the manifest beside it.

    Args:
        about: what else the file's metadata should say (recipe, commit, ...).

    Returns:
        The file's sha256.
    """
    networks = {"autoencoder": autoencoder, "transformer": transformer}
    tensors = {
        f"{name}.{key}": value.detach().half().contiguous()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }
    sizes = {name: json.dumps(asdict(network.config)) for name, network in networks.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"format": "hibari-mini/1", **sizes, **about})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = path.parent / MANIFEST
    known = json.loads(manifest.read_text()) if manifest.exists() else {}
    manifest.write_text(json.dumps({**known, path.name: digest}, indent=2, sort_keys=True) + "\n")
    return digest


def check(path: Path) -> str:
    """The file's sha256, after comparing it with the manifest.

    Raises:
        WeightsError: if the file is missing, not in the manifest, or damaged.
    """
    if not path.exists():
        raise WeightsError(
            f"the weights {path} are missing; install hibari again, or fetch the file from its source"
        )
    known = json.loads((path.parent / MANIFEST).read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if path.name not in known:
        raise WeightsError(f"{path} is not listed in {MANIFEST} beside it; known are: {', '.join(known)}")
    if digest != known[path.name]:
        raise WeightsError(
            f"the weights {path} are damaged (sha256 {digest[:12]}..., wanted {known[path.name][:12]}...); "
            "install hibari again, or fetch the file from its source"
        )
    return digest


def load(path: Path) -> tuple[Autoencoder, Transformer]:
    """Both networks in float32, ready to run.

    Raises:
        WeightsError: if the file cannot be read, or a tensor is missing, left over or of another shape.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            autoencoder = Autoencoder(AutoencoderConfig(**_sizes(metadata, "autoencoder", path)))
            transformer = Transformer(TransformerConfig(**_sizes(metadata, "transformer", path)))
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"the weights {path} cannot be read: {error}") from error
    _fill(nn.ModuleDict({"autoencoder": autoencoder, "transformer": transformer}), state, path)
    return autoencoder.eval().requires_grad_(False), transformer.eval().requires_grad_(False)


def _sizes(metadata: Mapping[str, str], name: str, path: Path) -> dict[str, Any]:
    if name not in metadata:
        raise WeightsError(
            f"{path} does not say the sizes of its {name}; it is no weights file of hibari-mini"
        )
    return {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(metadata[name]).items()}


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
