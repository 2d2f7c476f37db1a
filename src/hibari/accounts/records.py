"""The frozen nouns: account, key, and who a request comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

from hibari.db.records import record

LOCAL = "acct_local"  # whose jobs are those of a server that has one user and asks nobody for a key

LINKS_SECRET = "links"  # noqa: S105 - the name of the secret with which links to files are signed

SCOPES = ("videos:read", "videos:write", "review", "admin")


class Role(StrEnum):
    """What a key's holder is to the server."""

    ADMIN = "admin"
    REVIEWER = "reviewer"
    MEMBER = "member"


# The most that a key of a role can be given, and what it has if nothing is said.
ROLE_SCOPES: Mapping[Role, tuple[str, ...]] = {
    Role.MEMBER: ("videos:read", "videos:write"),
    Role.REVIEWER: ("videos:read", "videos:write", "review"),
    Role.ADMIN: SCOPES,
}


@dataclass(frozen=True, slots=True)
class Account:
    """An owner of jobs. Limits are None where the server's default holds; moments are Unix seconds.

    Attributes:
        max_running, max_queued: jobs at a time.
        max_stored_bytes: of all its stored files together.
        paused_at: since when its jobs are left lying.
    """

    id: str
    name: str
    created_at: float
    paused_at: float | None
    max_running: int | None
    max_queued: int | None
    max_stored_bytes: int | None

    @classmethod
    def from_row(cls, row: Row[Any]) -> Account:
        """A row of `schema.accounts`."""
        return record(cls, row)


@dataclass(frozen=True, slots=True)
class Key:
    """An API key, without its secret. Moments are Unix seconds.

    Attributes:
        prefix: the first characters of the secret, by which people recognise it.
        used_at: when it was last used, to the minute.
        requests_per_minute: None where the server's default holds.
    """

    id: str
    account_id: str
    name: str
    prefix: str
    role: Role
    scopes: frozenset[str]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    paused_at: float | None
    used_at: float | None
    requests_per_minute: int | None

    @classmethod
    def from_row(cls, row: Row[Any]) -> Key:
        """A row of `schema.keys`."""
        return record(cls, row, role=Role(row.role), scopes=frozenset(row.scopes))


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that has just been made, with its secret: it is shown this once and stored nowhere."""

    key: Key
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a request comes from. `key` is None for the local account in single-user mode, which may do everything."""

    account: Account
    key: Key | None

    def may(self, scope: str) -> bool:
        """Whether this identity may do what `scope` names."""
        return self.key is None or scope in self.key.scopes
