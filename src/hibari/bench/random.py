"""Checkpoint folders of the open models with random weights: sizes that this machine can run, of the published classes.

Every number is random, also those that start as 0 or 1: behind a gate of 0 nothing would be measured or compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from hibari.models.checkpoint import diffusers_class, silence

TEXT_WIDTH = 256


@dataclass(frozen=True, slots=True)
class RandomModel:
    """Sizes of a random model, and the clip that is made with it.

    Attributes:
        pipeline, transformer, autoencoder, scheduler: classes of diffusers.
        transformer_sizes, autoencoder_sizes, scheduler_settings: what they are made with.
        size, frames: of the clip, in px.
    """

    pipeline: str
    transformer: str
    transformer_sizes: Mapping[str, Any]
    autoencoder: str
    autoencoder_sizes: Mapping[str, Any]
    scheduler: str
    scheduler_settings: Mapping[str, Any]
    size: tuple[int, int]
    frames: int


def _ltx(heads: int, width: int, layers: int, fine: int, size: tuple[int, int], frames: int) -> RandomModel:
    channels = (fine, 2 * fine, 4 * fine, 4 * fine)
    return RandomModel(
        pipeline="LTXPipeline",
        transformer="LTXVideoTransformer3DModel",
        transformer_sizes={
            "num_attention_heads": heads, "attention_head_dim": width, "cross_attention_dim": heads * width,
            "num_layers": layers, "caption_channels": TEXT_WIDTH,
        },
        autoencoder="AutoencoderKLLTXVideo",
        autoencoder_sizes={
            "block_out_channels": channels, "decoder_block_out_channels": channels,
            "layers_per_block": (1,) * 5, "decoder_layers_per_block": (2,) * 5,
        },
        scheduler="FlowMatchEulerDiscreteScheduler",
        scheduler_settings={},
        size=size,
        frames=frames,
    )  # fmt: skip


def _cogvideox(
    heads: int, width: int, layers: int, fine: int, size: tuple[int, int], frames: int
) -> RandomModel:
    return RandomModel(
        pipeline="CogVideoXPipeline",
        transformer="CogVideoXTransformer3DModel",
        transformer_sizes={
            "num_attention_heads": heads, "attention_head_dim": width, "num_layers": layers,
            "text_embed_dim": TEXT_WIDTH, "use_rotary_positional_embeddings": True,
            "sample_width": size[0] // 8, "sample_height": size[1] // 8, "sample_frames": frames,
        },
        autoencoder="AutoencoderKLCogVideoX",
        autoencoder_sizes={
            "down_block_types": ("CogVideoXDownBlock3D",) * 4, "up_block_types": ("CogVideoXUpBlock3D",) * 4,
            "block_out_channels": (fine, 2 * fine, 2 * fine, 4 * fine), "layers_per_block": 1,
            "norm_num_groups": 8,
        },
        scheduler="CogVideoXDDIMScheduler",
        scheduler_settings={
            "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": "v_prediction",
            "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "snr_shift_scale": 1.0,
            "clip_sample": False, "set_alpha_to_one": True,
        },
        size=size,
        frames=frames,
    )  # fmt: skip


def _mochi(heads: int, width: int, layers: int, fine: int, size: tuple[int, int], frames: int) -> RandomModel:
    return RandomModel(
        pipeline="MochiPipeline",
        transformer="MochiTransformer3DModel",
        transformer_sizes={
            "num_attention_heads": heads, "attention_head_dim": width, "num_layers": layers,
            "pooled_projection_dim": heads * width // 2, "text_embed_dim": TEXT_WIDTH,
        },
        autoencoder="AutoencoderKLMochi",
        autoencoder_sizes={
            "encoder_block_out_channels": (32,) * 4, "layers_per_block": (1,) * 5,
            "decoder_block_out_channels": (fine, fine, 2 * fine, 2 * fine),
        },
        scheduler="FlowMatchEulerDiscreteScheduler",
        scheduler_settings={"invert_sigmas": True},
        size=size,
        frames=frames,
    )  # fmt: skip


RANDOM: Mapping[str, RandomModel] = MappingProxyType(
    {
        # 110 to 138 million parameters in the transformer, at 2,112 to 2,310 tokens of video.
        "ltx_video": _ltx(16, 64, 6, 64, (512, 384), 81),
        "cogvideox": _cogvideox(16, 64, 6, 32, (352, 240), 25),
        "mochi": _mochi(8, 128, 6, 32, (320, 256), 37),
        # The same classes, for tests.
        "ltx_video-tiny": _ltx(4, 8, 2, 8, (96, 64), 17),
        "cogvideox-tiny": _cogvideox(4, 16, 2, 8, (48, 32), 9),
        "mochi-tiny": _mochi(4, 8, 2, 32, (48, 32), 13),
    }
)


def write(name: str, folder: Path) -> None:
    """Make the folder of a random model of the table, always of the same numbers."""
    model = RANDOM[name]
    silence("diffusers", "transformers")
    transformers: Any = import_module("transformers")
    letters = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    config = transformers.T5Config(
        vocab_size=len(letters), d_model=TEXT_WIDTH, d_kv=32, d_ff=512, num_layers=2, num_heads=8,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    pipeline = diffusers_class(model.pipeline)(
        tokenizer=transformers.T5TokenizerFast(vocab=letters, extra_ids=0, model_max_length=512),
        text_encoder=randomised(transformers.T5EncoderModel(config), 1),
        transformer=randomised(diffusers_class(model.transformer)(**model.transformer_sizes), 2),
        vae=randomised(diffusers_class(model.autoencoder)(**model.autoencoder_sizes), 3),
        scheduler=diffusers_class(model.scheduler)(**model.scheduler_settings),
    )
    pipeline.save_pretrained(folder)


def randomised(network: nn.Module, seed: int) -> Any:
    """The same network with every number random, ready to run."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in [*network.parameters(), *network.buffers()]:
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            # So that what goes through keeps its size: a layer's outputs are sums over all axes but the first.
            tensor.data = 0.5 + 0.1 * noise if tensor.ndim == 1 else noise * tensor[0].numel() ** -0.5
    return network.eval().requires_grad_(False)
