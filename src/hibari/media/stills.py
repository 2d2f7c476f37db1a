"""A clip at a glance: one picture, and a sheet of many."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from hibari.media.frames import Frame

THUMBNAIL_PX = 512  # the longer side, at most
TILE_PX = 160  # the longer side of a picture on a spritesheet, at most
COLUMNS, ROWS = 6, 4


def thumbnail(frame: Frame) -> bytes:
    """A WebP of a frame, its longer side at most THUMBNAIL_PX."""
    return _encoded(_small(frame, THUMBNAIL_PX), "WEBP", quality=82)


def spritesheet(frames: Sequence[Frame]) -> bytes:
    """A JPEG of COLUMNS x ROWS moments of a clip, evenly from the first to the last, row by row; of a shorter clip all
    frames, and the last one again for what is left.

    Raises:
        ValueError: there is no frame.
    """
    if not frames:
        raise ValueError("a spritesheet needs at least one frame")
    tiles = [_small(frames[index], TILE_PX) for index in moments(len(frames))]
    width, height = tiles[0].size
    page = Image.new("RGB", (COLUMNS * width, ROWS * height))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, COLUMNS)
        page.paste(tile, (column * width, row * height))
    return _encoded(page, "JPEG", quality=85)


def moments(count: int) -> list[int]:
    """Numbers of the frames of a clip of `count` that a spritesheet shows. The sheet of only these is the same."""
    if count < COLUMNS * ROWS:
        return [min(index, count - 1) for index in range(COLUMNS * ROWS)]
    return [round(index) for index in np.linspace(0, count - 1, COLUMNS * ROWS).tolist()]


def tile(frame: Frame) -> Frame:
    """A frame in the size in which a spritesheet shows it, for whoever cannot keep the whole clip."""
    return np.asarray(_small(frame, TILE_PX))


def _small(frame: Frame, longest_px: int) -> Image.Image:
    picture = Image.fromarray(frame)
    scale = min(1.0, longest_px / max(picture.size))
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _encoded(picture: Image.Image, kind: str, *, quality: int) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind, quality=quality)
    return buffer.getvalue()
