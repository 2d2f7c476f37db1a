"""Between uint8 frames and the pixels that foreign autoencoders know, and what a latent looks like."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import reduce
from torch import Tensor


def pixels_of(frames_FHWC: Tensor) -> Tensor:
    """[1, 3, F, H, W] in [-1, 1], float32, of uint8 frames [F, H, W, 3]."""
    return (2 * (frames_FHWC.float() / 255) - 1).permute(3, 0, 1, 2)[None]


def frames_of(pixels_CFHW: Tensor) -> Tensor:
    """uint8 frames [F, H, W, 3] of pixels [3, F, H, W] in [-1, 1], rounded."""
    pixels = (pixels_CFHW.float() / 2 + 0.5).clamp(0, 1) * 255
    return pixels.round().to(torch.uint8).permute(1, 2, 3, 0)


def preview_map(
    decode: Callable[[Tensor], Tensor], channels: int, *, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """The linear map [C + 1, 3 * p * p] of `Model.rgb_from_latent` that is tangent to a decoder at the latent 0.

    Args:
        decode: latents [B, C, 1, 1, 1] to pixels [B, 3, frames, h, w] in [-1, 1]; p is h / 8, at least 1.
    """
    one = torch.eye(channels + 1, channels, device=device, dtype=dtype)[..., None, None, None]
    pixels = decode(one).float()[:, :, :1]
    side = max(1, pixels.shape[-1] // 8)
    fields = reduce(pixels, "k c f (p y) (q x) -> k (c p q)", "mean", p=side, q=side)
    fields[:-1] -= fields[-1:]
    fields = fields / 2
    fields[-1] += 0.5
    return fields
