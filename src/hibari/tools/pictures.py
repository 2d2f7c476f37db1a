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
        if shown.most == 1:
            frames = read_picture(shown.source, native)
        else:
            frames = read_frames(spec, shown.source, native, shown.most)
        part = _given_part(model, frames, generator, begins=place == 0)[:, : shape[1] - place]
        end = place + part.shape[1]
        latent[:, place:end], given[place:end] = part, [True] * part.shape[1]
    if generator and draws and noise is None:
        noise = draw(shape, spec.noise, generator)
    return latent, tuple(given), noise


@torch.inference_mode()
def keyframes_of(
    model: Model,
    beside: Sequence[Shown],
    shape: tuple[int, int, int, int],
    generator: torch.Generator | None,
) -> tuple[Tensor | None, tuple[int, ...], dict[int, Tensor]]:
    """Pictures and clips that come later in a clip of a shape: latents [C, K, H, W] that are shown beside it and their
    pixel frames; and what of longer ones lies in it, by its first latent frame."""
    spec = model.spec
    factor, native = spec.time_factor, (shape[3] * spec.space_factor, shape[2] * spec.space_factor)
    latents, at, inside = list[Tensor](), list[int](), dict[int, Tensor]()
    for shown in beside:
        if shown.most == 1:
            frames = read_picture(shown.source, native)
        else:
            frames = read_frames(spec, shown.source, native, shown.most)
        frames = frames[: decoded_frames(spec, shape[1]) - shown.at]
        part = encode(model, frames[: 1 + (len(frames) - 1) // factor * factor], generator)
        latents.append(part[:, : spec.keyframes])
        at += [shown.at + max(0, factor * (frame - 1) + 1) for frame in range(latents[-1].shape[1])]
        if generator:  # the reference draws the noise of a weaker keyframe, also where none of it is left
            torch.randn(latents[-1].shape, generator=generator)
        if part.shape[1] > spec.keyframes:
            inside[shown.at // factor + spec.keyframes] = part[:, spec.keyframes :]
    return torch.cat(latents, 1) if latents else None, tuple(at), inside


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
