"""The published folders of Pyramid Flow: a `config.json` with the sizes and one file of tensors for each network.

Our submodules carry the checkpoints' names, but for one that the authors spell in two ways. Reading is strict: a key
that is missing, left over or of another shape is an error that names it, and so is a setting that this code does not
implement.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hibari.contracts import WeightsError
from hibari.models.folder import read_json
from hibari.models.pyramid_flow.autoencoder import Autoencoder, AutoencoderConfig
from hibari.models.pyramid_flow.layers import PATCH
from hibari.models.pyramid_flow.miniflux import MiniFlux, MiniFluxConfig
from hibari.models.pyramid_flow.sd3 import Sd3, Sd3Config

_HALF = [True, True, True, False]

AUTOENCODER_IS: Mapping[str, object] = {
    "encoder_in_channels": 3,
    "encoder_act_fn": "silu",
    "encoder_double_z": True,
    "encoder_spatial_down_sample": _HALF,
    "encoder_temporal_down_sample": _HALF,
    "decoder_out_channels": 3,
    "decoder_act_fn": "silu",
    "decoder_spatial_up_sample": _HALF,
    "decoder_temporal_up_sample": _HALF,
    "add_post_quant_conv": True,
    "interpolate": False,
    "downsample_scale": 8,
}
"""What an autoencoder's configuration may say of things that are no size."""


def autoencoder_from(settings: Mapping[str, Any], where: str) -> Autoencoder:
    """An autoencoder without weights, on the meta device, of what a `config.json` says.

    Raises:
        WeightsError: a size is missing, or a setting asks for another network than this one.
    """
    _refuse_others(settings, AUTOENCODER_IS, where)
    return _built(
        lambda: Autoencoder(
            AutoencoderConfig(
                latent_channels=settings["encoder_out_channels"],
                encoder_widths=tuple(settings["encoder_block_out_channels"]),
                encoder_blocks=tuple(settings["encoder_layers_per_block"]),
                encoder_groups=settings["encoder_norm_num_groups"],
                decoder_widths=tuple(settings["decoder_block_out_channels"]),
                decoder_blocks=tuple(settings["decoder_layers_per_block"]),
                decoder_groups=settings["decoder_norm_num_groups"],
            )
        ),
        where,
    )


MINIFLUX_IS: Mapping[str, object] = {
    "patch_size": 1,
    "use_temporal_causal": True,
    "interp_condition_pos": True,
}
SD3_IS: Mapping[str, object] = {
    "patch_size": 2,
    "qk_norm": "rms_norm",
    "pos_embed_type": "sincos",
    "use_temporal_causal": True,
}
"""What the transformers' configurations may say of things that are no size. Other flags of theirs are without effect:
the authors' loader sets them itself."""


def miniflux_from(settings: Mapping[str, Any], where: str) -> MiniFlux:
    """As `autoencoder_from`."""
    _refuse_others(settings, MINIFLUX_IS, where)
    return _built(
        lambda: MiniFlux(
            MiniFluxConfig(
                latent_channels=settings["in_channels"] // PATCH**2,
                joint_blocks=settings["num_layers"],
                single_blocks=settings["num_single_layers"],
                heads=settings["num_attention_heads"],
                head_width=settings["attention_head_dim"],
                text_width=settings["joint_attention_dim"],
                pooled_width=settings["pooled_projection_dim"],
            )
        ),
        where,
    )


def sd3_from(settings: Mapping[str, Any], where: str) -> Sd3:
    """As `autoencoder_from`."""
    _refuse_others(settings, SD3_IS, where)
    return _built(
        lambda: Sd3(
            Sd3Config(
                latent_channels=settings["in_channels"],
                blocks=settings["num_layers"],
                heads=settings["num_attention_heads"],
                head_width=settings["attention_head_dim"],
                text_width=settings["joint_attention_dim"],
                pooled_width=settings["pooled_projection_dim"],
                table_side=settings["pos_embed_max_size"],
            )
        ),
        where,
    )


NETWORKS: Mapping[str, Callable[[Mapping[str, Any], str], nn.Module]] = {
    "CausalVideoVAE": autoencoder_from,
    "PyramidFluxTransformer": miniflux_from,
    "PyramidDiffusionMMDiT": sd3_from,
}
"""How a network is built, by the `_class_name` in its configuration."""


def read(folder: Path, *, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """The network of a folder, with its weights, ready to run.

    The file is mapped into memory and the network made without tensors of its own, so there is one copy at most.

    Raises:
        WeightsError: if a file is missing or cannot be read, or does not fit; it says which and how.
    """
    settings = read_json(folder / "config.json")
    kind = str(settings.get("_class_name"))
    if kind not in NETWORKS:
        raise WeightsError(f"{folder / 'config.json'} is of {kind}; Pyramid Flow has {', '.join(NETWORKS)}")
    network = NETWORKS[kind](settings, str(folder / "config.json"))
    fill(network, _tensors(folder), str(folder))
    return network.to(device, dtype).eval().requires_grad_(False)


def fill(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Give a network made on the meta device its tensors, which are not copied.

    Raises:
        WeightsError: one is missing, left over or of another shape.
    """
    wanted = published(network)
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        raise WeightsError(
            f"{where} does not fit: {len(missing)} tensors are missing{_some(missing)}, "
            f"{len(extra)} are left over{_some(extra)}"
        )
    for key, tensor in tensors.items():
        if tensor.shape != wanted[key].shape:
            raise WeightsError(f"{where}: {key} is {list(tensor.shape)}, wanted {list(wanted[key].shape)}")
    names = zip(network.state_dict(), wanted, strict=True)
    network.load_state_dict({ours: tensors[theirs] for ours, theirs in names}, assign=True)


def published(network: nn.Module) -> dict[str, Tensor]:
    """A network's tensors under the names of the authors' checkpoints, in the order of its own."""
    norm = ".attn.norm_add_" if isinstance(network, Sd3) else ".attn.norm_added_"
    return {key.replace(".attn.norm_added_", norm): tensor for key, tensor in network.state_dict().items()}


def _some(keys: list[str]) -> str:
    return f" ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" if keys else ""


def _tensors(folder: Path) -> Mapping[str, Tensor]:
    """All tensors of a folder: miniFLUX is published as safetensors, SD3 as torch's own files."""
    mapped, pickled = (folder / f"diffusion_pytorch_model.{end}" for end in ("safetensors", "bin"))
    try:
        if mapped.exists():
            return load_file(mapped)
        if pickled.exists():
            return torch.load(pickled, map_location="cpu", mmap=True, weights_only=True)
    except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise WeightsError(f"cannot read the weights in {folder}: {error}") from error
    raise WeightsError(f"there is neither {mapped.name} nor {pickled.name} in {folder}")


def _refuse_others(settings: Mapping[str, Any], known: Mapping[str, object], where: str) -> None:
    for name, value in known.items():
        if (found := settings.get(name, value)) != value and found != tuple(
            value if isinstance(value, list) else ()
        ):
            raise WeightsError(f"{where}: {name} is {found!r}; this code knows only {value!r}")


def _built(make: Callable[[], nn.Module], where: str) -> Any:
    try:
        with torch.device("meta"):
            return make()
    except KeyError as error:
        raise WeightsError(f"{where} does not say {error}") from error
