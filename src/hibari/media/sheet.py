"""Contact sheets: many clips on one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hibari.media.frames import Frame

_LINE_SPACING = 1.25
_PAPER, _INK = (255, 255, 255), (32, 32, 32)


def sheet(
    tiles: Sequence[tuple[str, Sequence[Frame]]],
    *,
    columns: int = 2,
    gap_px: int = 12,
    font_px: int = 12,
) -> Frame:
    """Rows of tiles; a tile is a clip's frames side by side with its caption below, wrapped to their width.

    Args:
        tiles: (caption, frames uint8 [height_px, width_px, 3]); frames may differ in size and number.
        columns: tiles in a row.
        gap_px: between tiles and around them.
        font_px: height of the captions.

    Raises:
        ValueError: there is no tile, or a tile has no frame.
    """
    if not tiles or not all(len(frames) for _, frames in tiles):
        raise ValueError("a sheet needs at least one tile, and each tile at least one frame")
    font = ImageFont.load_default(font_px)
    line_px = round(font_px * _LINE_SPACING)
    strips = [Image.fromarray(_side_by_side(frames)) for _, frames in tiles]
    captions = [
        _wrapped(caption, font, strip.width) for (caption, _), strip in zip(tiles, strips, strict=True)
    ]
    heights_px = [
        strip.height + line_px * len(lines) + font_px // 2
        for strip, lines in zip(strips, captions, strict=True)
    ]
    starts = range(0, len(tiles), columns)
    width = min(columns, len(tiles)) * (max(strip.width for strip in strips) + gap_px) + gap_px
    rows_px = [max(heights_px[start : start + columns]) + gap_px for start in starts]
    page = Image.new("RGB", (width, sum(rows_px) + gap_px), _PAPER)
    pen = ImageDraw.Draw(page)
    step_px = (width - gap_px) // min(columns, len(tiles))
    for i, (strip, lines) in enumerate(zip(strips, captions, strict=True)):
        row, column = divmod(i, columns)
        x, y = gap_px + column * step_px, gap_px + sum(rows_px[:row])
        page.paste(strip, (x, y))
        for n, line in enumerate(lines):
            pen.text((x, y + strip.height + font_px // 4 + n * line_px), line, fill=_INK, font=font)
    return np.asarray(page)


def _side_by_side(frames: Sequence[Frame], gap_px: int = 2) -> Frame:
    height = max(frame.shape[0] for frame in frames)
    width = sum(frame.shape[1] for frame in frames) + gap_px * (len(frames) - 1)
    strip = np.full((height, width, 3), _PAPER, np.uint8)
    x = 0
    for frame in frames:
        strip[: frame.shape[0], x : x + frame.shape[1]] = frame
        x += frame.shape[1] + gap_px
    return strip


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int) -> list[str]:
    """The text in lines of at most `width_px`, broken between words; a word that is too wide stays whole."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width_px:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
