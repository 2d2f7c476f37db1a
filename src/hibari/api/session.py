"""Signing in, for browsers: a cookie carries the API key where a page cannot send a header, as for pictures.

The cookie is the key and nothing beside it: a key that is revoked ends at the next request, and no second list of who
is signed in has to be kept. No script can read it, and no other site's page makes a browser send it.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from hibari.accounts import SCOPES, Identity
from hibari.api import samples
from hibari.api.body import read_body
from hibari.api.keys import COOKIE, Anybody, Given, check_origin, limit_rate

router = APIRouter(prefix="/session", tags=["session"])

PATH = "/v1"
KEPT_S = 90 * 24 * 3600
MAX_BODY_BYTES = 4096


class SignIn(BaseModel):
    """POST /session."""

    key: str = Field(min_length=1, max_length=200, description="An API key.")


class SessionAccount(BaseModel):
    """Whose videos are shown."""

    id: str
    name: str


class Session(BaseModel):
    """Who asks. `key` is the beginning of the key that was used; null on a server that asks for none."""

    account: SessionAccount
    key: str | None
    scopes: list[str]


_BODY = {"requestBody": {"required": True, "content": {
    kind: {"schema": SignIn.model_json_schema()}
    for kind in ("application/json", "application/x-www-form-urlencoded")}}}  # fmt: skip


@router.post("", openapi_extra=_BODY)
async def sign_in(request: Request, response: Response, parts: Given) -> Session:
    """Sign in with an API key: the answer sets a cookie that stands for the key wherever a Bearer header does. What
    changes something by that cookie must come from a page of this server."""
    check_origin(request)
    body = await read_body(request, MAX_BODY_BYTES)
    key = body.parse(SignIn).key.strip()
    identity = await run_in_threadpool(parts.accounts.authenticate, key)
    limit_rate(request, identity)
    await run_in_threadpool(samples.give, parts, identity)
    secure = request.url.scheme == "https"
    response.set_cookie(
        COOKIE, key, max_age=KEPT_S, path=PATH, httponly=True, samesite="strict", secure=secure
    )
    return _session(identity)


@router.get("")
def retrieve(identity: Anybody) -> Session:
    """Who is signed in."""
    return _session(identity)


@router.delete("", status_code=204)
def sign_out(request: Request) -> Response:
    """Sign out: the cookie goes, and the key stays what it is."""
    check_origin(request)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="strict")
    return response


def _session(identity: Identity) -> Session:
    return Session(
        account=SessionAccount(id=identity.account.id, name=identity.account.name),
        key=None if identity.key is None else identity.key.prefix,
        scopes=[scope for scope in SCOPES if identity.may(scope)],
    )
