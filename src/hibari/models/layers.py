"""Layers that belong to no one model family."""

from __future__ import annotations

from collections.abc import Sequence

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


class SideBySide(nn.Module):
    """What linear layers give of the same input, in one tensor."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to [..., widths of all]."""
        return torch.cat([layer(x) for layer in self.layers], -1)


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


def fused(module: nn.Module, *names: str) -> nn.Module:
    """One layer that gives side by side what linear layers of `module` give of the same input. They leave the module,
    so that their weights are not in memory twice. Quantised weights cannot be joined; their layers stay apart in it."""
    layers: list[nn.Linear] = [getattr(module, name) for name in names]
    for name in names:
        delattr(module, name)
    if any(type(layer.weight.data) is not Tensor for layer in layers):
        return SideBySide(layers)
    weight = torch.cat([layer.weight for layer in layers])
    biases: list[Tensor | None] = [layer.bias for layer in layers]
    bias = torch.cat([each for each in biases if each is not None]) if biases[0] is not None else None
    with torch.device("meta"):
        one = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    one.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        one.bias = nn.Parameter(bias, requires_grad=False)
    return one
