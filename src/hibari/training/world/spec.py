"""What is in a clip: the spec, drawn from a seed, from which picture and caption both follow.

A clip's spec is its provenance: `hibari train world --seed N` prints it, and the same seed gives the same pixels.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from hibari.training.world import backdrops
from hibari.training.world.motions import CAMERAS, MOTION_BY_NAME, MOTIONS, Track
from hibari.training.world.subjects import COLOURS, SUBJECT_BY_NAME, SUBJECTS

WORLD_VERSION = 1
LOOKS = ("plain", "black_and_white", "pixel_art", "neon")
WEATHERS = ("clear", "rain", "snow", "fog")
SIZES: dict[str, float] = {"small": 0.34, "medium": 0.48, "large": 0.64}
"""Side of a subject's sprite as a share of the frame's shorter side."""
RELATIONS = ("left_of", "right_of", "above", "below")

Split = Literal["train", "held_out", "any"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One subject in a clip: its class, its colour (None: as it is), its size class, and where it starts, as shares
    of the frame's width and height (its centre)."""

    subject: str
    colour: str | None
    size: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """One clip.

    Attributes:
        seed: what it was drawn from.
        figures: one; two with a relation (the first to the second); or two or three of the same with none.
        relation: how the first figure stands to the second, or None.
        motion, camera, backdrop, light, weather, look: classes of the tables.
        variant: which of the backdrop's fixed pictures.
        phase: 0 to 1, where the backdrop's own movement begins.
        mirrored: whether the backdrop is mirrored.
    """

    seed: int
    figures: tuple[Figure, ...]
    relation: str | None
    motion: str
    camera: str
    backdrop: str
    variant: int
    light: str
    weather: str
    look: str
    phase: float
    mirrored: bool

    def course(self, figure: Figure, t_s: np.ndarray) -> Track:
        """Where a figure is over `t_s` (seconds from the clip's start): its centre's x and y as shares of the frame's
        width and height, its side as a share of the shorter side, its angle in degrees."""
        dx, dy, scale, angle = MOTION_BY_NAME[self.motion].track(t_s)
        return figure.x + dx, figure.y + dy, SIZES[figure.size] * scale, angle

    @property
    def count(self) -> int:
        """How many of the same there are; 1 where two different ones stand in a relation."""
        return 1 if self.relation else len(self.figures)

    def to_json(self) -> str:
        """One line of JSON: the clip's recipe."""
        return json.dumps({"world": WORLD_VERSION, **asdict(self)}, sort_keys=True)


def is_held_out(subject: str, motion: str, backdrop: str) -> bool:
    """Whether training never sees this combination: a tenth of all, by a fixed hash of the three names."""
    return zlib.crc32(f"{subject}|{motion}|{backdrop}".encode()) % 10 == 0


def draw(seed: int, split: Split = "train", *, group: str | None = None) -> ClipSpec:
    """The clip of a seed.

    Args:
        seed: any non-negative integer.
        split: "train" never gives a held-out combination, "held_out" gives nothing else.
        group: "single", "relation" or "count" to get only these; None mixes them as training does.
    """
    rng = np.random.default_rng([WORLD_VERSION, seed])
    while True:
        spec = _draw(rng, seed, group)
        held = is_held_out(spec.figures[0].subject, spec.motion, spec.backdrop)
        if split == "any" or held == (split == "held_out"):
            return spec


def tellable_camera(camera: str, motion: str) -> str:
    """The camera, or "still" where nobody could say from the pixels whether it zooms or the subject changes size."""
    unclear = camera.startswith("zoom") and motion in ("approaches", "recedes", "pulses")
    return "still" if unclear else camera


def _draw(rng: np.random.Generator, seed: int, group: str | None) -> ClipSpec:
    group = group or str(rng.choice(["single", "relation", "count"], p=[0.78, 0.13, 0.09]))
    backdrop = backdrops.BACKDROPS[int(rng.integers(len(backdrops.BACKDROPS)))]
    light = _weighted(rng, backdrop.lights, (0.5, 0.25, 0.25)[: len(backdrop.lights)])
    weather = _weighted(rng, WEATHERS, (0.76, 0.08, 0.08, 0.08)) if backdrop.outdoors else "clear"
    motions = [motion for motion in MOTIONS if group == "single" or motion.shared]
    motion = motions[int(rng.integers(len(motions)))].name
    camera = _weighted(rng, tuple(c.name for c in CAMERAS), (0.65, 0.07, 0.07, 0.07, 0.07, 0.07))
    camera = tellable_camera(camera, motion)
    relation = str(rng.choice(RELATIONS)) if group == "relation" else None
    return ClipSpec(
        seed=seed,
        figures=_related(rng, relation) if relation else _figures(rng, group, motion),
        relation=relation,
        motion=motion,
        camera=camera,
        backdrop=backdrop.name,
        variant=int(rng.integers(backdrops.VARIANTS)),
        light=light,
        weather=weather,
        look=_weighted(rng, LOOKS, (0.76, 0.08, 0.08, 0.08)),
        phase=float(rng.random()),
        mirrored=bool(rng.random() < 0.5),
    )


def _related(rng: np.random.Generator, relation: str) -> tuple[Figure, ...]:
    first, second = (_figure(rng, "small") for _ in range(2))
    while second.subject == first.subject:
        second = _figure(rng, "small")
    near, far = 0.27 + 0.04 * rng.random(), 0.73 - 0.04 * rng.random()
    level = 0.52 + 0.1 * rng.random()
    places = {
        "left_of": ((near, level), (far, level)),
        "right_of": ((far, level), (near, level)),
        "above": ((0.5, near), (0.5, far)),
        "below": ((0.5, far), (0.5, near)),
    }[relation]
    return tuple(
        Figure(f.subject, f.colour, f.size, x, y) for f, (x, y) in zip((first, second), places, strict=True)
    )


def _figures(rng: np.random.Generator, group: str, motion: str) -> tuple[Figure, ...]:
    if group == "count":
        one = _figure(rng, "small")
        count = int(rng.integers(2, 4))
        xs = (0.28, 0.72) if count == 2 else (0.18, 0.5, 0.82)
        y = 0.52 + 0.12 * rng.random()
        return tuple(Figure(one.subject, one.colour, one.size, x, y) for x in xs)
    figure = _figure(rng, _weighted(rng, tuple(SIZES), (0.2, 0.55, 0.25)))
    start_x, start_y = MOTION_BY_NAME[motion].start
    x = start_x if start_x is not None else 0.36 + 0.28 * rng.random()
    if start_y is not None:
        y = start_y
    elif SUBJECT_BY_NAME[figure.subject].kind.grounded:
        # Feet a little below the horizon of every backdrop (see backdrops: ground at about 0.82 of a square frame).
        y = 0.84 - SIZES[figure.size] / 2 + 0.04 * rng.random()
    else:
        y = 0.42 + 0.2 * rng.random()
    return (Figure(figure.subject, figure.colour, figure.size, float(x), float(y)),)


def _figure(rng: np.random.Generator, size: str) -> Figure:
    subject = SUBJECTS[int(rng.integers(len(SUBJECTS)))]
    colour = str(rng.choice(list(COLOURS))) if subject.tint and rng.random() < 0.7 else None
    return Figure(subject.name, colour, size, 0.5, 0.5)


def _weighted(rng: np.random.Generator, values: tuple[str, ...], weights: tuple[float, ...]) -> str:
    shares = np.array(weights) / sum(weights)
    return values[int(rng.choice(len(values), p=shares))]
