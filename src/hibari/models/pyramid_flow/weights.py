"""The published folders of Pyramid Flow: a `config.json` with the sizes and one file of tensors for each network.

Our submodules carry the checkpoints' names, but for one that the authors spell in two ways. A setting that this code
does not implement is an error that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hibari.contracts import WeightsError
from hibari.models.checkpoint import Part
from hibari.models.folder import Source, Take, refuse_others, source
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
    refuse_others(settings, AUTOENCODER_IS, where)
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
    refuse_others(settings, MINIFLUX_IS, where)
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
    refuse_others(settings, SD3_IS, where)
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


def part(folder: Path, *, device: torch.device, dtype: torch.dtype, quantise: str = "") -> Part:
    """The network of a folder, as `checkpoint.Part` has it.

    Raises:
        WeightsError: if a file is missing or cannot be read, or does not fit; it says which and how.
    """
    network = source(folder, pickled=True)  # SD3 is published in torch's own files
    take = key_of(str(network.config.get("_class_name")))
    return Part(replace(network, take=take), build, device=device, dtype=dtype, quantise=quantise)


def build(network: Source) -> nn.Module:
    """A network without weights, on the meta device.

    Raises:
        WeightsError: its configuration is of no network of Pyramid Flow.
    """
    kind = str(network.config.get("_class_name"))
    if kind not in NETWORKS:
        raise WeightsError(f"{network.where} is of {kind}; Pyramid Flow has {', '.join(NETWORKS)}")
    return NETWORKS[kind](network.config, network.where)


def key_of(kind: str) -> Callable[[str], Take]:
    """A network's names for the tensors to those in its files: two norms of SD3 are spelt in another way there."""
    if kind == "PyramidDiffusionMMDiT":
        return lambda name: Take(name.replace(".attn.norm_added_", ".attn.norm_add_"))
    return Take


def _built(make: Callable[[], nn.Module], where: str) -> Any:
    try:
        with torch.device("meta"):
            return make()
    except KeyError as error:
        raise WeightsError(f"{where} does not say {error}") from error
