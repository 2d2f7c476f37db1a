"""What happens in the engine, told as it happens. Every event names its generation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from hibari.contracts import HibariError, Recipe


@dataclass(frozen=True, slots=True)
class Queued:
    """The generation waits for its turn. `ahead` others had been submitted and not finished."""

    id: str
    ahead: int


@dataclass(frozen=True, slots=True)
class Started:
    """Its first turn begins. `step` of `total` updates have been made: more than 0 where it was restored."""

    id: str
    step: int
    total: int


@dataclass(frozen=True, slots=True, eq=False)
class StepDone:
    """A sampler update has been made.

    Attributes:
        step: 1 to `total`, over all windows of the clip.
        total: updates of the whole clip.
        seconds_left: until the last update, at the mean pace since it started, with all that runs beside it. Decoding
            comes on top.
        preview: uint8 [h, w, 3], RGB: a frame in the middle of what is being made, as predicted now; of a storyboard a
            frame of each card that is being made, side by side. None where the engine was told not to make any.
        moments_s: of a storyboard, when each of those frames is shown.
    """

    id: str
    step: int
    total: int
    seconds_left: float
    preview: np.ndarray | None
    moments_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """All updates have been made; decoding begins. `latent_CFHW` is what will be decoded, float32 on the CPU. Frames
    will be `upscaled` times as large as the request's native size, in each direction."""

    id: str
    recipe: Recipe
    latent_CFHW: Tensor
    upscaled: int


@dataclass(frozen=True, slots=True, eq=False)
class FramesDecoded:
    """A chunk of finished frames: uint8 [n, height_px, width_px, 3], at the model's own rate, and of the size
    that `Sampled` told. With them, `done` of `total` frames have been handed over."""

    id: str
    frames: np.ndarray
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Finished:
    """All frames have been handed over; nothing of it is left in the engine."""

    id: str


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """The generation cannot be finished; nothing of it is left in the engine. A `HibariError` is about the
    request or this machine, anything else is a bug."""

    id: str
    error: HibariError | Exception


@dataclass(frozen=True, slots=True)
class Cancelled:
    """As was wished; nothing of it is left in the engine."""

    id: str


@dataclass(frozen=True, slots=True)
class Paused:
    """As was wished; its state is kept."""

    id: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """As was wished; it takes turns again."""

    id: str


Event = (
    Queued | Started | StepDone | Sampled | FramesDecoded | Finished | Failed | Cancelled | Paused | Resumed
)
