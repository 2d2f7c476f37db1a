"""What the training data is made of that this repository did not draw itself: one font, declared here.

Everything else in a training clip is painted by `backdrops` and composed by `render`. No photograph, no film and
no downloaded picture is in the data, so the origin of every pixel can be named.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hibari.contracts import MissingPart


@dataclass(frozen=True, slots=True)
class Asset:
    """One file that goes into the training data.

    Attributes:
        name, version: as its authors call it.
        licence: SPDX identifier.
        source: where it comes from.
        package: the Debian package that installs it.
        path: where that package puts it.
        sha256: of the file; other bytes are refused, since the clips would differ.
    """

    name: str
    version: str
    licence: str
    source: str
    package: str
    path: Path
    sha256: str


EMOJI_FONT = Asset(
    name="Noto Color Emoji",
    version="2.042",
    licence="OFL-1.1",
    source="https://github.com/googlefonts/noto-emoji",
    package="fonts-noto-color-emoji",
    path=Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"),
    sha256="e5899ed38b8ed83e08bd3ac5de09791e9d19d288333a796de1d35ad17396f1ec",
)
ASSETS = (EMOJI_FONT,)

_STRIKE_PX = 109  # the only size of the font's bitmaps


@lru_cache(maxsize=1)
def _emoji_font() -> ImageFont.FreeTypeFont:
    asset = EMOJI_FONT
    if not asset.path.exists():
        raise MissingPart(
            f"the font {asset.name} is not installed ({asset.path} is missing); "
            f"rendering training clips needs it: apt-get install {asset.package}"
        )
    found = hashlib.sha256(asset.path.read_bytes()).hexdigest()
    if found != asset.sha256:
        raise MissingPart(
            f"{asset.path} is not version {asset.version} of {asset.name} (sha256 {found[:12]}..., "
            f"wanted {asset.sha256[:12]}...); other glyphs would make other training clips"
        )
    return ImageFont.truetype(str(asset.path), _STRIKE_PX)


@cache
def glyph(character: str) -> np.ndarray:
    """The picture of an emoji: uint8 RGBA [side, side, 4], cropped to its ink, centred in a square."""
    canvas = Image.new("RGBA", (160, 160), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((10, 10), character, font=_emoji_font(), embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise ValueError(f"{EMOJI_FONT.name} has no picture for {character!r}")
    ink = canvas.crop(box)
    side = max(ink.size)
    square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    # Feet stay at the bottom, so that what stands on the ground stands on it.
    square.paste(ink, ((side - ink.width) // 2, side - ink.height))
    return np.asarray(square)
