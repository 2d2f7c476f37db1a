"""What all three views do to a row: find it, lock it, move it. Only here is a state written."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, exists, insert, select, update

from hibari.contracts import NotFound
from hibari.db.schema import accounts, events, jobs, keys, switches
from hibari.jobs.records import Job
from hibari.jobs.states import FINAL, TRANSITIONS, Happening, State
from hibari.webhooks import announce

TIDY_AFTER_S = 5.0  # a worker that is alive has tidied up by itself until then
PAUSED = "paused"  # the switch by which everything is paused

_ID = re.compile(r"video_[0-9a-f]{32}")

# Statements that every request or every step comes by are put together once: that takes longer than to execute them.
_JOB = select(jobs).where(jobs.c.id == bindparam("id"), jobs.c.deleted_at.is_(None))
_JOB_OF_OWNER = _JOB.where(jobs.c.owner == bindparam("owner"))
_WRITE = update(jobs).where(jobs.c.number == bindparam("this")).returning(jobs)
_ADD_EVENT = insert(events)
_MOVE_PROGRESS = update(events).where(
    events.c.job == bindparam("this"), events.c.kind == Happening.PROGRESS.value
)


def locked(connection: Connection, job_id: str, *, owner: str | None = None) -> Row[Any]:
    """The row of a job that is not deleted, kept from everybody else until the transaction ends.

    Raises:
        NotFound: there is none, or it is another owner's, which is the same to the one who asks.
    """
    return found(connection, job_id, owner=owner, lock=True)


def found(connection: Connection, job_id: str, *, owner: str | None = None, lock: bool = False) -> Row[Any]:
    """The row of a job that is not deleted.

    Raises:
        NotFound: there is none, or it is another owner's, which is the same to the one who asks.
    """
    row = None
    if is_id(job_id):
        query = _JOB if owner is None else _JOB_OF_OWNER
        given = {"id": job_id, "owner": owner}
        row = connection.execute(query.with_for_update() if lock else query, given).one_or_none()
    if row is None:
        raise NotFound(f"there is no video {job_id[:60]!r}")
    return row


def not_paused() -> list[ColumnElement[bool]]:
    """Conditions on a job with its account and its key, both joined: none of them is paused, nor is everything."""
    return [
        accounts.c.paused_at.is_(None),
        keys.c.paused_at.is_(None),
        ~exists().where(switches.c.name == PAUSED),
    ]


def is_id(text: str) -> bool:
    """Whether this could be a job's id. PostgreSQL must not be asked for everything: it refuses some characters."""
    return _ID.fullmatch(text) is not None


def move(
    connection: Connection,
    row: Row[Any],
    happening: Happening,
    now: float,
    data: dict[str, Any] | None = None,
    **values: Any,
) -> Job:
    """Carry a locked row from its state to the next, with the event, and further values of the row. Whoever has a
    webhook for it will be told of the end."""
    before, after = TRANSITIONS[happening]
    assert State(row.state) in before, f"{happening} cannot come from {row.state}"
    if after in FINAL:
        values["finished_at"] = now
        values["expires_at"] = None if row.keep_s is None else now + row.keep_s
        values["tidy_at"] = max(now, row.lease_until or now) + TIDY_AFTER_S
        if after is not State.COMPLETED:
            values["stored_bytes"] = 0
        event_type = "video.completed" if after is State.COMPLETED else "video.failed"
        announce(connection, row.owner, event_type, row.id, now)
    return _write(connection, row, happening, after, now, data, values)


def cancel(connection: Connection, row: Row[Any], now: float, **values: Any) -> Job:
    """Carry a locked, unfinished row to cancelled."""
    return move(
        connection,
        row,
        Happening.CANCELLED,
        now,
        error_code="cancelled",
        error_message="the video was cancelled",
        **values,
    )


def record_progress(connection: Connection, row: Row[Any], now: float, **values: Any) -> Job:
    """Write where a locked, running row stands; the event takes the place of the progress before it."""
    data = {name: values.get(name, getattr(row, name)) for name in ("step", "steps", "preview")}
    return _write(connection, row, Happening.PROGRESS, State(row.state), now, data, values)


def _write(
    connection: Connection,
    row: Row[Any],
    happening: Happening,
    state: State,
    now: float,
    data: dict[str, Any] | None,
    values: dict[str, Any],
) -> Job:
    number = row.last_event + 1
    written = {"this": row.number, "state": state.value, "last_event": number, **values}
    job = Job.from_row(connection.execute(_WRITE, written).one())
    add_event(connection, row.number, number, happening, state, now, data or {})
    return job


def add_event(
    connection: Connection,
    job_number: int,
    number: int,
    happening: Happening,
    state: State,
    now: float,
    data: dict[str, Any],
) -> None:
    """Append to a job's history. Of progress only the latest is kept: it takes the place of that before it."""
    written = {"number": number, "at": now, "state": state.value, "data": data}
    moved = 0
    if happening is Happening.PROGRESS:
        moved = connection.execute(_MOVE_PROGRESS, {"this": job_number, **written}).rowcount
    if not moved:
        connection.execute(_ADD_EVENT, {"job": job_number, "kind": happening.value, **written})
