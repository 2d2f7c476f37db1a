"""Defends: frames that are made ahead are the same frames, their errors arrive, and no thread stays behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from hibari.media.ahead import ahead
from hibari.media.frames import Frame


def numbered(count: int, made: list[int]) -> Iterator[Frame]:
    for number in range(count):
        made.append(number)
        yield np.full((2, 2, 3), number, np.uint8)


def test_the_same_frames_in_the_same_order() -> None:
    with ahead(numbered(50, []), 3) as frames:
        assert [int(frame[0, 0, 0]) for frame in frames] == [*range(50)]


def test_they_are_made_while_the_taker_works_and_not_much_further() -> None:
    made: list[int] = []
    with ahead(numbered(50, made), 3) as frames:
        next(frames)
        for _ in range(500):
            if len(made) >= 5:
                break
            threading.Event().wait(0.01)
        assert len(made) == 5, "one taken, three ready, one waiting for room"


def test_an_error_comes_after_the_frames_before_it() -> None:
    def failing() -> Iterator[Frame]:
        yield from numbered(2, [])
        raise ValueError("the decoder broke")

    with ahead(failing()) as frames:
        assert [int(next(frames)[0, 0, 0]) for _ in range(2)] == [0, 1]
        with pytest.raises(ValueError, match="the decoder broke"):
            next(frames)


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    for taken in range(8):
        with ahead(numbered(10_000, [])) as frames:
            for _ in range(taken):
                next(frames)
    assert threading.active_count() == before
