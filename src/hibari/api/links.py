"""Links by which one file of one video can be read without a key, for a short time.

A storage that can sign its own URLs does (S3); for a folder the server signs one of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from hibari.accounts import LINKS_SECRET
from hibari.api.errors import Refused
from hibari.api.keys import Given, Reader
from hibari.api.orders import finished
from hibari.api.parts import Parts
from hibari.api.videos import Variant, send_file
from hibari.contracts import NotFound
from hibari.jobs import State

router = APIRouter(tags=["videos"])

LINK_S, MAX_LINK_S = 300, 3600


class Link(BaseModel):
    """A URL that needs no key, and until when (Unix seconds)."""

    object: Literal["video.link"] = "video.link"
    url: str
    expires_at: int


@router.get("/videos/{video_id}/link")
def make(
    video_id: str,
    request: Request,
    parts: Given,
    identity: Reader,
    variant: Variant = "video",
    seconds: Annotated[int, Query(ge=1, le=MAX_LINK_S, description="How long it opens.")] = LINK_S,
) -> Link:
    """A link to one file of a finished video. Whoever has it needs no key; it opens until `expires_at`, or until the
    video is deleted. `hibari admin rotate-links` ends all links of the server's own at once."""
    job = finished(parts, identity, video_id)
    expires = int(time.time()) + seconds
    url = parts.storage.link(str((job.result or {})[variant]), seconds)
    if url is None:
        query = {"expires": expires, "signature": _signature(parts, video_id, variant, expires)}
        url = f"{request.base_url}v1/links/{video_id}/{variant}?{urlencode(query)}"
    return Link(url=url, expires_at=expires)


@router.head("/links/{video_id}/{variant}", include_in_schema=False)
@router.get("/links/{video_id}/{variant}", response_class=StreamingResponse)
def follow(
    video_id: str,
    variant: Variant,
    request: Request,
    parts: Given,
    expires: Annotated[int, Query(ge=0, le=2**53)],
    signature: Annotated[str, Query(max_length=100)],
) -> Response:
    """The file of a link that `GET /videos/{video_id}/link` gave; without a key."""
    wanted = _signature(parts, video_id, variant, expires)
    if not hmac.compare_digest(signature.encode(), wanted.encode()):
        raise Refused(403, "invalid_link", "this link was not made by this server, or was changed")
    if expires <= time.time():
        raise Refused(403, "link_expired", "this link has expired; ask for a new one")
    job = parts.jobs.get(video_id)
    if job.state is not State.COMPLETED:
        raise NotFound(f"there is no file of {video_id[:60]!r}")
    return send_file(request, parts, job, variant)


def _signature(parts: Parts, video_id: str, variant: Variant, expires: int) -> str:
    signed = f"{video_id}\n{variant}\n{expires}".encode("utf-8", "replace")
    return hmac.new(parts.accounts.server_secret(LINKS_SECRET), signed, hashlib.sha256).hexdigest()
