"""Frames out of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import av
import av.error
import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from hibari.contracts import InputError
from hibari.media.frames import Frame

Kind = Literal["gif", "webp", "png", "video"]


def kind_of(path: Path) -> Kind:
    """What a file is, by its first bytes and not by its name. "video" is anything else.

    Raises:
        InputError: there is no such file, or it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"RIFF") and head[8:] == b"WEBP":
        return "webp"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    return "video"


def decode_frames(path: Path) -> Iterator[Frame]:
    """Frames of a video or picture file, in order: uint8 [height_px, width_px, 3], RGB; one in memory at a
    time.

    Raises:
        InputError: the file cannot be read, or is neither; raised when the first frame is taken.
    """
    if kind_of(path) == "video":
        yield from _video_frames(path)
        return
    try:
        # Pillow and not FFmpeg: it knows animated WebP, and composes GIF frames that are only differences.
        with Image.open(path) as image:
            for frame in ImageSequence.Iterator(image):
                yield np.asarray(frame.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InputError(f"{path} is damaged: {error}") from error


def frame_rate(path: Path) -> float:
    """Frames a second of a video or moving picture; 1 for a still one.

    Raises:
        InputError: the file cannot be read, or is neither.
    """
    try:
        if kind_of(path) == "video":
            with av.open(str(path)) as container:
                rate = container.streams.video[0].average_rate if container.streams.video else None
            return float(rate) if rate else 1.0
        with Image.open(path) as image:
            if not getattr(image, "is_animated", False):
                return 1.0
            image.seek(1)  # Pillow knows a frame's duration when it stands on it
            return 1000 / max(10, float(image.info.get("duration", 0) or 100))
    except av.error.FFmpegError as error:
        raise InputError(f"{path} is not a video or picture that can be read: {error.strerror}") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InputError(f"{path} is damaged: {error}") from error


def _video_frames(path: Path) -> Iterator[Frame]:
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no pictures in it")
            for frame in container.decode(video=0):
                yield np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    except av.error.FFmpegError as error:
        raise InputError(f"{path} is not a video or picture that can be read: {error.strerror}") from error
