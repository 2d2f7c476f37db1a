"""The log in its table: add a line, turn its pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select

from hibari.audit.records import Action, Actor, Target
from hibari.contracts import InvalidRequest
from hibari.db import Database
from hibari.db.schema import audit_log

MAX_PAGE = 100
_log = audit_log.c


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the log.

    Attributes:
        number: counts up, with gaps.
        at: Unix seconds.
        details: what was changed to what, as JSON can say it.
    """

    number: int
    at: float
    actor: Actor
    action: Action
    target: Target
    details: Mapping[str, Any]

    @classmethod
    def from_row(cls, row: Row[Any]) -> Entry:
        """A row of `schema.audit_log`."""
        return cls(
            number=row.number,
            at=row.at,
            actor=Actor(row.via, row.actor_name, row.actor_id, row.key_prefix),
            action=Action(row.action),
            target=Target(row.target_kind, row.target_id, row.target_name, row.account_id),
            details=row.details,
        )


def note(
    connection: Connection, by: Actor | None, now: float, action: Action, target: Target, **details: Any
) -> None:
    """Add a line, once this transaction commits.

    Args:
        connection: of the transaction in which it is done.
        by: who does it; None for what the service does by itself, of which nothing is written.
        now: when, Unix seconds.
        action: what is done.
        target: to what.
        details: what was changed to what; no prompt, no secret.
    """
    if by is None:
        return
    connection.execute(
        insert(audit_log).values(
            at=now,
            via=by.via,
            actor_id=by.account_id,
            actor_name=by.name,
            key_prefix=by.key_prefix,
            action=action.value,
            target_kind=target.kind,
            target_id=target.id,
            target_name=target.name,
            account_id=target.account_id,
            details=details,
        )
    )


class AuditLog:
    """For those who read it. Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self,
        *,
        after: int | None = None,
        limit: int = 50,
        action: str | None = None,
        account: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> tuple[list[Entry], bool]:
        """A part of the log, the newest first, and whether it goes on.

        Args:
            after: number of the entry after which the page begins.
            limit: 1 to MAX_PAGE.
            action: one of `Action`, or what it begins with before its dot, such as `key`.
            account: id of the account that acted, or to which it was done.
            since, until: Unix seconds; from the first one on, and before the second.

        Raises:
            InvalidRequest: the limit is out of range, or there is no such action.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidRequest(f"limit is {limit}; must be 1 to {MAX_PAGE}", field="limit")
        query = select(audit_log).order_by(_log.number.desc()).limit(limit + 1)
        if after is not None:
            query = query.where(_log.number < after)
        if action is not None:
            query = query.where(_log.action.in_(_actions(action)))
        if account is not None:
            query = query.where(or_(_log.actor_id == account, _log.account_id == account))
        if since is not None:
            query = query.where(_log.at >= since)
        if until is not None:
            query = query.where(_log.at < until)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [Entry.from_row(row) for row in rows[:limit]], len(rows) > limit


def _actions(wanted: str) -> list[str]:
    found = [one.value for one in Action if wanted in (one.value, one.value.split(".")[0])]
    if not found:
        raise InvalidRequest(
            f"action is {wanted[:60]!r}; possible are {', '.join(Action)}, or what these begin with",
            field="action",
        )
    return found
