"""The routes by which an administrator looks after accounts. For whoever is none, they are not there."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool

from hibari.accounts import Account, Identity
from hibari.api import asked
from hibari.api.account import MAX_BODY_BYTES, own_key
from hibari.api.body import read_body
from hibari.api.keys import ADMINISTRATOR, Administrator, Given, actor_of
from hibari.api.making import described
from hibari.api.parts import Parts
from hibari.api.people import (
    AccountInfo,
    AccountList,
    DeletedAccount,
    KeyInfo,
    KeyList,
    KeyWithSecret,
    account_info,
    key_info,
    key_list,
    key_with_secret,
)
from hibari.contracts import Conflict, InvalidRequest
from hibari.jobs import PauseScope

router = APIRouter(prefix="/admin/accounts", tags=["admin"])

LIMITS = ("max_running", "max_queued", "max_stored_bytes")


@router.get("", dependencies=[ADMINISTRATOR])
def page(
    parts: Given,
    after: Annotated[str | None, Query(description="Id of the account after which the page begins.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 100,
) -> AccountList:
    """All accounts, by name, page by page."""
    found = parts.accounts.all()
    if after is not None:
        ids = [account.id for account in found]
        if after not in ids:
            raise InvalidRequest(
                f"after is {after[:60]!r}; must be the id of an account of this list", field="after"
            )
        found = found[ids.index(after) + 1 :]
    usage, keys, now = parts.jobs.usage(), parts.accounts.keys(), time.time()
    data = [
        account_info(account, usage[account.id], [key for key in keys if key.account_id == account.id], now)
        for account in found[:limit]
        if account.id in usage  # it may have been deleted in between
    ]
    return AccountList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > limit,
    )


@router.post("", openapi_extra=described(asked.NewAccount))
async def create(request: Request, parts: Given, identity: Administrator) -> AccountInfo:
    """A new account. It has no key yet."""
    wish = (await read_body(request, MAX_BODY_BYTES)).parse(asked.NewAccount)
    limits = {name: getattr(wish, name) for name in LIMITS}

    def work() -> AccountInfo:
        return _info(parts, parts.accounts.create(wish.name, **limits, by=actor_of(identity)))

    return await run_in_threadpool(work)


@router.get("/{account_id}", dependencies=[ADMINISTRATOR])
def retrieve(account_id: str, parts: Given) -> AccountInfo:
    """An account, with what it has and may."""
    return _info(parts, parts.accounts.get(account_id))


@router.post("/{account_id}", openapi_extra=described(asked.ChangedAccount))
async def change(account_id: str, request: Request, parts: Given, identity: Administrator) -> AccountInfo:
    """Change what is given: limits (null is the server's own), and the role of all its keys. What runs, waits or is
    stored already stays."""
    wish = (await read_body(request, MAX_BODY_BYTES)).parse(asked.ChangedAccount)

    def work() -> AccountInfo:
        account = parts.accounts.get(account_id)
        if wish.role is not None:
            _check_not_self(identity, account, "give itself another role")
            parts.accounts.set_role(account.id, wish.role, by=actor_of(identity))
        if wish.model_fields_set & set(LIMITS):
            limits = {
                name: getattr(wish if name in wish.model_fields_set else account, name) for name in LIMITS
            }
            account = parts.accounts.set_limits(account.id, **limits, by=actor_of(identity))
        return _info(parts, account)

    return await run_in_threadpool(work)


@router.delete("/{account_id}")
def delete(account_id: str, parts: Given, identity: Administrator) -> DeletedAccount:
    """Delete an account with all that it has. Its keys open nothing from the next request on, its videos and files go
    within seconds, and its name can be given again."""
    account = parts.accounts.get(account_id)
    _check_not_self(identity, account, "delete itself")
    parts.accounts.delete(account.id, by=actor_of(identity))
    return DeletedAccount(id=account.id)


@router.post("/{account_id}/pause")
def pause(account_id: str, parts: Given, identity: Administrator) -> AccountInfo:
    """Stop an account's videos, running ones included; nothing is lost."""
    account = parts.accounts.get(account_id)
    parts.jobs.pause(PauseScope.owner(account.id), by=actor_of(identity))
    return retrieve(account.id, parts)


@router.post("/{account_id}/resume")
def resume(account_id: str, parts: Given, identity: Administrator) -> AccountInfo:
    """Let an account's videos go on."""
    account = parts.accounts.get(account_id)
    parts.jobs.resume(PauseScope.owner(account.id), by=actor_of(identity))
    return retrieve(account.id, parts)


@router.get("/{account_id}/keys", dependencies=[ADMINISTRATOR])
def keys(account_id: str, parts: Given) -> KeyList:
    """An account's keys, the newest first, with those that no longer open anything."""
    return key_list(parts.accounts.keys(parts.accounts.get(account_id).id), time.time())


@router.post("/{account_id}/keys", openapi_extra=described(asked.NewKeyOf))
async def create_key(
    account_id: str, request: Request, parts: Given, identity: Administrator
) -> KeyWithSecret:
    """Make a key for an account. The answer has its secret, this once."""
    wish = (await read_body(request, MAX_BODY_BYTES)).parse(asked.NewKeyOf)

    def work() -> KeyWithSecret:
        made = parts.accounts.create_key(
            account_id,
            wish.name,
            role=wish.role,
            scopes=wish.scopes,
            expires_at=wish.expires_at,
            requests_per_minute=wish.requests_per_minute,
            by=actor_of(identity),
        )
        return key_with_secret(made)

    return await run_in_threadpool(work)


@router.delete("/{account_id}/keys/{key_id}")
def revoke_key(account_id: str, key_id: str, parts: Given, identity: Administrator) -> KeyInfo:
    """Revoke an account's key, from the next request on; videos that came by it go on."""
    key = own_key(parts, account_id, key_id)
    return key_info(parts.accounts.revoke(key.id, by=actor_of(identity)), time.time())


def _check_not_self(identity: Identity, account: Account, what: str) -> None:
    """Nobody locks themselves out by a click; the command line can do all of it."""
    if identity.account.id == account.id:
        raise Conflict(f"an administrator cannot {what}; another one, or hibari admin, can")


def _info(parts: Parts, account: Account) -> AccountInfo:
    usage = parts.jobs.usage(account.id)
    if account.id not in usage:  # deleted in between
        parts.accounts.get(account.id)
    return account_info(account, usage[account.id], parts.accounts.keys(account.id), time.time())
