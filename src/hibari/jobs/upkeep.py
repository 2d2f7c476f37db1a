"""The queue as its sweeper sees it: what is overdue, what can go, and how things stand."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, delete, func, or_, select, update

from hibari.db import Database
from hibari.db.schema import accounts, jobs, keys, paces
from hibari.jobs.moves import cancel, move, not_paused
from hibari.jobs.records import Job
from hibari.jobs.states import FINAL, Happening, State
from hibari.jobs.terms import Clock, Policy

PREVIEWS_MEASURED = 100
SWEEP_AT_ONCE = 500  # jobs a transaction; what is left over is taken by the next sweep


@dataclass(frozen=True, slots=True)
class _Failure:
    code: str
    message: str

    @property
    def data(self) -> dict[str, Any]:
        """For the event."""
        return {"code": self.code, "message": self.message}

    @property
    def values(self) -> dict[str, Any]:
        """For the row."""
        return {"error_code": self.code, "error_message": self.message}


TOO_LATE = _Failure("deadline_exceeded", "the video was not finished by its deadline")
DIED = _Failure("worker_died", "the worker that made this video died, and the job was taken up again")


@dataclass(frozen=True, slots=True)
class QueueStats:
    """How things stand.

    Attributes:
        counts: jobs in each state; deleted ones are not counted.
        oldest_queued_s: how long the oldest queued job has waited; 0 if none is queued.
    """

    counts: dict[State, int]
    oldest_queued_s: float


@dataclass(frozen=True, slots=True)
class Measures:
    """How the work goes.

    Attributes:
        step_s: seconds a step of each pace, lately, with all that comes after the steps.
        first_preview_s: how long those who asked waited until they first saw something of their video: of the last
            PREVIEWS_MEASURED, the shortest first.
        failures: jobs on record that failed, by code.
    """

    step_s: dict[str, float]
    first_preview_s: tuple[float, ...]
    failures: dict[str, int]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Deleted jobs whose files a sweeper has still to remove.

    Attributes:
        jobs, size_bytes: how many, and what their files take.
        oldest_s: how long the first of them has waited; 0 if there is none. Sweepers come every second, so that a
            minute means that no worker runs.
    """

    jobs: int
    size_bytes: int
    oldest_s: float


# Put together once: see `moves`.
_overdue = or_(
    and_(jobs.c.state == State.RUNNING.value, jobs.c.lease_until <= bindparam("now")),
    and_(jobs.c.state.not_in([state.value for state in FINAL]), jobs.c.deadline_at <= bindparam("now")),
)
_IS_OVERDUE = select(jobs.c.number).where(_overdue).limit(1)
_OVERDUE = (
    select(jobs)
    .where(_overdue)
    .order_by(jobs.c.number)
    .limit(SWEEP_AT_ONCE)
    .with_for_update(skip_locked=True)
)


class Upkeep:
    """What somebody must do from time to time; each call may come from several processes at once."""

    def __init__(self, database: Database, clock: Clock = time.time, policy: Policy | None = None) -> None:
        self._database = database
        self._clock = clock
        self._policy = policy or Policy()

    def sweep(self) -> int:
        """End what is overdue: leases that ran out, deadlines that passed, finished jobs whose time to be kept is over,
        and all jobs of accounts that were deleted. Workers do the first two as well, before each claim. To be called
        every second or so.

        Returns:
            How many jobs it changed.
        """
        now = self._clock()
        ended = end_overdue(self._database, now, self._policy) + self._end_ownerless(now)
        expired = select(jobs.c.number).where(jobs.c.expires_at <= now, jobs.c.deleted_at.is_(None))
        with self._database.write() as connection:
            gone = connection.execute(
                update(jobs).where(jobs.c.number.in_(expired.limit(SWEEP_AT_ONCE))).values(deleted_at=now)
            ).rowcount
        return ended + gone

    def _end_ownerless(self, now: float) -> int:
        with self._database.read() as connection:
            gone = connection.execute(select(accounts.c.id).where(accounts.c.deleted_at.is_not(None)))
            owners = list(gone.scalars())
            query = select(jobs).where(jobs.c.owner.in_(owners), jobs.c.deleted_at.is_(None))
            if not owners or connection.execute(query.limit(1)).first() is None:
                return 0
        query = query.order_by(jobs.c.number).limit(SWEEP_AT_ONCE)
        with self._database.write() as connection:
            rows = connection.execute(query.with_for_update(skip_locked=True)).all()
            for row in rows:
                if State(row.state) not in FINAL:
                    cancel(connection, row, now)
                connection.execute(update(jobs).where(jobs.c.number == row.number).values(deleted_at=now))
        return len(rows)

    def to_purge(self, limit: int = 100) -> list[str]:
        """Ids of deleted and expired jobs that no worker can still be busy with. Remove their files from the storage,
        then `purge` them: in this order nothing is left behind if it stops in between.
        """
        now = self._clock()
        with self._database.read() as connection:
            return list(
                connection.execute(
                    select(jobs.c.id)
                    .where(
                        jobs.c.deleted_at.is_not(None),
                        # A worker that has not heard of it writes on until its lease is out.
                        or_(jobs.c.lease_until.is_(None), jobs.c.lease_until <= now),
                    )
                    .order_by(jobs.c.number)
                    .limit(limit)
                ).scalars()
            )

    def waiting(self) -> Waiting:
        """What was deleted and is still there."""
        with self._database.read() as connection:
            count, size_bytes, oldest = connection.execute(
                select(func.count(), func.sum(jobs.c.stored_bytes), func.min(jobs.c.deleted_at)).where(
                    jobs.c.deleted_at.is_not(None)
                )
            ).one()
        return Waiting(
            count, int(size_bytes or 0), 0.0 if oldest is None else max(0.0, self._clock() - oldest)
        )

    def purge(self, job_id: str) -> None:
        """Remove the last of a deleted job, its history included. One that is not deleted, or gone, is left alone."""
        with self._database.write() as connection:
            connection.execute(delete(jobs).where(jobs.c.id == job_id, jobs.c.deleted_at.is_not(None)))

    def to_tidy(self, limit: int = 100) -> list[Job]:
        """Jobs that are over, in whose files there may be some that were only needed on the way: their worker removes
        them, unless it died, or the job was ended by somebody else. Remove those, then say `tidied`.
        """
        with self._database.read() as connection:
            rows = connection.execute(
                select(jobs)
                .where(jobs.c.tidy_at <= self._clock(), jobs.c.deleted_at.is_(None))
                .order_by(jobs.c.tidy_at)
                .limit(limit)
            ).all()
        return [Job.from_row(row) for row in rows]

    def tidied(self, job_id: str) -> None:
        """A job's files are those of its end and no others."""
        with self._database.write(durable=False) as connection:  # it can be said again
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(tidy_at=None))

    def stats(self) -> QueueStats:
        """Numbers for the operator."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(jobs.c.state, func.count(), func.min(jobs.c.created_at))
                .where(jobs.c.deleted_at.is_(None))
                .group_by(jobs.c.state)
            ).all()
        counts = {State(state): count for state, count, _ in rows}
        oldest = next((first for state, _, first in rows if state == State.QUEUED.value), None)
        waited = 0.0 if oldest is None else max(0.0, self._clock() - oldest)
        return QueueStats({state: counts.get(state, 0) for state in State}, waited)

    def demand(self, models: Collection[str] | None = None) -> int:
        """How many jobs workers could be busy with now: those that run and those that wait, but none that is paused,
        and no more of an owner than may run at a time.

        Args:
            models: only jobs of these; None is of any.
        """
        waiting = and_(jobs.c.state == State.QUEUED.value, *not_paused())
        query = (
            select(func.count().label("jobs"), accounts.c.max_running)
            .select_from(jobs)
            .join(accounts, accounts.c.id == jobs.c.owner)
            .outerjoin(keys, keys.c.id == jobs.c.key_id)
            .where(or_(jobs.c.state == State.RUNNING.value, waiting))
            .group_by(jobs.c.owner, accounts.c.max_running)
        )
        if models is not None:
            query = query.where(jobs.c.model.in_(models))
        with self._database.read() as connection:
            owners = connection.execute(query).all()
        total = 0
        for count, own in owners:
            most = self._policy.max_running if own is None else own
            total += count if most is None else min(count, most)
        return total

    def models(self) -> dict[str, tuple[dict[State, int], int]]:
        """By model: jobs in each state that there are, and how many workers are at work with it."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(jobs.c.model, jobs.c.state, func.count(), func.count(jobs.c.worker.distinct()))
                .where(jobs.c.deleted_at.is_(None))
                .group_by(jobs.c.model, jobs.c.state)
            ).all()
        found: dict[str, tuple[dict[State, int], int]] = {}
        for model, state, count, workers in rows:
            counts, at_work = found.get(model, ({}, 0))
            counts[State(state)] = count
            found[model] = counts, workers if state == State.RUNNING.value else at_work
        return found

    def measures(self) -> Measures:
        """More numbers for the operator."""
        with self._database.read() as connection:
            step_s = connection.execute(select(paces.c.name, paces.c.step_s).order_by(paces.c.name)).all()
            waited = connection.execute(
                select(jobs.c.first_preview_at - jobs.c.created_at)
                .where(jobs.c.first_preview_at.is_not(None))
                .order_by(jobs.c.first_preview_at.desc())
                .limit(PREVIEWS_MEASURED)
            ).scalars()
            first_preview_s = tuple(sorted(waited))
            failures = connection.execute(
                select(jobs.c.error_code, func.count().label("jobs"))
                .where(jobs.c.state == State.FAILED.value, jobs.c.deleted_at.is_(None))
                .group_by(jobs.c.error_code)
                .order_by(jobs.c.error_code)
            ).all()
        return Measures(
            {row.name: row.step_s for row in step_s},
            first_preview_s,
            {row.error_code: row.jobs for row in failures},
        )


def end_overdue(database: Database, now: float, policy: Policy) -> int:
    """Take jobs from workers that are no longer heard of, and end those whose deadline has passed; how many."""
    with database.read() as connection:  # nearly always there is nothing, and then nobody is kept waiting
        if connection.execute(_IS_OVERDUE, {"now": now}).first() is None:
            return 0
    with database.write() as connection:
        rows = connection.execute(_OVERDUE, {"now": now}).all()
        for row in rows:
            _end(connection, row, now, policy)
    return len(rows)


def _end(connection: Connection, row: Row[Any], now: float, policy: Policy) -> None:
    if row.cancel_requested_at is not None:
        cancel(connection, row, now)
    elif row.deadline_at is not None and row.deadline_at <= now:
        move(connection, row, Happening.FAILED, now, TOO_LATE.data, **TOO_LATE.values)
    else:
        crashes = row.crashes + 1
        if crashes < policy.max_crashes:
            move(connection, row, Happening.RETRIED, now, DIED.data, crashes=crashes)
        else:
            failure = _Failure(
                DIED.code,
                f"{crashes} workers died while they made this video, at step {row.step}; it is not tried again",
            )
            move(connection, row, Happening.FAILED, now, failure.data, crashes=crashes, **failure.values)
