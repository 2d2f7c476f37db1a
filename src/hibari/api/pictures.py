"""The route by which the pictures that a video was asked for with are had again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse

from hibari.api.keys import Given, Reader
from hibari.assignment import Assignment
from hibari.contracts import NotFound

router = APIRouter(prefix="/videos", tags=["videos"])

MOST = 1000  # more than any request has


@router.get("/{video_id}/pictures/{number}", response_class=StreamingResponse)
def picture(
    video_id: str,
    number: Annotated[int, Path(ge=0, le=MOST, description="The first frame, then those of the cards.")],
    parts: Given,
    identity: Reader,
) -> Response:
    """A picture (PNG) that was sent to make a video of, as it was kept. They are counted from 0: first the one of
    `input_reference`, then those of the cards, in their order. They are kept as long as the video."""
    job = parts.jobs.get(video_id, owner=identity.account.id)
    assignment = Assignment.from_json(job.request["assignment"])
    given = [assignment.image, *(card.image for card in assignment.cards)]
    keys = [source.key for source in given if source is not None]
    stored = parts.storage.find(keys[number]) if number < len(keys) else None
    if stored is None:
        raise NotFound(f"there is no picture {number} of the video {job.id}; it has {len(keys)}")
    return StreamingResponse(
        parts.storage.read(stored.key),
        media_type="image/png",
        headers={"Content-Length": str(stored.size_bytes), "Cache-Control": "private, no-cache"},
    )
