"""The routes about one's own account: what it has and may, and its keys."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from hibari.accounts import SCOPES, Key, Role
from hibari.api import asked
from hibari.api.body import read_body
from hibari.api.errors import Refused
from hibari.api.keys import Given, Reader, Writer, actor_of
from hibari.api.making import described
from hibari.api.parts import Parts
from hibari.api.people import (
    AccountInfo,
    KeyInfo,
    KeyList,
    KeyWithSecret,
    account_info,
    key_info,
    key_list,
    key_with_secret,
)
from hibari.contracts import InvalidRequest, NotFound

router = APIRouter(prefix="/account", tags=["account"])

MAX_BODY_BYTES = 64 * 1024


@router.get("")
def retrieve(parts: Given, identity: Reader) -> AccountInfo:
    """One's own account: what it has, and what it may."""
    account_id = identity.account.id
    usage = parts.jobs.usage(account_id)[account_id]
    return account_info(identity.account, usage, parts.accounts.keys(account_id), time.time())


@router.get("/keys")
def keys(parts: Given, identity: Reader) -> KeyList:
    """One's own keys, the newest first, with those that no longer open anything."""
    return key_list(parts.accounts.keys(identity.account.id), time.time())


@router.post("/keys", openapi_extra=described(asked.NewKey))
async def create_key(request: Request, parts: Given, identity: Writer) -> KeyWithSecret:
    """Make a key for one's own account. It may no more, and lives no longer, than the key that makes it. The answer has
    its secret, this once.

    On a server that asks for no key, this makes everybody need one: the first key may everything, for ever.
    """
    wish = (await read_body(request, MAX_BODY_BYTES)).parse(asked.NewKey)
    given = _first(wish) if identity.key is None else _narrower(wish, identity.key)
    made = await run_in_threadpool(
        parts.accounts.create_key, identity.account.id, wish.name, **given, by=actor_of(identity)
    )
    return key_with_secret(made)


@router.delete("/keys/{key_id}")
def revoke_key(key_id: str, parts: Given, identity: Writer) -> KeyInfo:
    """Revoke one of one's own keys, from the next request on; videos that came by it go on."""
    key = own_key(parts, identity.account.id, key_id)
    if not all(identity.may(scope) for scope in key.scopes):
        raise Refused(403, "insufficient_scope", "this API key may not revoke one that may more than itself")
    return key_info(parts.accounts.revoke(key.id, by=actor_of(identity)), time.time())


def own_key(parts: Parts, account_id: str, key_id: str) -> Key:
    """A key of an account.

    Raises:
        NotFound: it has none of that id.
    """
    key = parts.accounts.get_key(key_id)
    if key.account_id != account_id:
        raise NotFound(f"there is no key {key_id[:60]!r}")
    return key


def _first(wish: asked.NewKey) -> dict[str, Any]:
    """What is to be known of the first key of a server. Whoever made it would otherwise have locked themselves out."""
    if wish.expires_at is not None or (wish.scopes is not None and set(wish.scopes) != set(SCOPES)):
        raise InvalidRequest(
            "from the first key on everybody needs one, so it must be able to do everything and not expire; "
            "leave out scopes and expires_at",
            field="scopes" if wish.expires_at is None else "expires_at",
        )
    return {"role": Role.ADMIN}


def _narrower(wish: asked.NewKey, key: Key) -> dict[str, Any]:
    scopes = key.scopes if wish.scopes is None else frozenset(wish.scopes)
    if wrong := sorted(scopes - key.scopes):
        had = ", ".join(scope for scope in SCOPES if scope in key.scopes)
        raise InvalidRequest(
            f"this API key cannot give the scope {wrong[0][:60]!r}; it has {had}", field="scopes"
        )
    expires_at = key.expires_at if wish.expires_at is None else float(wish.expires_at)
    if key.expires_at is not None and expires_at is not None and expires_at > key.expires_at:
        raise InvalidRequest(
            f"the key would outlive the one that makes it, which expires at {key.expires_at:.0f}",
            field="expires_at",
        )
    return {
        "role": key.role,
        "scopes": scopes,
        "expires_at": expires_at,
        "requests_per_minute": key.requests_per_minute,
    }
