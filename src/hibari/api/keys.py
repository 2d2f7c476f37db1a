"""Who asks, and whether they may.

A key comes in the Authorization header, or in the cookie that `session` sets; the header comes first. A browser adds
the cookie by itself, so what changes something by it must name a page of this server as its origin.

A server that listens on loopback and for which no key was ever made has one user, who needs no key. A key that is sent
must be right, always. Without keys a browser must not be the door for other people's pages: the request has to name
this machine as its host, and must not come from a page of another origin.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from hibari.accounts import Identity
from hibari.api.errors import Refused
from hibari.api.parts import Parts, parts_of
from hibari.api.rates import Rates
from hibari.api.reads import read_soon
from hibari.audit import Actor

COOKIE = "hibari_key"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_bearer = HTTPBearer(auto_error=False, description="An API key, as `hibari admin key create` shows it.")
_cookie = APIKeyCookie(
    name=COOKIE, auto_error=False, description="An API key, as `POST /v1/session` sets it."
)


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine and no other."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def allowed(*scopes: str, hidden: bool = False) -> Callable[..., Awaitable[Identity]]:
    """A dependency that gives the identity of the one who asks, if it has one of the scopes, where there are any. With
    `hidden`, for others the route is not there."""

    async def check(
        request: Request,
        parts: Annotated[Parts, Depends(parts_of)],
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
        cookie: Annotated[str | None, Depends(_cookie)],
    ) -> Identity:
        identity = await _identity(request, parts, credentials, cookie)
        if scopes and not any(identity.may(scope) for scope in scopes):
            if hidden:
                raise HTTPException(404)
            needed = " or ".join(scopes)
            raise Refused(403, "insufficient_scope", f"this API key may not do this; it needs {needed}")
        return identity

    return check


Anybody = Annotated[Identity, Depends(allowed())]
Reader = Annotated[Identity, Depends(allowed("videos:read"))]
Writer = Annotated[Identity, Depends(allowed("videos:write"))]
ADMINISTRATOR = Depends(allowed("admin", hidden=True))
Administrator = Annotated[Identity, ADMINISTRATOR]
Given = Annotated[Parts, Depends(parts_of)]


def actor_of(identity: Identity) -> Actor:
    """Who asks, for the audit log."""
    prefix = None if identity.key is None else identity.key.prefix
    return Actor("api", identity.account.name, identity.account.id, prefix)


def limit_rate(request: Request, identity: Identity) -> None:
    """Count a request by a key.

    Raises:
        Refused: 429, there were too many.
    """
    if identity.key is not None:
        rates: Rates = request.app.state.rates
        rates.check(identity.key)


def check_origin(request: Request, *, required: bool = False) -> None:
    """Refuse what a page of another server has sent; with `required`, also what does not say where it comes from.

    Raises:
        Refused: 403.
    """
    origin = request.headers.get("origin")
    if origin is None and not required:
        return
    if origin is None or urlsplit(origin).netloc != request.headers.get("host", ""):
        raise Refused(403, "wrong_origin", "a browser may do this only from a page of this server")


async def _identity(
    request: Request, parts: Parts, credentials: HTTPAuthorizationCredentials | None, cookie: str | None
) -> Identity:
    if credentials is not None:
        identity = await _of_key(parts, credentials.credentials)
        limit_rate(request, identity)
        return identity
    if request.headers.get("authorization"):
        raise Refused(401, "invalid_api_key", "the Authorization header must be: Bearer, and an API key")
    if cookie is not None:
        identity = await _of_key(parts, cookie)
        if request.method not in _SAFE:
            check_origin(request, required=True)
        limit_rate(request, identity)
        return identity
    if is_loopback(parts.settings.host) and not await read_soon(parts.database, parts.accounts.has_keys):
        _check_browser(request)
        return await run_in_threadpool(parts.accounts.local)  # it is made when it is first needed
    raise Refused(
        401, "missing_api_key", "an API key is needed: send the header Authorization: Bearer, and the key"
    )


async def _of_key(parts: Parts, secret: str) -> Identity:
    identity = await read_soon(parts.database, parts.accounts.identify, secret)
    if identity.key is not None and parts.accounts.is_to_be_noted(identity.key):
        await run_in_threadpool(parts.accounts.note_use, identity.key)
    return identity


def _check_browser(request: Request) -> None:
    host = request.headers.get("host", "")
    if not is_loopback(_hostname(f"//{host}")):
        raise Refused(403, "wrong_host", "without API keys this server answers to localhost only")
    check_origin(request)


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
