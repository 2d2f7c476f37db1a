"""Defends the densities of the rendered world: the usual render stays what models were trained on, and a dense one is
the same scene, finer, in the same place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hibari.training.evaluate.metrics import psnr
from hibari.training.world.backdrops import BACKDROPS, Window
from hibari.training.world.render import _crisp, render
from hibari.training.world.spec import LOOKS, WEATHERS, ClipSpec, Figure
from hibari.training.world.subjects import sprite

DENSITY = 4
MOMENT = 20  # of a clip: everything has moved by then
TABLE = Path(__file__).parent / "world_renders.png"
BLOCKS = 8  # a render is 8 x 8 mean colours in the table

SCENES = [
    *((f"{backdrop.name}/{light}", {"backdrop": backdrop.name, "light": light})
      for backdrop in BACKDROPS for light in backdrop.lights),
    *((weather, {"weather": weather}) for weather in WEATHERS),
    *((look, {"look": look}) for look in LOOKS),
]  # fmt: skip


def scene(**changes: object) -> ClipSpec:
    """A spinning car in a meadow by day, seen by a camera that pans."""
    plain = ClipSpec(
        seed=2, figures=(Figure("car", "red", "medium", 0.5, 0.55),), relation=None, motion="spins",
        camera="pan_left", backdrop="meadow", variant=1, light="day", weather="clear", look="plain",
        phase=0.3, mirrored=False,
    )  # fmt: skip
    return replace(plain, **changes)


def averaged_down(frame: np.ndarray) -> np.ndarray:
    size = (frame.shape[1] // DENSITY, frame.shape[0] // DENSITY)
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def table() -> np.ndarray:
    """Mean colours of every scene, a row of 8 x 8 each: uint8 [scenes * 8, 8, 3]."""
    rows = [
        cv2.resize(render(scene(**changes), only=[MOMENT])[0], (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA)
        for _, changes in SCENES
    ]
    return np.concatenate(rows)


def test_the_usual_render_is_what_models_were_trained_on() -> None:
    """Mean colours and not a hash, since other processors round a few pixels otherwise. What is moved by a third of a
    pixel or painted otherwise shows; a change that is meant raises WORLD_VERSION, and writes the table anew."""
    kept = np.asarray(Image.open(TABLE)).astype(int)
    difference = np.abs(kept - table()).reshape(len(SCENES), -1).max(1)
    changed = [name for (name, _), worst in zip(SCENES, difference, strict=True) if worst > 1]
    assert changed == []


@pytest.mark.parametrize(("name", "changes"), SCENES, ids=[name for name, _ in SCENES])
def test_a_dense_render_is_the_same_scene_in_the_same_place(name: str, changes: dict[str, str]) -> None:
    spec = scene(**changes)
    small = render(spec, only=[MOMENT])[0]
    large = render(spec, density=DENSITY, only=[MOMENT])[0]
    assert large.shape == (512, 512, 3)
    aligned = psnr(small, averaged_down(large))
    assert aligned > (26 if name == "neon" else 29), "neon is nothing but edges"
    # Half a pixel of the small one in any direction is further away.
    for axis in (0, 1):
        for way in (-2, 2):
            assert psnr(small, averaged_down(np.roll(large, way, axis))) < aligned - 1


@pytest.mark.parametrize("size", [(160, 96), (96, 160)])
def test_other_shapes_and_mirrored_scenes_fit_too(size: tuple[int, int]) -> None:
    width, height = size
    spec = scene(backdrop="club", camera="zoom_in", mirrored=True)
    small = render(spec, width=width, height=height, only=[MOMENT])[0]
    large = render(spec, width=width, height=height, density=DENSITY, only=[MOMENT])[0]
    assert large.shape == (height * DENSITY, width * DENSITY, 3)
    assert psnr(small, averaged_down(large)) > 28


def shift_px(spec: ClipSpec) -> tuple[float, float]:
    """By how many px (rows, columns) the dense render lies beside the usual one: the vertex of a parabola through its
    squared error as it is, and moved by two px both ways."""
    small = render(spec, only=[MOMENT])[0].astype(float)
    large = render(spec, density=DENSITY, only=[MOMENT])[0]

    def error(way: int, axis: int) -> float:
        return float(np.square(averaged_down(np.roll(large, way, axis)) - small).mean())

    rows, cols = (
        (error(2, axis) - error(-2, axis)) / (error(2, axis) + error(-2, axis) - 2 * error(0, axis))
        for axis in (0, 1)
    )
    return rows, cols


@pytest.mark.parametrize("backdrop", ["forest", "city", "club"])
def test_backdrops_are_not_shifted(backdrop: str) -> None:
    rows, cols = shift_px(scene(backdrop=backdrop, figures=()))
    assert abs(rows) < 0.5
    assert abs(cols) < 0.5


@pytest.mark.parametrize("weather", ["rain", "snow", "fog"])
def test_weather_is_the_same_in_both(weather: str) -> None:
    added = []
    for density in (1, DENSITY):
        clear, wet = (
            render(scene(weather=name), density=density, only=[MOMENT])[0] for name in ("clear", weather)
        )
        change = wet.astype(np.float32) - clear
        added.append(cv2.resize(change, (128, 128), interpolation=cv2.INTER_AREA).ravel())
    assert np.corrcoef(*added)[0, 1] > 0.9


def test_enlarged_sprites_have_sharp_silhouettes() -> None:
    sharp = _crisp("car", "red")[..., 3]
    between = cv2.resize(sprite("car", "red")[..., 3], sharp.shape[::-1], interpolation=cv2.INTER_CUBIC)
    soft = [float(((alpha > 32) & (alpha < 224)).mean()) for alpha in (sharp, between)]
    assert soft[0] < 0.3 * soft[1]


def test_single_frames_are_those_of_the_whole_clip() -> None:
    spec = scene(backdrop="sea", weather="rain", motion="approaches", figures=scene().figures)
    whole = render(spec)
    assert (render(spec, only=[3, 30]) == whole[[3, 30]]).all()
    assert (whole[3] != whole[30]).any()


def test_a_finer_window_shows_the_same_points() -> None:
    window = Window(30.5, 12.25, 1.5)
    fine = window.finer(DENSITY)
    for u in range(5):
        # The middle of the four pixels that stand for pixel u.
        middle = fine.x0_px + (DENSITY * u + (DENSITY - 1) / 2) * fine.scale
        assert middle == pytest.approx(window.x0_px + u * window.scale)
