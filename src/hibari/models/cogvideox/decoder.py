"""The decoder of CogVideoX, in a part of the memory and of the time.

Its group norms mix the frames of a chunk, so a chunk's activations must be whole where a norm is. Everything between
two norms looks at a frame and the two before it, so it is done frame by frame: normalised, bent, convolved, added. What
norms take from the latent goes through convolutions of one cell, which may as well come before the latent is enlarged;
and frames that are doubled in time are convolved once. All of it is the same to rounding.

Activations are channels-last: a frame of a chunk is contiguous then, and convolutions need not reorder it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hibari.models.layers import CHANNELS_LAST, conv3d, joined


class Decoder:
    """Of one clip, chunk by chunk from its beginning."""

    def __init__(self, network: Any) -> None:
        """`network`: a `CogVideoXDecoder3D` of diffusers, which stays as it is."""
        self._network = network
        self._before: dict[Any, Tensor] = {}
        """The last inputs of each convolution in the chunk before."""

    def __call__(self, latent_BCFHW: Tensor) -> Tensor:
        """Pixels [B, 3, frames, height, width] of the next chunk."""
        network = self._network
        latent_BCFHW = latent_BCFHW.contiguous(memory_format=CHANNELS_LAST)
        x_BCFHW = joined(self._convolved(network.conv_in, latent_BCFHW.split(1, 2)), latent_BCFHW.shape[2])
        for block in (network.mid_block, *network.up_blocks):
            for residual in block.resnets:
                x_BCFHW = self._residual(residual, x_BCFHW, latent_BCFHW)
            for upsampler in getattr(block, "upsamplers", None) or ():
                x_BCFHW = _upsampled(upsampler, x_BCFHW)
        bent = _normed(network.norm_out, x_BCFHW, latent_BCFHW)
        return joined(self._convolved(network.conv_out, bent), x_BCFHW.shape[2])

    def _residual(self, block: Any, x_BCFHW: Tensor, latent_BCFHW: Tensor) -> Tensor:
        """Takes `x` over: where it keeps its width, the result is written into it."""
        frames = x_BCFHW.shape[2]
        inner = joined(self._convolved(block.conv1, _normed(block.norm1, x_BCFHW, latent_BCFHW)), frames)
        outer = self._convolved(block.conv2, _normed(block.norm2, inner, latent_BCFHW))
        if block.in_channels == block.out_channels:
            for x, more in zip(x_BCFHW.split(1, 2), outer, strict=True):
                x += more
            return x_BCFHW
        around = (conv3d(block.conv_shortcut, x) for x in x_BCFHW.split(1, 2))
        return joined((x.add_(more) for x, more in zip(around, outer, strict=True)), frames)

    def _convolved(self, conv: Any, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """Frames [B, C, 1, H, W] after a causal convolution, which begins with copies of the clip's first."""
        size = conv.time_kernel_size
        held = self._before.get(conv)
        for x in frames:
            held = joined([x] * size if held is None else [*held.split(1, 2), x], size)
            yield conv3d(conv.conv, held)
            held = held[:, :, 1:]
        if held is not None:
            self._before[conv] = held.clone()  # a view would keep a frame more


def _normed(norm: Any, x_BCFHW: Tensor, latent_BCFHW: Tensor) -> Iterator[Tensor]:
    """`x` after a `CogVideoXSpatialNorm3D` and SiLU, frame by frame [B, C, 1, H, W].

    The group norm and what the latent makes of it are one factor and one summand a channel and cell of the latent, in
    float32: where a mean is large they nearly cancel.
    """
    group = norm.norm_layer
    mean_BC, var_BC = _statistics(x_BCFHW, group.num_groups)
    gain_BC = group.weight * (var_BC + group.eps).rsqrt()
    lift_BC = group.bias - mean_BC * gain_BC
    told, more = (conv3d(conv.conv, latent_BCFHW) for conv in (norm.conv_y, norm.conv_b))
    factor_BCFHW = told * gain_BC[..., None, None, None]
    summand_BCFHW = told * lift_BC[..., None, None, None] + more
    size = x_BCFHW.shape[3:]
    shown = _latent_frames(x_BCFHW.shape[2], latent_BCFHW.shape[2])
    for x, index in zip(x_BCFHW.split(1, 2), shown, strict=True):
        factor, summand = (
            F.interpolate(told[:, :, index], size=size)[:, :, None] for told in (factor_BCFHW, summand_BCFHW)
        )
        yield F.silu(torch.addcmul(summand, x.float(), factor), inplace=True).to(x.dtype)


def _statistics(x_BCFHW: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel's group [B, C], in float32."""

    def of_group(value_BC: Tensor) -> Tensor:
        mean_BG = value_BC.unflatten(1, (groups, -1)).mean(2)
        return mean_BG.repeat_interleave(value_BC.shape[1] // groups, dim=1)

    mean_BC = of_group(x_BCFHW.mean((2, 3, 4), dtype=torch.float32))
    # Two passes of plain sums: torch.var_mean takes six times as long where channels are last.
    around = (x - mean_BC[..., None, None, None] for x in x_BCFHW.split(1, 2))
    return mean_BC, of_group(torch.stack([x.square_().mean((2, 3, 4)) for x in around]).mean(0))


def _latent_frames(frames: int, latent_frames: int) -> Iterator[int]:
    """Which latent frame is shown to each frame. Of an odd number the first has one of its own."""
    lead = int(frames % 2 and frames > 1)
    yield from [0] * lead
    for index in range(frames - lead):
        yield lead + index * (latent_frames - lead) // (frames - lead)


def _upsampled(upsampler: Any, x_BCFHW: Tensor) -> Tensor:
    """After its `CogVideoXUpsample3D`: twice as high and wide, and as long; a first frame without a pair stays one."""
    frames = x_BCFHW.shape[2]
    doubles = upsampler.compress_time and frames > 1
    single = frames % 2 if doubles else frames
    conv = upsampler.conv

    def made() -> Iterator[Tensor]:
        for index in range(frames):
            larger_BCHW = F.interpolate(x_BCFHW[:, :, index], scale_factor=2.0)
            x = conv(larger_BCHW)[:, :, None]
            yield from [x] * (1 if index < single else 2)

    return joined(made(), single + 2 * (frames - single))
