"""The routes about videos that were asked for: look, list, fetch, cancel, delete."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from hibari.api.converted import Format, send_converted
from hibari.api.errors import Refused
from hibari.api.keys import Given, Reader, Writer
from hibari.api.orders import finished
from hibari.api.parts import Parts
from hibari.api.reads import read_soon
from hibari.api.wire import (
    Deleted,
    DeletedList,
    Lineage,
    Status,
    Video,
    VideoList,
    poll_after_ms,
    video_of,
)
from hibari.contracts import Kind, NotFound
from hibari.jobs import MAX_AT_ONCE, MAX_SEARCH_CHARS, Job, State, Wanted
from hibari.media.storage import Stored

router = APIRouter(prefix="/videos", tags=["videos"])

Variant = Literal["video", "thumbnail", "spritesheet"]
MEDIA_TYPES: dict[Variant, str] = {
    "video": "video/mp4",
    "thumbnail": "image/webp",
    "spritesheet": "image/jpeg",
}
_SUFFIXES: dict[Variant, str] = {"video": "mp4", "thumbnail": "webp", "spritesheet": "jpg"}
_STATES: dict[Status, tuple[State, ...]] = {
    "queued": (State.QUEUED, State.RUNNING),
    "in_progress": (State.RUNNING,),
    "completed": (State.COMPLETED,),
    "failed": (State.FAILED, State.CANCELLED),
}
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@router.get("")
def page(
    parts: Given,
    identity: Reader,
    after: Annotated[str | None, Query(description="Id of the video after which the page begins.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    search: Annotated[
        str | None,
        Query(
            max_length=MAX_SEARCH_CHARS,
            description="Words of the prompt, or parts of words; all must be in it.",
        ),
    ] = None,
    status: Annotated[
        list[Status] | None, Query(description="Can be given again, for one of several.")
    ] = None,
    model: Annotated[str | None, Query(description="What made them.")] = None,
    kind: Annotated[Kind | None, Query(description="How they were made.")] = None,
    folder: Annotated[
        str | None, Query(description="A folder's id; the empty string is in no folder.")
    ] = None,
    favourite: Annotated[bool | None, Query(description="Only favourites, or only others.")] = None,
) -> VideoList:
    """Videos, the newest first, page by page. Pages do not move while videos come and go; `after` may also be a video
    that is not among those that are looked for."""
    wanted = Wanted(search, *_standing(status), model, kind, folder, favourite)
    found = parts.jobs.page(
        owner=identity.account.id,
        after=after,
        limit=limit,
        newest_first=order == "desc",
        wanted=wanted,
        estimated=True,
    )
    data = [video_of(job, found.estimates.get(job.id)) for job in found.jobs]
    return VideoList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=found.has_more,
    )


@router.get("/{video_id}")
async def retrieve(video_id: str, response: Response, parts: Given, identity: Reader) -> Video:
    """A video as it is now. The header `openai-poll-after-ms` says when to ask again."""
    job, estimate = await read_soon(parts.database, parts.jobs.look, video_id, owner=identity.account.id)
    response.headers["openai-poll-after-ms"] = str(poll_after_ms(estimate))
    return video_of(job, estimate)


@router.delete("")
def delete_all(
    parts: Given,
    identity: Writer,
    ids: Annotated[
        list[str], Query(alias="id", min_length=1, max_length=MAX_AT_ONCE, description="Can be given again.")
    ],
) -> DeletedList:
    """Delete several videos, whatever state they are in. The answer has those that were there."""
    gone = parts.jobs.delete_all(ids, owner=identity.account.id)
    return DeletedList(data=[Deleted(id=video_id) for video_id in gone])


@router.get("/{video_id}/lineage")
def lineage(video_id: str, parts: Given, identity: Reader) -> Lineage:
    """What a video was made of, and what that was made of, and all that was made of it."""
    family = parts.gallery.family(video_id, owner=identity.account.id)
    return Lineage(
        data=[video_of(job) for job in family.jobs], missing=list(family.gone), has_more=family.has_more
    )


@router.delete("/{video_id}")
def delete(video_id: str, parts: Given, identity: Writer) -> Deleted:
    """Delete a video, whatever state it is in: what runs stops at its next step, and nothing brings it back."""
    parts.jobs.delete(video_id, owner=identity.account.id)
    return Deleted(id=video_id)


@router.post("/{video_id}/cancel")
def cancel(video_id: str, parts: Given, identity: Writer) -> Video:
    """Stop a video and keep its record: it becomes `failed`, with `error.code` `cancelled`. One that is finished stays
    as it is."""
    return video_of(parts.jobs.cancel(video_id, owner=identity.account.id))


@router.head("/{video_id}/content", include_in_schema=False)
@router.get("/{video_id}/content", response_class=StreamingResponse)
def content(
    video_id: str,
    request: Request,
    parts: Given,
    identity: Reader,
    variant: Literal[Variant, Format] = "video",  # one list, so that a wrong one is told of by its name
) -> Response:
    """The finished file: the video (MP4), a thumbnail (WebP) or a sheet of 24 moments (JPEG), of which parts can be
    asked for with `Range`; or the video as `gif` or `webp`, converted now, with at most 480 px and 15 frames a
    second."""
    job = finished(parts, identity, video_id)
    if variant == "gif" or variant == "webp":
        return send_converted(request, parts, job, variant, _tags(request.headers.get("if-none-match", "")))
    return send_file(request, parts, job, variant)


def send_file(request: Request, parts: Parts, job: Job, variant: Variant) -> Response:
    """A file of a completed job, or the part of it that `Range` asks for.

    Raises:
        NotFound: it is no longer in the storage.
        Refused: 416, the range begins behind its end.
    """
    key = str((job.result or {})[variant])
    stored = parts.storage.find(key)
    if stored is None:
        raise NotFound(f"the {variant} of {job.id} is no longer in the storage")
    headers = {
        "ETag": stored.etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",  # may be kept, but it must be asked whether it is still there
        "Content-Disposition": f'inline; filename="{job.id}.{_SUFFIXES[variant]}"',
    }
    if stored.etag in _tags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    start, end, status = _wanted(request, stored)
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.size_bytes}"
    headers["Content-Length"] = str(end - start)
    media_type = MEDIA_TYPES[variant]
    if request.method == "HEAD" or start == end:
        return Response(status_code=status, headers=headers, media_type=media_type)
    return StreamingResponse(
        parts.storage.read(key, start, end), status_code=status, headers=headers, media_type=media_type
    )


def _standing(statuses: list[Status] | None) -> tuple[frozenset[State] | None, bool | None]:
    """The states behind what the wire says, and whether those that run must have begun: `queued` lasts until then."""
    if statuses is None:
        return None, None
    states = frozenset(state for status in statuses for state in _STATES[status])
    if ("queued" in statuses) == ("in_progress" in statuses):
        return states, None
    return states, "in_progress" in statuses


def _wanted(request: Request, stored: Stored) -> tuple[int, int, int]:
    """First byte, the one after the last, and the status. A range that is none, or several, is the whole file, as
    RFC 9110 allows."""
    size = stored.size_bytes
    whole = 0, size, 200
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or match.group(1) == match.group(2) == "":
        return whole
    if request.headers.get("if-range", stored.etag) != stored.etag:
        return whole
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if first and last and int(last) < int(first):
        return whole
    if start >= end:
        raise Refused(
            416,
            "range_not_satisfiable",
            f"the file has {size} bytes; the range begins behind them",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end, 206


def _tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in header.split(",")]
