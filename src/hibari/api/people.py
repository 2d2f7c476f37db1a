"""The shapes of accounts and keys, and how they are made of what the rooms below say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, Field

from hibari.accounts import SCOPES, Account, Key, NewKey, Role
from hibari.jobs import Usage

_RANKS = tuple(Role)  # the first may most


class AccountLimits(BaseModel):
    """What an account may have; null is no limit, or in `own_limits` the server's own."""

    max_running: int | None
    max_queued: int | None
    max_stored_bytes: int | None


class AccountUsage(BaseModel):
    """What an account has. `made_seconds` counts all videos ever made, also those that were deleted."""

    running: int
    queued: int
    completed: int
    stored_bytes: int
    made_seconds: float


class AccountInfo(BaseModel):
    """An account, with what it has and may. `role` is the highest of its keys, null where none opens anything."""

    id: str
    object: Literal["account"] = "account"
    name: str
    role: Role | None
    created_at: int
    paused_at: int | None
    limits: AccountLimits
    own_limits: AccountLimits
    usage: AccountUsage


class AccountList(BaseModel):
    """A page of accounts, by name."""

    object: Literal["list"] = "list"
    data: list[AccountInfo]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedAccount(BaseModel):
    """An account that is gone."""

    id: str
    deleted: Literal[True] = True
    object: Literal["account.deleted"] = "account.deleted"


class KeyInfo(BaseModel):
    """An API key without its secret. `last_used_at` is exact to the minute."""

    id: str
    object: Literal["api_key"] = "api_key"
    name: str
    prefix: str
    role: Role
    scopes: list[str]
    status: Literal["active", "paused", "expired", "revoked"]
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    requests_per_minute: int | None


class KeyWithSecret(KeyInfo):
    """A key, with the secret that is shown this once."""

    secret: str = Field(description="Shown this once, and stored nowhere.")


class KeyList(BaseModel):
    """All keys of an account, the newest first."""

    object: Literal["list"] = "list"
    data: list[KeyInfo]


def account_info(account: Account, usage: Usage, keys: Iterable[Key], now: float) -> AccountInfo:
    """An account as the wire shows it; `keys` are its own."""
    roles = [key.role for key in keys if _status(key, now) in ("active", "paused")]
    return AccountInfo(
        id=account.id,
        name=account.name,
        role=min(roles, key=_RANKS.index, default=None),
        created_at=int(account.created_at),
        paused_at=None if account.paused_at is None else int(account.paused_at),
        limits=AccountLimits.model_validate(usage, from_attributes=True),
        own_limits=AccountLimits.model_validate(account, from_attributes=True),
        usage=AccountUsage(
            running=usage.running,
            queued=usage.queued,
            completed=usage.completed,
            stored_bytes=usage.stored_bytes,
            made_seconds=round(usage.made_s, 3),
        ),
    )


def key_info(key: Key, now: float) -> KeyInfo:
    """A key as the wire shows it."""
    return KeyInfo(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        role=key.role,
        scopes=[scope for scope in SCOPES if scope in key.scopes],
        status=_status(key, now),
        created_at=int(key.created_at),
        expires_at=None if key.expires_at is None else int(key.expires_at),
        last_used_at=None if key.used_at is None else int(key.used_at),
        requests_per_minute=key.requests_per_minute,
    )


def key_with_secret(made: NewKey) -> KeyWithSecret:
    """A new key, for the one answer that has its secret."""
    return KeyWithSecret(**key_info(made.key, made.key.created_at).model_dump(), secret=made.secret)


def key_list(keys: Iterable[Key], now: float) -> KeyList:
    """Keys, the newest first."""
    return KeyList(data=[key_info(key, now) for key in sorted(keys, key=lambda key: -key.created_at)])


def _status(key: Key, now: float) -> Literal["active", "paused", "expired", "revoked"]:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "expired"
    return "active" if key.paused_at is None else "paused"
