"""What happens to a video, as it happens: server-sent events that survive a lost connection."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from hibari.accounts import Identity
from hibari.api.errors import Refused
from hibari.api.keys import Given, Reader
from hibari.api.parts import Parts
from hibari.api.reads import Watch, read_soon
from hibari.api.wire import video_of
from hibari.assignment import moments_of
from hibari.contracts import InputError, NotFound
from hibari.jobs import FINAL

router = APIRouter(tags=["videos"])

LOOK_EVERY_S = 0.25
COMMENT_EVERY_S = 15.0  # so that nothing on the way takes a quiet connection for a dead one
RETRY_MS = 1000
MAX_PAGE = 100  # videos that one stream follows at a time
_PLACES = re.compile(r"(?:video_[0-9a-f]{32}\.[0-9]{1,9},?)*")


@router.get("/events", response_class=StreamingResponse)
async def all_events(
    parts: Given,
    identity: Reader,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """What happens to all one's videos that are not finished, in one stream: the events of `/videos/{id}/events` of
    each, also of those that are made while it lasts. It ends when none is left. `Last-Event-ID` works as it does there.
    """
    return _answer(_stream_all(parts, identity, _places(last_event_id)))


@router.get("/videos/{video_id}/events", response_class=StreamingResponse)
async def events(
    video_id: str,
    request: Request,
    parts: Given,
    identity: Reader,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """A stream of `created`, `claimed`, `progress`, `released`, `retried`, `completed`, `failed` and `cancelled`. Each
    event's data has the video as it is then; of progress also `step`, `steps`, and a `preview` as a data: URL where
    there is a new one. It ends with the last event. Whoever comes back with `Last-Event-ID` gets what came after that.
    """
    after = _number(last_event_id)
    # 404 before the stream begins
    await read_soon(parts.database, parts.jobs.get, video_id, owner=identity.account.id)
    watch: Watch = request.app.state.watch
    return _answer(_stream(watch, parts, identity, video_id, after))


def _answer(stream: AsyncGenerator[str, None]) -> StreamingResponse:
    return StreamingResponse(
        stream,
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(
    watch: Watch, parts: Parts, identity: Identity, video_id: str, after: int
) -> AsyncGenerator[str, None]:
    yield f"retry: {RETRY_MS}\n\n"
    told_s = time.monotonic()
    shown: str | None = None
    is_first = True
    with watch.following(video_id):
        while True:  # whoever goes away ends it
            if is_first or await watch.has_news(video_id, after):
                is_first = False
                try:
                    found, is_over = await run_in_threadpool(_look, parts, identity, video_id, after, shown)
                except NotFound:
                    yield _event("deleted", None, {"id": video_id, "deleted": True})
                    return
                for number, kind, data, preview in found:
                    after, shown = number, preview
                    yield _event(kind, number, data)
                    told_s = time.monotonic()
                    if kind in FINAL:
                        return
                if is_over:
                    return
            if time.monotonic() - told_s >= COMMENT_EVERY_S:
                told_s = time.monotonic()
                yield ": waiting\n\n"
            await asyncio.sleep(LOOK_EVERY_S)


async def _stream_all(parts: Parts, identity: Identity, places: dict[str, int]) -> AsyncGenerator[str, None]:
    yield f"retry: {RETRY_MS}\n\n"
    told_s = time.monotonic()
    shown: dict[str, str | None] = {}
    while True:  # whoever goes away ends it
        # The oldest: they begin first, and the others come in as these end.
        unfinished = await read_soon(parts.database, parts.jobs.unfinished, identity.account.id, MAX_PAGE)
        for video_id in [*places, *(new for new in unfinished if new not in places)]:
            last = unfinished.get(video_id)
            if last is not None and last <= places.get(video_id, 0):
                continue
            try:
                found, _ = await run_in_threadpool(
                    _look, parts, identity, video_id, places.get(video_id, 0), shown.get(video_id)
                )
            except NotFound:
                found = []
                yield _event("deleted", None, {"id": video_id, "deleted": True})
            for number, kind, data, preview in found:
                places[video_id], shown[video_id] = number, preview
                yield _event(kind, _written(places), data)
            if last is None:  # it was told to its end, or has gone
                places.pop(video_id, None)
                shown.pop(video_id, None)
            told_s = time.monotonic()
        if not places and not unfinished:
            return
        if time.monotonic() - told_s >= COMMENT_EVERY_S:
            told_s = time.monotonic()
            yield ": waiting\n\n"
        await asyncio.sleep(LOOK_EVERY_S)


Told = tuple[int, str, dict[str, Any], str | None]
"""An event's number, its kind, its data, and which preview has been shown by then."""


def _look(
    parts: Parts, identity: Identity, video_id: str, after: int, shown: str | None
) -> tuple[list[Told], bool]:
    """What came after `after`, and whether nothing more will, as for somebody who comes back after the last event.
    `shown` is the preview that was shown last."""
    job, estimate, happened = parts.jobs.news(video_id, after=after, owner=identity.account.id)
    if not happened:
        return [], job.is_final
    video = video_of(job, estimate).model_dump()
    told: list[Told] = []
    for event in happened:
        data: dict[str, Any] = {"at": event.at, "state": event.state.value, "video": video}
        data |= {
            name: event.data[name] for name in ("step", "steps", "code", "message") if name in event.data
        }
        preview = event.data.get("preview")
        if preview is not None and preview != shown:
            picture = _picture(parts, preview)
            if picture is not None:
                data["preview"] = picture
                if moments := moments_of(preview):
                    data["moments_s"] = moments
                shown = preview
        told.append((event.number, event.kind.value, data, shown))
    return told, False


def _picture(parts: Parts, key: str) -> str | None:
    try:
        content = b"".join(parts.storage.read(key))
    except InputError:
        return None  # a newer one has taken its place
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def _event(kind: str, number: int | str | None, data: dict[str, Any]) -> str:
    id_line = "" if number is None else f"id: {number}\n"
    return f"{id_line}event: {kind}\ndata: {json.dumps(data)}\n\n"


def _number(last_event_id: str | None) -> int:
    if last_event_id is None or last_event_id == "":
        return 0
    if not (last_event_id.isdecimal() and last_event_id.isascii() and len(last_event_id) <= 9):
        raise Refused(400, "invalid_value", "Last-Event-ID must be an event's number", param="Last-Event-ID")
    return int(last_event_id)


def _written(places: Mapping[str, int]) -> str:
    """The last event of each video that is followed, as one id."""
    return ",".join(f"{video_id}.{number}" for video_id, number in places.items())


def _places(last_event_id: str | None) -> dict[str, int]:
    if not last_event_id:
        return {}
    if len(last_event_id) > 64 * MAX_PAGE or not _PLACES.fullmatch(last_event_id):
        raise Refused(
            400, "invalid_value", "Last-Event-ID must be an id of this stream", param="Last-Event-ID"
        )
    places = (place.split(".") for place in last_event_id.split(",") if place)
    return {video_id: int(number) for video_id, number in places}
