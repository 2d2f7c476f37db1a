"""What owners have, and how much they may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Label, case, func, select

from hibari.db.schema import accounts, jobs, stored_files
from hibari.jobs.states import State
from hibari.jobs.terms import Policy


@dataclass(frozen=True, slots=True)
class Usage:
    """What an owner has. Limits are those that hold, the server's own included; None is no limit.

    Attributes:
        running, queued, completed: jobs; deleted ones and samples are not counted.
        stored_bytes: what their files take, and those of unfinished jobs are expected to.
        made_s: seconds of all videos ever made, deleted ones included, samples not.
    """

    running: int
    queued: int
    completed: int
    stored_bytes: int
    made_s: float
    max_running: int | None
    max_queued: int | None
    max_stored_bytes: int | None


def usage(connection: Connection, policy: Policy, owner: str | None = None) -> dict[str, Usage]:
    """By the owner's id: of one, or of all."""
    of_jobs = (
        select(
            jobs.c.owner,
            *(
                func.count(case((jobs.c.state == state.value, 1))).label(state.value)
                for state in (State.RUNNING, State.QUEUED, State.COMPLETED)
            ),
            func.sum(jobs.c.stored_bytes).label("bytes"),
        )
        .where(jobs.c.deleted_at.is_(None), ~jobs.c.sample)
        .group_by(jobs.c.owner)
    )
    of_files = select(stored_files.c.account_id, func.sum(stored_files.c.size_bytes).label("bytes")).group_by(
        stored_files.c.account_id
    )
    if owner is not None:
        of_jobs = of_jobs.where(jobs.c.owner == owner)
        of_files = of_files.where(stored_files.c.account_id == owner)
    in_jobs, in_files = of_jobs.subquery(), of_files.subquery()

    def own_or(name: str, default: int | None) -> Label[Any]:
        return func.coalesce(accounts.c[name], default).label(name)

    query = (
        select(
            accounts.c.id,
            *(func.coalesce(in_jobs.c[name], 0).label(name) for name in ("running", "queued", "completed")),
            (func.coalesce(in_jobs.c.bytes, 0) + func.coalesce(in_files.c.bytes, 0)).label("stored_bytes"),
            func.coalesce(accounts.c.made_s, 0.0).label("made_s"),
            own_or("max_running", policy.max_running),
            own_or("max_queued", policy.max_queued),
            own_or("max_stored_bytes", policy.max_stored_bytes),
        )
        .outerjoin(in_jobs, in_jobs.c.owner == accounts.c.id)
        .outerjoin(in_files, in_files.c.account_id == accounts.c.id)
        .where(accounts.c.deleted_at.is_(None))
    )
    if owner is not None:
        query = query.where(accounts.c.id == owner)
    return {
        row.id: Usage(
            running=row.running,
            queued=row.queued,
            completed=row.completed,
            stored_bytes=int(row.stored_bytes),
            made_s=row.made_s,
            max_running=row.max_running,
            max_queued=row.max_queued,
            max_stored_bytes=row.max_stored_bytes,
        )
        for row in connection.execute(query)
    }
