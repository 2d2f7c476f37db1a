"""Networks of diffusers written as their authors publish them, and small ones of each of LTX-Video's versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from hibari.models.folder import Source

BASE = 8  # channels, in place of 128
LATENT = 8
TRANSFORMER = {
    "_class_name": "Transformer3DModel", "activation_fn": "gelu-approximate", "attention_bias": True,
    "attention_head_dim": 8, "attention_type": "default", "caption_channels": 32, "cross_attention_dim": 32,
    "double_self_attention": False, "dropout": 0.0, "in_channels": LATENT, "norm_elementwise_affine": False,
    "norm_eps": 1e-06, "norm_num_groups": 32, "num_attention_heads": 4, "num_layers": 2, "out_channels": LATENT,
    "qk_norm": "rms_norm", "standardization_norm": "rms_norm", "positional_embedding_type": "rope",
    "positional_embedding_theta": 10000.0, "positional_embedding_max_pos": [20, 2048, 2048],
    "timestep_scale_multiplier": 1000,
}  # fmt: skip
AUTOENCODER = {
    "_class_name": "CausalVideoAutoencoder", "dims": 3, "in_channels": 3, "out_channels": 3,
    "latent_channels": LATENT, "norm_layer": "pixel_norm", "patch_size": 4, "latent_log_var": "uniform",
    "use_quant_conv": False, "causal_decoder": False, "encoder_base_channels": BASE, "decoder_base_channels": BASE,
}  # fmt: skip
FIRST_BLOCKS = [
    ["res_x", 4], ["compress_all", 1], ["res_x_y", 1], ["res_x", 3], ["compress_all", 1], ["res_x_y", 1],
    ["res_x", 3], ["compress_all", 1], ["res_x", 3], ["res_x", 4],
]  # fmt: skip


def up(layers: list[int], *, noise: bool) -> list[Any]:
    """Decoder blocks of 0.9.1 and later: the first stage gets no noise."""
    blocks: list[Any] = []
    for stage, count in enumerate(layers):
        blocks.append(["res_x", {"num_layers": count, "inject_noise": noise and stage < len(layers) - 1}])
        blocks.append(["compress_all", {"residual": True, "multiplier": 2}])
    return blocks[:-1]


def down(*smaller: str) -> list[Any]:
    """Encoder blocks of 0.9.5 and later."""
    blocks: list[Any] = [["res_x", {"num_layers": 4}]]
    for name, layers in zip(smaller, (6, 6, 2, 2), strict=True):
        blocks += [[name, {"multiplier": 2}], ["res_x", {"num_layers": layers}]]
    return blocks


SD3 = {"_class_name": "RectifiedFlowScheduler", "shifting": "SD3", "target_shift_terminal": 0.1}
QUADRATIC = {"_class_name": "RectifiedFlowScheduler", "shifting": None, "sampler": "LinearQuadratic"}
LATER = {
    "transformer": TRANSFORMER | {"causal_temporal_positioning": True},
    "vae": AUTOENCODER
    | {
        "encoder_blocks": down(
            "compress_space_res", "compress_time_res", "compress_all_res", "compress_all_res"
        ),
        "decoder_blocks": up([5, 5, 5, 5], noise=False),
        "timestep_conditioning": True,
    },
    "scheduler": QUADRATIC,
}
VERSIONS: Mapping[str, Mapping[str, Any]] = {
    "0.9.0": {"transformer": TRANSFORMER, "vae": AUTOENCODER | {"blocks": FIRST_BLOCKS}, "scheduler": SD3},
    "0.9.1": {
        "transformer": TRANSFORMER,
        "vae": AUTOENCODER
        | {
            "encoder_blocks": FIRST_BLOCKS,
            "decoder_blocks": up([5, 6, 7, 8], noise=True),
            "timestep_conditioning": True,
        },
        "scheduler": SD3,
    },
    "0.9.5": LATER,
    "0.9.8 13B": LATER
    | {
        "transformer": TRANSFORMER
        | {
            "causal_temporal_positioning": True,
            "attention_head_dim": 16,
            "cross_attention_dim": 64,
            "num_layers": 3,
        },
        "allowed_inference_steps": [1.0, 0.9937, 0.9875],
    },
}


def as_published(source: Source, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's tensors under the names of its files, its pieces put together."""
    pieces: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        take = source.take(name)
        parts = tensor.chunk(len(take.pieces)) if tensor.ndim else [tensor]
        pieces.setdefault(take.key, {}).update(zip(take.pieces, parts, strict=True))
    return {
        key: torch.cat([each[n] for n in sorted(each)]) if len(each) > 1 else each[0].clone()
        for key, each in pieces.items()
    }


def write_single(path: Path, version: str, tensors: Mapping[str, Tensor]) -> None:
    """A single file of LTX-Video, of tensors under their published names."""
    config = dict(VERSIONS[version])
    save_file(dict(tensors), path, metadata={"config": json.dumps(config)})
