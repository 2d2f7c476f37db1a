"""What happens to a video, as it happens: server-sent events that survive a lost connection."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from hibari.accounts import Identity
from hibari.api.errors import Refused
from hibari.api.keys import Given, Reader
from hibari.api.parts import Parts
from hibari.api.wire import video_of
from hibari.contracts import InputError, NotFound
from hibari.jobs import FINAL, Event

router = APIRouter(prefix="/videos", tags=["videos"])

LOOK_EVERY_S = 0.25
COMMENT_EVERY_S = 15.0  # so that nothing on the way takes a quiet connection for a dead one
RETRY_MS = 1000


@router.get("/{video_id}/events", response_class=StreamingResponse)
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
    await run_in_threadpool(
        parts.jobs.get, video_id, owner=identity.account.id
    )  # 404 before the stream begins
    return StreamingResponse(
        _stream(request, parts, identity, video_id, after),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(
    request: Request, parts: Parts, identity: Identity, video_id: str, after: int
) -> AsyncGenerator[str, None]:
    yield f"retry: {RETRY_MS}\n\n"
    told_s = time.monotonic()
    shown: str | None = None
    while not await request.is_disconnected():
        try:
            found = await run_in_threadpool(_look, parts, identity, video_id, after, shown)
        except NotFound:
            yield _event("deleted", None, {"id": video_id, "deleted": True})
            return
        for number, kind, data, preview in found:
            after, shown = number, preview
            yield _event(kind, number, data)
            told_s = time.monotonic()
            if kind in FINAL:
                return
        if not found and await run_in_threadpool(_is_over, parts, identity, video_id, after):
            return
        if time.monotonic() - told_s >= COMMENT_EVERY_S:
            told_s = time.monotonic()
            yield ": waiting\n\n"
        await asyncio.sleep(LOOK_EVERY_S)


def _look(
    parts: Parts, identity: Identity, video_id: str, after: int, shown: str | None
) -> list[tuple[int, str, dict[str, Any], str | None]]:
    """What came after `after`, and which preview was shown last."""
    happened = parts.jobs.events(video_id, after=after, owner=identity.account.id)
    if not happened:
        return []
    video = video_of(parts.jobs.get(video_id, owner=identity.account.id)).model_dump()
    told: list[tuple[int, str, dict[str, Any], str | None]] = []
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
                shown = preview
        told.append((event.number, _kind(event), data, shown))
    return told


def _is_over(parts: Parts, identity: Identity, video_id: str, after: int) -> bool:
    """Whether somebody came back after the last event."""
    try:
        job = parts.jobs.get(video_id, owner=identity.account.id)
        return job.is_final and not parts.jobs.events(video_id, after=after, owner=identity.account.id)
    except NotFound:
        return False  # told at the next look


def _picture(parts: Parts, key: str) -> str | None:
    try:
        content = b"".join(parts.storage.read(key))
    except InputError:
        return None  # a newer one has taken its place
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def _kind(event: Event) -> str:
    return event.kind.value


def _event(kind: str, number: int | None, data: dict[str, Any]) -> str:
    id_line = "" if number is None else f"id: {number}\n"
    return f"{id_line}event: {kind}\ndata: {json.dumps(data)}\n\n"


def _number(last_event_id: str | None) -> int:
    if last_event_id is None or last_event_id == "":
        return 0
    if not (last_event_id.isdecimal() and last_event_id.isascii() and len(last_event_id) <= 9):
        raise Refused(400, "invalid_value", "Last-Event-ID must be an event's number", param="Last-Event-ID")
    return int(last_event_id)
