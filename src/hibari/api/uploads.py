"""Pictures and clips that strangers send: looked at before anything of ours reads them.

What a file is, its first bytes say; its name and its announced type count for nothing. A picture is decoded here and
kept as a PNG of its pixels, so that nothing else it carried goes on. A clip must be what its container says, without
being decoded as a whole.
"""

# PyAV leaves some type parameters of its packets open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal

import av
import av.error
from PIL import Image, ImageOps, UnidentifiedImageError

from hibari.api.errors import Refused
from hibari.api.parts import Parts
from hibari.api.room import check_disk
from hibari.assignment import Source
from hibari.contracts import HibariError, OutputError

UPLOADS = "uploads"
MAX_SIDE_PX = 8192
MAX_PIXELS = 40_000_000
MAX_FRAMES = 4000  # more than two minutes at 30 frames a second
MAX_PICTURE_BYTES = 50 * 2**20

Kind = Literal["png", "jpeg", "gif", "webp", "mp4", "webm"]
_PICTURES: dict[Kind, str] = {"png": "PNG", "jpeg": "JPEG", "gif": "GIF", "webp": "WEBP"}
_CONTAINERS: dict[Kind, str] = {"mp4": "mov", "webm": "matroska"}


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that was stored. `frames` is exact, `fps` what the container says."""

    source: Source
    width: int
    height: int
    frames: int
    fps: float


def kind_of(head: bytes) -> Kind | None:
    """What a file is, by its first 16 bytes; None for what is not taken."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return "mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm"
    return None


def store_picture(parts: Parts, owner: str, content: bytes, param: str) -> Source:
    """Store the first frame of a picture file for the account `owner`.

    Raises:
        Refused: it is no picture, or too large, also for the disk.
        QuotaReached: it is too large for what the account may have.
        OutputError: it cannot be stored.
    """
    kind = kind_of(content[:16])
    if kind not in _PICTURES:
        raise _unsupported(param, f"a picture: {', '.join(_PICTURES)}", kind)
    if len(content) > MAX_PICTURE_BYTES:
        raise Refused(
            413, "too_large", f"the picture has more than {MAX_PICTURE_BYTES // 2**20} MB", param=param
        )
    try:
        with Image.open(BytesIO(content), formats=[_PICTURES[kind]]) as image:
            # Before a pixel is decoded: a few bytes can announce gigabytes.
            _check_size(image.width, image.height, param)
            picture = ImageOps.exif_transpose(image).convert("RGB")
    except Image.DecompressionBombError as error:  # Pillow's own limit comes before ours
        raise Refused(
            400, "picture_too_large", f"{param} announces far too many pixels", param=param
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise _damaged(param) from error
    stored = BytesIO()
    picture.save(stored, "PNG", compress_level=1)
    return _put(parts, owner, stored.getvalue(), "png")


def store_clip(parts: Parts, owner: str, file: BinaryIO, path: Path, param: str) -> Clip:
    """Store a clip.

    Args:
        parts: of the server.
        owner: whose it is.
        file: what came.
        path: an empty file of this machine through which it goes.
        param: the request's parameter, for messages.

    Raises:
        Refused: it is no clip, too large, also for the disk, or has too many frames.
        QuotaReached: it is too large for what the account may have.
        OutputError: it cannot be stored.
    """
    try:
        with path.open("wb") as copy:
            while chunk := file.read(2**20):
                copy.write(chunk)
    except OSError as error:
        raise OutputError(f"the clip cannot be kept while it is looked at: {error.strerror}") from error
    with path.open("rb") as copy:
        kind = kind_of(copy.read(16))
    if kind not in _CONTAINERS:
        raise _unsupported(param, f"a clip: {', '.join(_CONTAINERS)}", kind)
    width, height, frames, fps = _looked_at(path, kind, param)
    return Clip(_put(parts, owner, path, kind), width, height, frames, fps)


def _looked_at(path: Path, kind: Kind, param: str) -> tuple[int, int, int, float]:
    """Width and height in px, frames, frames a second."""
    try:
        # The one demuxer, and not what FFmpeg would guess: some of its formats are lists of other files.
        with av.open(str(path), format=_CONTAINERS[kind]) as container:
            if not container.streams.video:
                raise Refused(400, "unsupported_file", "the file has no pictures in it", param=param)
            stream = container.streams.video[0]
            width, height = stream.codec_context.width, stream.codec_context.height
            _check_size(width, height, param)
            frames = 0
            for packet in container.demux(stream):
                frames += packet.size > 0
                if frames > MAX_FRAMES:
                    raise Refused(
                        400,
                        "too_many_frames",
                        f"the clip has more than {MAX_FRAMES} frames; trim it",
                        param=param,
                    )
            container.seek(0)
            if next(container.decode(stream), None) is None:
                raise _damaged(param)
            rate = float(stream.average_rate or 0)
    except (av.error.FFmpegError, ValueError) as error:
        raise _damaged(param) from error
    if not frames or not 0.1 <= rate <= 1000:
        raise _damaged(param)
    return width, height, frames, rate


def _check_size(width: int, height: int, param: str) -> None:
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX and width * height <= MAX_PIXELS):
        raise Refused(
            400,
            "picture_too_large",
            f"it is {width}x{height} px; at most {MAX_SIDE_PX} px a side and {MAX_PIXELS:,} in all are taken",
            param=param,
        )


def _put(parts: Parts, owner: str, content: bytes | Path, suffix: str) -> Source:
    """Under a name that says when it came: the sweeper removes what no job refers to."""
    key = f"{UPLOADS}/{int(time.time()):012d}-{secrets.token_hex(12)}/input.{suffix}"
    return Source(keep(parts, owner, key, content))


def keep(parts: Parts, owner: str, key: str, content: bytes | Path) -> str:
    """Store a file and count it as the account's; returns the key.

    Raises:
        Refused: the disk has no room for it.
        QuotaReached: the account has none.
        OutputError: it cannot be stored.
    """
    size_bytes = len(content) if isinstance(content, bytes) else content.stat().st_size
    check_disk(parts, size_bytes)
    parts.stored.add(owner, key, size_bytes)
    try:
        parts.storage.put(key, content)
    except HibariError:
        parts.stored.forget(key)
        raise
    return key


def _unsupported(param: str, wanted: str, kind: Kind | None) -> Refused:
    came = f"of the kind {kind}" if kind else "of a kind that is not taken"
    return Refused(400, "unsupported_file", f"{param} is {came}; wanted is {wanted}", param=param)


def _damaged(param: str) -> Refused:
    return Refused(400, "invalid_file", f"{param} is damaged, or not what it says it is", param=param)
