"""Layers over pictures whose channels come last, [B, F, H, W, C]: norms and linear layers want them so, and oneDNN's
convolutions are as fast with them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Convolution(nn.Conv2d):
    """3x3 over pictures."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__(width_in, width_out, 3, padding=1)

    def forward(self, x_BFHWC: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """[B, F, H, W, C] to the same with its own width."""
        x = super().forward(x_BFHWC.flatten(0, 1).permute(0, 3, 1, 2))
        return x.permute(0, 2, 3, 1).unflatten(0, x_BFHWC.shape[:2])


class Pointwise(nn.Conv2d):
    """1x1: a matrix product, for which torch asks a slow convolution where pictures are few and small."""

    def __init__(self, width_in: int, width_out: int, *, bias: bool = True) -> None:
        super().__init__(width_in, width_out, 1, bias=bias)

    def forward(self, x_BFHWC: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """[B, F, H, W, C] to the same with its own width."""
        return F.linear(x_BFHWC, self.weight.flatten(1), self.bias)


class ChannelNorm(nn.Module):
    """Root-mean-square norm over the channels of each position, with a learned gain.

    Position by position, so that a crop, a whole picture and a stream of chunks are normalised alike.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x_BFHWC: Tensor) -> Tensor:
        """[B, F, H, W, C] to the same shape."""
        # torch's own rms_norm is made of as many passes.
        return x_BFHWC * torch.rsqrt(x_BFHWC.square().mean(-1, keepdim=True) + 1e-6) * self.gain.flatten()


def spread(x: Tensor, side: int) -> Tensor:
    """[B, F, H, W, side^2 C] to [B, F, side H, side W, C]."""
    return rearrange(x, "b f h w (p q c) -> b f (h p) (w q) c", p=side, q=side)


def gathered(x: Tensor, side: int) -> Tensor:
    """The way back of `spread`."""
    return rearrange(x, "b f (h p) (w q) c -> b f h w (p q c)", p=side, q=side)
