"""Defends: between two frames things are where they are on their way, not faint at both ends of it."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from hibari.media.retime import retimed
from hibari.training.world.render import render
from hibari.training.world.spec import draw


def a_disc(x: float, *, px: int = 96, scale: int = 1) -> np.ndarray:
    """A bright disc on a dim gradient, its centre at x px."""
    ground = np.linspace(40, 90, px * scale, dtype=np.uint8)
    frame = np.repeat(np.repeat(ground[:, None, None], px * scale, 1), 3, 2).copy()
    centre = round(x * scale * 16), px * scale * 8
    cv2.circle(frame, centre, 10 * scale * 16, (240, 200, 60), -1, cv2.LINE_AA, 4)
    return frame


def where(frame: np.ndarray) -> float:
    """The centre of what is bright, px."""
    bright = np.clip(frame[..., 0].astype(float) - 100, 0, None)
    return float((bright.sum(0) * np.arange(frame.shape[1])).sum() / bright.sum())


def blended(frames: list[np.ndarray], times: int) -> list[np.ndarray]:
    """What mixing neighbours by nearness gives."""
    mixed = []
    for before, after in pairwise(frames):
        mixed += [before + (after.astype(float) - before) * part / times for part in range(times)]
    return [*mixed, frames[-1]]


def error(frames: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    """Mean square."""
    return float(
        np.mean([(one.astype(float) - other) ** 2 for one, other in zip(frames, wanted, strict=True)])
    )


@pytest.mark.parametrize("scale", [1, 4])
def test_a_disc_moves_on_and_stays_whole(scale) -> None:
    places = [30.0, 36.0, 42.0]
    given = [a_disc(x, scale=scale) for x in places]
    made = list(retimed(iter(given), 8, 24, 7))
    wanted = [a_disc(30 + 2 * i, scale=scale) for i in range(7)]
    for frame, i in zip(made, range(7), strict=True):
        assert where(frame) / scale == pytest.approx(30 + 2 * i, abs=0.7)
    assert error(made, wanted) < error(blended(given, 3), wanted) / 5
    for index in (0, 3, 6):
        np.testing.assert_array_equal(made[index], given[index // 3])


def test_clips_of_the_world_come_nearer_to_what_was_between() -> None:
    ours, plain = 0.0, 0.0
    for seed in range(4):
        clip = list(render(draw(2_100_000_000 + seed, "held_out"), frames=17))
        made = list(retimed(iter(clip[::2]), 4, 8, 17))
        ours += error(made, clip)
        plain += error(blended(clip[::2], 2), clip)
    assert ours < 0.8 * plain


def test_what_no_way_explains_is_blended() -> None:
    one, other = a_disc(48), 255 - a_disc(48)
    middle = list(retimed(iter([one, other]), 8, 16, 3))[1]
    assert error([middle], [(one.astype(float) + other) / 2]) < 0.05 * error([middle], [one])


@pytest.mark.parametrize("size", [(1, 1), (7, 200), (16, 16), (33, 31), (200, 9)])
def test_any_size_will_do(size) -> None:
    frames = [np.full((*size, 3), level, np.uint8) for level in (0, 90)]
    assert [int(frame[0, 0, 0]) for frame in retimed(iter(frames), 8, 24, 4)] == [0, 30, 60, 90]


def test_the_same_frames_come_again_and_stay_the_same() -> None:
    clip = render(draw(2_100_000_009, "held_out"), frames=5)
    once, again = (np.stack(list(retimed(iter(clip), 8, 30, 16))) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    first = clip[0]
    still = [first] * 3
    assert all(frame is first for frame in retimed(iter(still), 8, 24, 7))
