"""What `--size` understands."""

from __future__ import annotations

import re

from hibari.contracts import InvalidRequest, ModelSpec

STANDARD_SIZES = {
    "360p": (640, 360),
    "480p": (854, 480),
    "720p": (1280, 720),
    "1080p": (1920, 1080),
}
SHAPES = ("square", "landscape", "portrait")


def parse_size(text: str, spec: ModelSpec) -> tuple[int, int]:
    """(width, height) in px of "1280x720", of a standard's name, or of a shape: the model's own size of that
    shape.

    Raises:
        InvalidRequest: it is none of these.
    """
    name = text.strip().lower()
    if name in STANDARD_SIZES:
        return STANDARD_SIZES[name]
    for width, height in spec.sizes:
        shape = "square" if width == height else "landscape" if width > height else "portrait"
        if name == shape:
            return width, height
    if match := re.fullmatch(r"([0-9]{1,6})\s*[x×]\s*([0-9]{1,6})", name):  # noqa: RUF001
        return int(match[1]), int(match[2])
    raise InvalidRequest(
        f"size is {text!r}; wanted WIDTHxHEIGHT in px, as in 512x512, or one of "
        f"{', '.join((*STANDARD_SIZES, *SHAPES))}",
        field="size",
    )
