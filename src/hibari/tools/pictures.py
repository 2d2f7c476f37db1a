"""Pictures and clips at their places in a clip, or beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hibari.contracts import ModelSpec
from hibari.diffusion.noise import draw
from hibari.models.protocol import Model
from hibari.tools.sources import Source, encode, encode_inside, read_frames, read_picture, still_inside


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A picture, or the first `most` frames of a clip, that is put into a clip at a pixel frame."""

    source: Source
    at: int
    most: int = 1


def placed(
    model: Model,
    pictures: Mapping[int, Shown],
    shape: tuple[int, int, int, int],
    generator: torch.Generator | None,
    *,
    draws: bool,
) -> tuple[Tensor, tuple[bool, ...], Tensor | None]:
    """The latent of a shape that has the pictures and clips at their places, and 0 elsewhere; which of its frames are
    given; and the clip's noise, if it is to be drawn here: before or after what the encoder draws, as the model has
    it."""
    spec = model.spec
    native = shape[3] * spec.space_factor, shape[2] * spec.space_factor
    noise = draw(shape, spec.noise, generator) if generator and draws and spec.noise_first else None
    latent = torch.zeros(shape)
    given = [False] * shape[1]
    for place, shown in sorted(pictures.items()):
        frames = _frames(spec, shown, native)
        part = _given_part(model, frames, generator, begins=place == 0)[:, : shape[1] - place]
        end = place + part.shape[1]
        latent[:, place:end], given[place:end] = part, [True] * part.shape[1]
    if generator and draws and noise is None:
        noise = draw(shape, spec.noise, generator)
    return latent, tuple(given), noise


def with_keyframes(
    model: Model,
    beside: Sequence[Shown],
    latent_CFHW: Tensor,
    given_F: tuple[bool, ...],
    generator: torch.Generator | None,
) -> tuple[Tensor, tuple[bool, ...], Tensor | None, tuple[int, ...]]:
    """What `placed` gave, with pictures and clips that come later in it: of longer ones the end lies in the latent; and
    the latents [C, K, H, W] that are shown beside it, with their pixel frames."""
    spec = model.spec
    latent, given = latent_CFHW.clone(), [*given_F]
    height, width = latent.shape[2:]
    keyframes, at = list[Tensor](), list[int]()
    for shown in beside:
        frames = _frames(spec, shown, (width * spec.space_factor, height * spec.space_factor))
        frames = frames[: decoded_frames(spec, len(given)) - shown.at]
        part = _given_part(model, frames, generator, begins=True)
        keyframe, rest = part[:, : spec.keyframes], part[:, spec.keyframes :]
        if generator:  # the reference draws the noise of a weaker keyframe, also where none of it is left
            torch.randn(keyframe.shape, generator=generator)
        keyframes.append(keyframe)
        at += [shown.at + decoded_frames(spec, frame) for frame in range(keyframe.shape[1])]
        start = shown.at // spec.time_factor + spec.keyframes
        end = start + rest.shape[1]
        latent[:, start:end], given[start:end] = rest, [True] * rest.shape[1]
    return latent, tuple(given), torch.cat(keyframes, 1) if keyframes else None, tuple(at)


def _frames(spec: ModelSpec, shown: Shown, native: tuple[int, int]) -> np.ndarray:
    """uint8 [n, h, w, 3] of what is shown."""
    if shown.most == 1:
        return read_picture(shown.source, native)
    return read_frames(spec, shown.source, native, shown.most)


def _given_part(
    model: Model, frames: np.ndarray, generator: torch.Generator | None, *, begins: bool
) -> Tensor:
    """Latent [C, n, H, W] of given frames; only whole latent frames, so that none is a repetition. One picture inside
    stands still for a latent frame."""
    factor = model.spec.time_factor
    if begins:
        return encode(model, frames[: 1 + (len(frames) - 1) // factor * factor], generator)
    if len(frames) < factor:
        return still_inside(model, frames[0])
    return encode_inside(model, frames[: len(frames) // factor * factor])


def decoded_frames(spec: ModelSpec, latent_frames: int) -> int:
    """Pixel frames of the first so many latent frames of a clip."""
    return max(0, 1 + spec.time_factor * (latent_frames - 1))
