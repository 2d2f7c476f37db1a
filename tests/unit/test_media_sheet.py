"""Defends: a contact sheet shows every frame unchanged, and its caption under it."""

from __future__ import annotations

import numpy as np
import pytest

from hibari.media import sheet


def test_every_frame_is_there_with_a_caption_below() -> None:
    tiles = [
        (
            f"a caption of several words, number {n}",
            [np.full((20, 30, 3), 10 * n + k, np.uint8) for k in range(4)],
        )
        for n in range(5)
    ]
    page = sheet(tiles, columns=2, gap_px=8)
    assert page.shape[1] == 8 + 2 * (4 * 30 + 3 * 2 + 8)
    for n in range(5):
        for k in range(4):
            assert (page == 10 * n + k).all(2).sum() >= 20 * 30
    # 20 px below the first strip's edge is ink, left of it is not.
    assert page[28:60, 8:134].min() < 128
    assert page[:, :8].min() == 255


def test_a_long_caption_is_wrapped_and_pushes_the_next_row_down() -> None:
    frame = [np.zeros((20, 60, 3), np.uint8)]
    short, long = sheet([("cat", frame)] * 2, columns=1), sheet([("a cat " * 20, frame)] * 2, columns=1)
    assert long.shape[1] == short.shape[1]
    assert long.shape[0] > short.shape[0] + 100


def test_nothing_makes_no_sheet() -> None:
    with pytest.raises(ValueError, match="at least one"):
        sheet([])
    with pytest.raises(ValueError, match="at least one"):
        sheet([("empty", [])])
