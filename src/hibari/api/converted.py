"""A finished video as a GIF or an animated WebP, made when it is asked for and kept nowhere.

One at a time, at most MAX_SIDE_PX and MAX_FPS: a minute of full HD then costs the server what it takes to read it once.
The same video gives the same bytes, so a client that has them is told so without any work.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import BinaryIO, Literal

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from hibari import media
from hibari.api.errors import Refused
from hibari.api.parts import Parts
from hibari.assignment import VIDEO
from hibari.contracts import ClipStream, Conflict, InputError, NotFound
from hibari.jobs import Job

MAX_SIDE_PX, MAX_FPS = 480, 15
MAX_WAITING = 4
WAIT_S = 30.0
CHUNK_BYTES = 2**18

Format = Literal["gif", "webp"]

_places = BoundedSemaphore(1 + MAX_WAITING)
_turn = Lock()


def send_converted(request: Request, parts: Parts, job: Job, kind: Format, tags: list[str]) -> Response:
    """The video of a completed job as another kind of file; `tags` are those of If-None-Match.

    Raises:
        NotFound: it is no longer in the storage.
        Conflict: what is stored cannot be read.
        Refused: 503, others are being converted.
    """
    key = str((job.result or {})["video"])
    stored = parts.storage.find(key)
    if stored is None:
        raise NotFound(f"the video of {job.id} is no longer in the storage")
    headers = {
        "ETag": f'"{stored.etag.strip(chr(34))}-{kind}"',
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{job.id}.{kind}"',
    }
    if headers["ETag"] in tags:
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers=headers, media_type=f"image/{kind}")
    with _own_turn():
        file, size_bytes = _convert(parts, job, key, kind)
    headers["Content-Length"] = str(size_bytes)
    return StreamingResponse(_chunks(file), headers=headers, media_type=f"image/{kind}")


def small(clip: ClipStream) -> ClipStream:
    """The clip with at most MAX_SIDE_PX and MAX_FPS."""
    scale = min(1.0, MAX_SIDE_PX / max(clip.width, clip.height))
    fps = clip.fps // -(-clip.fps // MAX_FPS)
    return media.fit(
        clip,
        width=max(1, round(clip.width * scale)),
        height=max(1, round(clip.height * scale)),
        fps=fps,
        frames=1 + (clip.frame_count - 1) * fps // clip.fps,
    )


@contextmanager
def _own_turn() -> Generator[None]:
    if not _places.acquire(blocking=False):
        raise _busy()
    try:
        if not _turn.acquire(timeout=WAIT_S):
            raise _busy()
        try:
            yield
        finally:
            _turn.release()
    finally:
        _places.release()


def _convert(parts: Parts, job: Job, key: str, kind: Format) -> tuple[BinaryIO, int]:
    """An open file that has no name any more, so that nothing is left of it whatever happens; and its size."""
    folder = Path(tempfile.mkdtemp(prefix="hibari-convert-"))
    try:
        source, target = folder / VIDEO, folder / f"clip.{kind}"
        parts.storage.copy_to(key, source)
        try:
            media.write_clip(small(media.read_clip(source)), target)
        except InputError as error:
            raise Conflict(f"the stored file of {job.id} cannot be read as a video any more") from error
        return target.open("rb"), target.stat().st_size
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _busy() -> Refused:
    return Refused(
        503,
        "busy",
        "other videos are being converted; ask again in a moment, or take the MP4",
        headers={"Retry-After": "10"},
    )
