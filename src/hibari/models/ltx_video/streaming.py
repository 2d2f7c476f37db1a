"""The decoder of LTX-Video, a few latent frames at a time.

Its convolutions look ahead in time, so a chunk alone is not enough; but each looks one frame back and one ahead only,
and all else works on one frame at a time. So each convolution keeps the last frames that it was given, and answers a
frame late; what goes around it waits for it. Nothing is computed twice, and the whole clip is decoded as all at once,
up to rounding.

A stream is an iterator of tensors [B, C, frames, H, W], one part of a clip after the other. Parts are channels-last,
which is what norms look at, and small: each of the dozens of steps that a stream goes through holds one or two of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from hibari.models.layers import CHANNELS_LAST, conv3d, joined

Stream = Iterator[Tensor]
PART_CELLS = 8192  # a part has as many frames as have so many cells, but at least one


def stream(
    decoder: Any, latent_BCFHW: Tensor, chunk: int, *, time_B: Tensor | None, generator: torch.Generator
) -> Stream:
    """Pixels [B, 3, frames, height, width] in [-1, 1], 1 + time factor * (F - 1) of them in all.

    Args:
        decoder: `LTXVideoDecoder3d` of diffusers.
        latent_BCFHW: of the autoencoder, unscaled.
        chunk: latent frames that go in together.
        time_B: of decoders that are told a timestep; else None.
        generator: on the CPU, of the noise that the decoder of 0.9.1 adds, drawn block by block.
    """
    if decoder.timestep_scale_multiplier is not None:
        assert time_B is not None
        time_B = time_B * decoder.timestep_scale_multiplier
    latent_BCFHW = latent_BCFHW.contiguous(memory_format=CHANNELS_LAST)
    frames = _conv(decoder.conv_in, iter(latent_BCFHW.split(chunk, dim=2)))
    frames = _residuals(decoder.mid_block, frames, time_B, latent_BCFHW, generator)
    for block in decoder.up_blocks:
        if block.conv_in is not None:
            frames = _residual(block.conv_in, frames, None, generator)
        for upsampler in block.upsamplers or ():
            frames = _upsampled(upsampler, frames)
        frames = _residuals(block, frames, time_B, latent_BCFHW, generator)
    scale, shift = 1.0, 0.0
    if decoder.time_embedder is not None:
        told = _told(decoder.time_embedder, time_B, latent_BCFHW).unflatten(1, (2, -1))
        shift, scale = (told + decoder.scale_shift_table[None, ..., None, None, None]).unbind(1)
        scale = 1 + scale

    def last(x: Tensor) -> Tensor:
        return decoder.conv_act(_normed(decoder.norm_out, x) * scale + shift)

    for cells in _conv(decoder.conv_out, map(last, frames)):
        yield rearrange(
            cells,
            "b (c t q p) f h w -> b c (f t) (h p) (w q)",
            t=decoder.patch_size_t, p=decoder.patch_size, q=decoder.patch_size,
        )  # fmt: skip


def _residuals(
    block: Any, frames: Stream, time_B: Tensor | None, like: Tensor, generator: torch.Generator
) -> Stream:
    """The residual blocks of a level, for a batch like `like`."""
    told = None if block.time_embedder is None else _told(block.time_embedder, time_B, like)
    for residual in block.resnets:
        frames = _residual(residual, frames, told, generator)
    return frames


def _residual(block: Any, frames: Stream, told: Tensor | None, generator: torch.Generator) -> Stream:
    shift_1, scale_1, shift_2, scale_2 = 0.0, 0.0, 0.0, 0.0
    if block.scale_shift_table is not None:
        assert told is not None
        table = told.unflatten(1, (4, -1)) + block.scale_shift_table[None, ..., None, None, None]
        shift_1, scale_1, shift_2, scale_2 = table.unbind(1)
    inside, around = _both_ways(frames)

    def before(norm: Any, scale: Tensor | float, shift: Tensor | float) -> Callable[[Tensor], Tensor]:
        return lambda x: block.nonlinearity(_normed(norm, x) * (1 + scale) + shift)

    inside = _conv(block.conv1, map(before(block.norm1, scale_1, shift_1), inside))
    inside = _noised(inside, block.per_channel_scale1, generator)
    inside = _conv(block.conv2, map(before(block.norm2, scale_2, shift_2), inside))
    inside = _noised(inside, block.per_channel_scale2, generator)
    if block.norm3 is not None:
        around = (_normed(block.norm3, x) for x in around)
    if block.conv_shortcut is not None:
        around = _conv(block.conv_shortcut, around)
    return _sum(inside, around)


def _upsampled(upsampler: Any, frames: Stream) -> Stream:
    """Cells to more frames, rows and columns; the clip's first frame stays one."""
    time, rows, cols = upsampler.stride

    def spread(stream: Stream) -> Stream:
        drop = time - 1
        for x in stream:
            spread_BFHWC = rearrange(
                x, "b (c t p q) f h w -> b (f t) (h p) (w q) c", t=time, p=rows, q=cols
            )[:, drop:]  # fmt: skip
            drop = 0
            height, width = spread_BFHWC.shape[2:4]
            most = max(1, PART_CELLS // (height * width))
            yield from spread_BFHWC.movedim(-1, 1).split(most, dim=2)

    if not upsampler.residual:
        return spread(_conv(upsampler.conv, frames))
    inside, around = _both_ways(frames)
    repeats = time * rows * cols // upsampler.upscale_factor
    around = (x.repeat(1, repeats, 1, 1, 1) for x in spread(around))
    return _sum(spread(_conv(upsampler.conv, inside)), around)


def _both_ways(frames: Stream) -> tuple[Stream, Stream]:
    """The stream twice; the second may never be ahead of the first. `itertools.tee` would hold dozens of parts on."""
    parts = deque[Tensor]()

    def first() -> Stream:
        for x in frames:
            parts.append(x)
            yield x

    def second() -> Stream:
        while True:
            yield parts.popleft()

    return first(), second()


def _conv(conv: Any, frames: Stream) -> Stream:
    """A convolution that repeats the clip's first frame before it and, if it looks ahead, the last one after it."""
    size = conv.kernel_size[0]
    back, ahead = (size - 1, 0) if conv.is_causal else ((size - 1) // 2, (size - 1) // 2)
    held: Tensor | None = None
    for x in frames:
        before = [x[:, :, :1]] * back if held is None else [held]
        held = joined([*before, x], sum(part.shape[2] for part in before) + x.shape[2])
        if held.shape[2] >= size:
            yield conv3d(conv.conv, held)
            held = held[:, :, held.shape[2] - size + 1 :].clone()  # a view would keep the whole part alive
    if held is not None and ahead:
        yield conv3d(conv.conv, joined([held] + [held[:, :, -1:]] * ahead, held.shape[2] + ahead))


def _noised(frames: Stream, scale_C11: Tensor | None, generator: torch.Generator) -> Stream:
    """With the same picture of noise on every frame, where the block has it."""
    noise_BCFHW: Tensor | None = None
    for x in frames:
        if scale_C11 is None:
            yield x
            continue
        if noise_BCFHW is None:
            noise_HW = torch.randn(x.shape[3:], generator=generator, dtype=x.dtype).to(x.device)
            noise_BCFHW = (noise_HW * scale_C11)[None, :, None]
        yield x + noise_BCFHW


def _sum(inside: Stream, around: Stream) -> Stream:
    """The sum of two streams of one length, cut into parts as the first one is."""
    waiting: Tensor | None = None
    for x in inside:
        while waiting is None or waiting.shape[2] < x.shape[2]:
            more = next(around)
            waiting = more if waiting is None else torch.cat([waiting, more], dim=2)
        yield x + waiting[:, :, : x.shape[2]]
        waiting = waiting[:, :, x.shape[2] :].clone()


def _normed(norm: Any, x_BCFHW: Tensor) -> Tensor:
    return norm(x_BCFHW.movedim(1, -1)).movedim(-1, 1)


def _told(embedder: Any, time_B: Tensor | None, like: Tensor) -> Tensor:
    """What a block is told of the time, [B, parts * C, 1, 1, 1]."""
    assert time_B is not None
    told = embedder(
        timestep=time_B.flatten(),
        resolution=None,
        aspect_ratio=None,
        batch_size=len(like),
        hidden_dtype=like.dtype,
    )
    return told.view(len(like), -1, 1, 1, 1)
