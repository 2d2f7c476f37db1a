"""Layers that belong to no one model family."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

CHANNELS_LAST = torch.channels_last_3d


def conv3d(conv: nn.Conv3d, x_BCFHW: Tensor) -> Tensor:
    """What `conv` gives, to rounding.

    On a processor torch asks oneDNN only where B C F H is above 20480, and has a convolution for the others that was
    four times slower; a decoder that works on a few frames at a time is all others.
    """
    backend = torch.backends.mkldnn
    fits = x_BCFHW.device.type == "cpu" and x_BCFHW.dtype == torch.float32 and conv.padding_mode == "zeros"
    if not fits or isinstance(conv.padding, str) or not (backend.is_available() and backend.enabled):
        return conv(x_BCFHW)
    return torch.mkldnn_convolution(
        x_BCFHW, conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, conv.groups
    )


def joined(parts: Iterable[Tensor], frames: int) -> Tensor:
    """Parts [B, C, F, H, W] of a clip as one of `frames` frames, channels-last, filled as they come: each frame of such
    a clip is contiguous. `torch.cat` is slow in this layout."""
    whole: Tensor | None = None
    start = 0
    for part in parts:
        batch, channels, count, *size = part.shape
        if whole is None:
            whole = part.new_empty((batch, channels, frames, *size)).contiguous(memory_format=CHANNELS_LAST)
        whole[:, :, start : start + count] = part
        start += count
    assert whole is not None
    assert start == frames
    return whole


class SideBySide(nn.Module):
    """What linear layers give of the same input."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """[..., D] to [..., width] of each."""
        return tuple(layer(x) for layer in self.layers)


class Joined(nn.Module):
    """The same by one layer, whose weights are theirs one below the other."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self._widths = [layer.out_features for layer in layers]
        first = layers[0]
        with torch.device("meta"):
            self.one = nn.Linear(first.in_features, sum(self._widths), bias=first.bias is not None)
        for name, _ in first.named_parameters():
            whole = torch.cat([layer.get_parameter(name) for layer in layers])
            self.one.register_parameter(name, nn.Parameter(whole, requires_grad=False))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """[..., D] to [..., width] of each."""
        return self.one(x).split(self._widths, -1)


class Known(nn.Module):
    """In the place of a linear layer whose outcome is known before the forward pass.

    Attributes:
        outcome: what it gives, of the rows in work.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.outcome = torch.empty(0, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width], whatever comes in."""
        return self.outcome


def fused(module: nn.Module, *names: str) -> SideBySide | Joined:
    """One module that gives what linear layers of `module` give of the same input. They leave `module`, so that their
    weights are not in memory twice.

    On a GPU they become one layer. On a processor that saves nothing, and strided queries, keys and values make
    attention slower; and quantised weights cannot be joined.
    """
    layers: list[nn.Linear] = [getattr(module, name) for name in names]
    for name in names:
        delattr(module, name)
    apart = layers[0].weight.device.type == "cpu" or any(
        type(one.weight.data) is not Tensor for one in layers
    )
    return SideBySide(layers) if apart else Joined(layers)
