"""How subjects move and how the camera moves: positions over time, and the words for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Track = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""(x, y, scale, angle) over frames: x and y as shares of the frame's width and height, added to where the subject
is placed; scale multiplies its size; angle in degrees, counter-clockwise."""


@dataclass(frozen=True, slots=True)
class Motion:
    """One way to move.

    Attributes:
        name: its class in specs and evaluation.
        track: the path over `t_s` (seconds from the clip's start, float64 [frames]).
        says: (verb, rest) pairs; the verb "go" is replaced by a verb of the subject's kind.
        start: where the subject is placed at t = 0, as (x, y) shares of the frame; None where the scene decides.
        side: -1 or 1 where the subject looks to the left or right because it goes there, else 0.
        shared: whether it still reads when two or three do it at once.
    """

    name: str
    track: Callable[[np.ndarray], Track]
    says: tuple[tuple[str, str], ...]
    start: tuple[float | None, float | None] = (None, None)
    side: int = 0
    shared: bool = False


def _track(
    t: np.ndarray,
    x: np.ndarray | float = 0.0,
    y: np.ndarray | float = 0.0,
    scale: np.ndarray | float = 1.0,
    angle: np.ndarray | float = 0.0,
) -> Track:
    one = np.ones_like(t)
    return x * one, y * one, scale * one, angle * one


def _across(t: np.ndarray) -> np.ndarray:
    """0 -> 1 in four seconds, and on at that speed."""
    return t / 4.0


def _triangle(t: np.ndarray, period_s: float) -> np.ndarray:
    """A wave of straight lines between -1 and 1, 0 at t = 0 and rising."""
    return 2 / np.pi * np.arcsin(np.sin(2 * np.pi * t / period_s))


MOTIONS: tuple[Motion, ...] = (
    Motion(
        "stays",
        lambda t: _track(t),
        (("stay", "still"), ("wait", ""), ("rest", "motionless"), ("stand", "still")),
        shared=True,
    ),
    Motion(
        "left",
        lambda t: _track(t, x=-0.52 * _across(t)),
        (("go", "to the left"), ("move", "left"), ("move", "from right to left"), ("go", "leftwards")),
        (0.76, None),
        -1,
    ),
    Motion(
        "right",
        lambda t: _track(t, x=0.52 * _across(t)),
        (("go", "to the right"), ("move", "right"), ("move", "from left to right"), ("go", "rightwards")),
        (0.24, None),
        1,
    ),
    Motion(
        "rises",
        lambda t: _track(t, y=-0.5 * _across(t)),
        (("rise", ""), ("rise", "up"), ("float", "upwards"), ("go", "up"), ("lift", "off into the air")),
        (None, 0.74),
    ),
    Motion(
        "falls",
        lambda t: _track(t, y=0.5 * _across(t)),
        (("fall", ""), ("sink", ""), ("drop", "down"), ("go", "down"), ("descend", "")),
        (None, 0.24),
    ),
    Motion(
        "approaches",
        lambda t: _track(t, scale=0.5 * (1 + 1.3 * np.minimum(_across(t), 1.4))),
        (("approach", ""), ("come", "closer"), ("come", "towards the camera"), ("grow", "bigger")),
        (None, 0.55),
    ),
    Motion(
        "recedes",
        lambda t: _track(t, scale=1.15 / (1 + 1.3 * _across(t))),
        (("go", "away"), ("move", "away into the distance"), ("recede", ""), ("shrink", "into the distance")),
        (None, 0.55),
    ),
    Motion(
        "spins",
        lambda t: _track(t, angle=-90 * t),
        (("spin", ""), ("rotate", ""), ("turn", "around and around"), ("spin", "in place")),
        (None, 0.55),
        shared=True,
    ),
    Motion(
        "jumps",
        lambda t: _track(t, y=-0.22 * np.abs(np.sin(np.pi * t / 2))),
        (("jump", ""), ("jump", "up and down"), ("hop", ""), ("bounce", "")),
        shared=True,
    ),
    Motion(
        "swings",
        lambda t: _track(t, x=0.08 * np.sin(np.pi * t / 2), angle=32 * np.sin(np.pi * t / 2)),
        (("swing", "from side to side"), ("sway", ""), ("rock", "back and forth"), ("swing", "")),
        (None, 0.55),
        shared=True,
    ),
    Motion(
        "circles",
        lambda t: _track(t, x=0.22 * np.sin(np.pi * t / 2), y=-0.22 * np.cos(np.pi * t / 2)),
        (("go", "in a circle"), ("move", "in circles"), ("circle", "around"), ("go", "in a big circle")),
        (0.5, 0.52),
    ),
    Motion(
        "zigzags",
        lambda t: _track(t, x=0.52 * _across(t), y=-0.2 * _triangle(t, 4.0)),
        (("zigzag", ""), ("zigzag", "across"), ("move", "in a zigzag"), ("go", "in zigzags")),
        (0.24, 0.5),
        1,
    ),
    Motion(
        "shakes",
        lambda t: _track(t, x=0.03 * np.where(np.round(t * 8 - 1) % 4 < 2, 1.0, -1.0)),
        (("shake", ""), ("tremble", ""), ("shiver", ""), ("vibrate", "")),
        shared=True,
    ),
    Motion(
        "pulses",
        lambda t: _track(t, scale=1 + 0.3 * np.sin(np.pi * t / 2)),
        (("pulse", ""), ("swell", "again and again"), ("throb", ""), ("pulsate", "")),
        (None, 0.55),
        shared=True,
    ),
)
MOTION_BY_NAME = {motion.name: motion for motion in MOTIONS}


@dataclass(frozen=True, slots=True)
class Camera:
    """One move of the camera over the backdrop; it follows the subject, so the subject's own motion stays as it is.

    Attributes:
        name: its class in specs and evaluation.
        pan_px: (x, y) by which the window travels over the canvas in four seconds.
        zoom: what the picture is magnified by after four seconds, relative to its start.
        says: how people put it.
    """

    name: str
    pan_px: tuple[float, float]
    zoom: float
    says: tuple[str, ...]


CAMERAS: tuple[Camera, ...] = (
    Camera("still", (0, 0), 1.0, ("",)),
    Camera("pan_left", (-72, 0), 1.0, ("the camera pans left", "camera panning to the left", "pan left")),
    Camera("pan_right", (72, 0), 1.0, ("the camera pans right", "camera panning to the right", "pan right")),
    Camera("zoom_in", (0, 0), 1.7, ("the camera zooms in", "zoom in", "slow zoom in")),
    Camera("zoom_out", (0, 0), 1 / 1.7, ("the camera zooms out", "zoom out", "slow zoom out")),
    Camera("tilt_up", (0, -44), 1.0, ("the camera tilts up", "camera tilting upwards", "tilt up")),
)
CAMERA_BY_NAME = {camera.name: camera for camera in CAMERAS}
