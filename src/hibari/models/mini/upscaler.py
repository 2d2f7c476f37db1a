"""The upscaler of hibari-mini: a frame becomes four times as wide and as high.

It is bicubic interpolation, and beside it a small convolutional network that adds what interpolation cannot know: where
an edge is. The network works at half of the frame's own size, where convolutions are cheap and see far, and ends in a
pixel shuffle (Shi et al., 2016); a last look at the frame itself keeps single pixels. It sees one frame at a time, so a
clip of any length goes through in constant memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class UpscalerConfig:
    """Sizes of the upscaler.

    Attributes:
        width: channels at half of the frame's side.
        blocks: residual blocks there.
        out_width: channels at the frame's own side, before the last layer.
    """

    width: int
    blocks: int
    out_width: int


SCALE = 4


class Block(nn.Module):
    """Residual block of two 3x3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        return x_BCHW + self.conv_out(F.silu(self.conv_in(x_BCHW)))


class Upscaler(nn.Module):
    """Pixels [B, 3, H, W] in [-1, 1] to [B, 3, 4 H, 4 W]; H and W are even. A new one is bicubic interpolation."""

    def __init__(self, config: UpscalerConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv2d(3 * 4, config.width, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(config.width) for _ in range(config.blocks)))
        self.up = nn.Conv2d(config.width, config.out_width * 4, 1)
        self.near = nn.Conv2d(3, config.out_width, 3, padding=1)
        self.head = nn.Conv2d(config.out_width, 3 * SCALE**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """See the class. What leaves [-1, 1] is not clipped. The network's own precision may be another than theirs."""
        x = pixels_BCHW.to(self.stem.weight.dtype)
        h = self.stem(F.pixel_unshuffle(x, 2))  # [B, width, H/2, W/2]
        h = F.pixel_shuffle(self.up(F.silu(self.blocks(h))), 2)  # [B, out_width, H, W]
        detail = F.pixel_shuffle(self.head(F.silu(h + self.near(x))), SCALE)
        large = bicubic(pixels_BCHW)
        large += detail
        return large


def bicubic(pixels_BCHW: Tensor) -> Tensor:
    """[B, 3, H, W] to [B, 3, 4 H, 4 W] by interpolation: what the upscaler starts from and is measured against. As two
    matrix products it takes a sixth of the time of torch's own loop."""
    height, width = pixels_BCHW.shape[-2:]
    return _taps(height).to(pixels_BCHW) @ pixels_BCHW @ _taps(width).to(pixels_BCHW).T


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)
def _taps(count: int) -> Tensor:
    """What each of SCALE * `count` new rows takes of the old ones, [SCALE * count, count]."""
    each = torch.eye(count)[None, None]
    return F.interpolate(each, size=(SCALE * count, count), mode="bicubic", align_corners=False)[0, 0]
