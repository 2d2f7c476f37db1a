"""Layers that belong to no one model family."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Root-mean-square norm over the channels of each position of [B, C, H, W], with a learned gain.

    Position by position, so that a crop, a whole picture and a stream of chunks are normalised alike.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        return x_BCHW * torch.rsqrt(x_BCHW.square().mean(1, keepdim=True) + 1e-6) * self.gain
