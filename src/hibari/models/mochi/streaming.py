"""The decoder of Mochi 1, a few latent frames at a time.

It is causal, and its norms look at one frame at a time; so with the last inputs of each convolution carried on, chunks
come out as the whole clip does. The reference decodes the whole clip at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hibari.models.layers import conv3d


def make_streaming(autoencoder: Any) -> None:
    """Let the decoder's causal convolutions carry their last inputs on, through the caches that its blocks hand round
    already. Whole clips are decoded as before."""
    for module in autoencoder.decoder.modules():
        if type(module).__name__ == "CogVideoXCausalConv3d":
            module.forward = partial(_carrying_on, module)


def stream(autoencoder: Any, latent_BCFHW: Tensor, chunk: int) -> Iterator[Tensor]:
    """Pixels [B, 3, frames, height, width] of `chunk` latent frames after the other. The first latent frame is one
    picture: what is decoded before that is dropped, as in the reference."""
    cache = None
    drop = autoencoder.temporal_compression_ratio - 1
    for part in latent_BCFHW.split(chunk, dim=2):
        pixels, cache = autoencoder.decoder(part, conv_cache=cache)
        yield pixels[:, :, drop:]
        drop = 0


def _carrying_on(conv: Any, inputs: Tensor, conv_cache: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """The convolution after frames of an earlier call, or after copies of its first frame."""
    if conv.time_pad:
        before = inputs[:, :, :1].repeat(1, 1, conv.time_pad, 1, 1) if conv_cache is None else conv_cache
        inputs = torch.cat([before, inputs], dim=2)
        conv_cache = inputs[:, :, -conv.time_pad :].clone()
    width, height = conv.width_pad, conv.height_pad
    padded = F.pad(inputs, (width, width, height, height, 0, 0), mode="replicate")
    return conv3d(conv.conv, padded), conv_cache
