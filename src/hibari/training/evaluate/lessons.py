"""What the evaluator learns from: real renders of held-out combinations, with the truth about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hibari.training.world.backdrops import BACKDROPS
from hibari.training.world.motions import CAMERAS, MOTIONS
from hibari.training.world.render import FPS, FRAMES, render
from hibari.training.world.spec import LOOKS, ClipSpec, draw, tellable_camera
from hibari.training.world.subjects import COLOURS, SUBJECT_BY_NAME, SUBJECTS

LESSON_SEEDS = 3_500_000_000  # of held-out specs; the suites' begin at 3_000_000_000 and end below
CLIP_PX = 128
SMALL_PX = 64  # side at which all frames are looked at
DETAIL_FRAMES = (2, 9, 16, 23, 30)  # looked at in full detail

CLASSES: dict[str, tuple[str, ...]] = {
    "subject": tuple(subject.name for subject in SUBJECTS),
    "colour": tuple(COLOURS),
    "motion": tuple(motion.name for motion in MOTIONS),
    "background": tuple(backdrop.name for backdrop in BACKDROPS),
    "camera": tuple(camera.name for camera in CAMERAS),
    "look": LOOKS,
}
"""Attributes and their classes, in the order of the evaluator's outputs."""

UNKNOWN = -1  # the class of an attribute about which the prompt and the picture say nothing


def truth(spec: ClipSpec) -> dict[str, int]:
    """Class of each attribute of a clip with one figure.

    The colour is UNKNOWN where the figure was given none, and in black and white, where none is seen.
    """
    figure = spec.figures[0]
    names = {
        "subject": figure.subject,
        "motion": spec.motion,
        "background": spec.backdrop,
        "camera": spec.camera,
        "look": spec.look,
    }
    classes = {attribute: CLASSES[attribute].index(name) for attribute, name in names.items()}
    visible = figure.colour is not None and spec.look != "black_and_white"
    classes["colour"] = CLASSES["colour"].index(figure.colour) if figure.colour and visible else UNKNOWN
    return classes


def true_track(spec: ClipSpec, frames: int = FRAMES) -> np.ndarray:
    """Where the first figure is, as `world.render` places it.

    Returns:
        float32 [frames, 3]: centre x, centre y (shares of the width and height), log of the side (share of
        the shorter side).
    """
    x, y, side, _ = spec.course(spec.figures[0], np.arange(frames) / FPS)
    return np.stack([x, y, np.log(side)], 1).astype(np.float32)


def lesson_spec(index: int) -> ClipSpec:
    """The spec of lesson `index`: a held-out combination of one figure.

    What the world draws seldom (cameras, looks, colours) is drawn more often. That leaves the combination
    held out, which hangs on subject, motion and backdrop alone.
    """
    spec = draw(LESSON_SEEDS + index, "held_out", group="single")
    rng = np.random.default_rng([17, index])
    camera = str(rng.choice(CLASSES["camera"], p=(0.35, 0.13, 0.13, 0.13, 0.13, 0.13)))
    camera = tellable_camera(camera, spec.motion)
    look = str(rng.choice(LOOKS, p=(0.46, 0.18, 0.18, 0.18)))
    figure = spec.figures[0]
    if SUBJECT_BY_NAME[figure.subject].tint and rng.random() < 0.9:
        figure = replace(figure, colour=str(rng.choice(CLASSES["colour"])))
    return replace(spec, figures=(figure,), camera=camera, look=look)


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """Rendered clips and their truth.

    Attributes:
        small: uint8 [clips, FRAMES, SMALL_PX, SMALL_PX, 3], RGB.
        detail: uint8 [clips, len(DETAIL_FRAMES), CLIP_PX, CLIP_PX, 3], RGB.
        track: float32 [clips, FRAMES, 3], see `true_track`.
        classes: attribute -> int64 [clips].
    """

    small: np.ndarray
    detail: np.ndarray
    track: np.ndarray
    classes: dict[str, np.ndarray]


def looked_at(clip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(all frames small, some frames in full) of a clip uint8 [FRAMES, CLIP_PX, CLIP_PX, 3].

    Raises:
        ValueError: for a clip of another shape or type.
    """
    wanted = (FRAMES, CLIP_PX, CLIP_PX, 3)
    if clip.shape != wanted or clip.dtype != np.uint8:
        raise ValueError(f"the clip is {clip.dtype} {list(clip.shape)}; must be uint8 {list(wanted)}")
    small = [cv2.resize(frame, (SMALL_PX, SMALL_PX), interpolation=cv2.INTER_AREA) for frame in clip]
    return np.stack(small), clip[list(DETAIL_FRAMES)]


def render_lessons(count: int, on_progress: Callable[[int, int], None] | None = None) -> Lessons:
    """The first `count` lessons, in memory: about 650 kB each."""
    small = np.empty((count, FRAMES, SMALL_PX, SMALL_PX, 3), np.uint8)
    detail = np.empty((count, len(DETAIL_FRAMES), CLIP_PX, CLIP_PX, 3), np.uint8)
    track = np.empty((count, FRAMES, 3), np.float32)
    classes = {attribute: np.empty(count, np.int64) for attribute in CLASSES}
    for index in range(count):
        spec = lesson_spec(index)
        small[index], detail[index] = looked_at(render(spec, width=CLIP_PX, height=CLIP_PX))
        track[index] = true_track(spec)
        for attribute, value in truth(spec).items():
            classes[attribute][index] = value
        if on_progress:
            on_progress(index + 1, count)
    return Lessons(small, detail, track, classes)


def worn(pictures: Tensor, generator: torch.Generator, *, colours: int = 3) -> Tensor:
    """Pictures as a generator might have made them: softer, noisier, blocky, of slightly other light.

    The evaluator is to judge content, whatever the finish. Each sample's frames are worn alike.

    Args:
        pictures: [B, frames * colours, H, W] in [-1, 1].
        generator: of the chances.
        colours: channels of a frame.
    """

    def chance(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    parts = []
    for part in pictures.chunk(4):
        height, width = part.shape[-2:]
        size, channels = len(part), part.shape[1]
        if chance(1) < 0.6:  # through a smaller size and back
            small = int(height / (1 + 1.2 * chance(1)))
            part = F.interpolate(part, size=(small, small), mode="bilinear", antialias=True)
            part = F.interpolate(part, size=(height, width), mode="bilinear")
        contrast = 1 + 0.15 * (2 * chance(size, 1, 1, 1) - 1)
        light = 0.1 * (2 * chance(size, colours, 1, 1) - 1).repeat(1, channels // colours, 1, 1)
        if chance(1) < 0.5:  # errors in blocks, as autoencoders make
            cells = int(4 + 8 * chance(1))
            blocks = torch.randn(size, channels, cells, cells, generator=generator)
            light = light + 0.05 * chance(1) * F.interpolate(blocks, size=(height, width))
        grain = torch.randn(part.shape, generator=generator) * (0.06 * chance(size, 1, 1, 1))
        parts.append(part * contrast + light + grain)
    return torch.cat(parts)
