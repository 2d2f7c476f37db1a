"""The queue as a worker sees it: claim, heartbeat, and one of the ways in which an attempt ends."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import BindParameter, Connection, Row, Select, bindparam, func, or_, select, update

from hibari.contracts import ClaimLost, InvalidRequest
from hibari.db import Database
from hibari.db.schema import accounts, jobs, keys
from hibari.jobs.estimates import learn_pace
from hibari.jobs.moves import cancel, move, not_paused, record_progress
from hibari.jobs.records import Claim, Job, Order
from hibari.jobs.states import Happening, State
from hibari.jobs.stored import check_room
from hibari.jobs.terms import Clock, Policy
from hibari.jobs.upkeep import TOO_LATE, end_overdue

MAX_MESSAGE_CHARS = 2000

# Put together once: see `moves`.
_LOCK_ACCOUNT = select(accounts).where(accounts.c.id == bindparam("this")).with_for_update()
_UPDATE_ACCOUNT = update(accounts).where(accounts.c.id == bindparam("this"))
_COUNT_MADE = _UPDATE_ACCOUNT.values(made_s=func.coalesce(accounts.c.made_s, 0.0) + bindparam("more_s"))
_HELD_BY = select(func.count(), func.coalesce(func.sum(jobs.c.crashes), 0)).where(
    jobs.c.state == State.RUNNING.value, jobs.c.worker == bindparam("worker")
)
_HELD = (
    select(jobs)
    .where(
        jobs.c.number == bindparam("number"),
        jobs.c.state == State.RUNNING.value,
        jobs.c.attempt == bindparam("attempt"),
        jobs.c.worker == bindparam("worker"),
    )
    .with_for_update()
)
_PROLONG = update(jobs).where(jobs.c.number == bindparam("this"))
_FREE = (
    select(accounts.c.id)
    .outerjoin(keys, keys.c.id == bindparam("key", type_=keys.c.id.type))
    .where(accounts.c.id == bindparam("owner"), *not_paused())
)


def _waiting(max_running: int | None) -> Select[Any]:
    """The job that comes next at the moment `now`; `max_running` is that of owners of whom nothing else is said."""
    running = (
        select(jobs.c.owner, func.count().label("count"))
        .where(jobs.c.state == State.RUNNING.value, ~jobs.c.sample)
        .group_by(jobs.c.owner)
        .subquery()
    )
    count = func.coalesce(running.c.count, 0)
    most = func.coalesce(accounts.c.max_running, max_running)
    now: BindParameter[float] = bindparam("now")
    return (
        select(jobs)
        .join(accounts, accounts.c.id == jobs.c.owner)
        .outerjoin(keys, keys.c.id == jobs.c.key_id)
        .outerjoin(running, running.c.owner == jobs.c.owner)
        .where(
            jobs.c.state == State.QUEUED.value,
            jobs.c.not_before <= now,
            or_(jobs.c.deadline_at.is_(None), jobs.c.deadline_at > now),
            *not_paused(),
            accounts.c.deleted_at.is_(None),
            or_(most.is_(None), count < most),
        )
        .order_by(jobs.c.priority.desc(), count, func.coalesce(accounts.c.served_at, 0.0), jobs.c.number)
        .limit(1)
        .with_for_update(of=jobs, skip_locked=True)
    )


def worker_name() -> str:
    """A name for this process that no other has or will have: host, process id and something random."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Claims:
    """Take jobs, report on them, and give them back."""

    def __init__(
        self, database: Database, worker: str, clock: Clock = time.time, policy: Policy | None = None
    ) -> None:
        """`worker` is this process's own name, see `worker_name`: jobs that it holds are counted by it."""
        self._database = database
        self._worker = worker
        self._clock = clock
        self._policy = policy or Policy()
        self._waiting = _waiting(self._policy.max_running)

    def claim(self, models: Collection[str] | None = None) -> Claim | None:
        """Take the next job, or None if there is none for this worker now.

        Of the jobs whose owner is neither paused nor at their limit: the highest priority, then the owner with the
        fewest running, then the one who has waited longest since one of theirs began, then the oldest job. A job under
        which a worker has died comes alone: it is not given to a worker that holds others, nor others to a worker that
        holds it, so that the next death says who was to blame.

        Args:
            models: only jobs of these; None is of any.
        """
        now = self._clock()
        end_overdue(self._database, now, self._policy)
        full: set[str] = set()
        while True:
            # Who is at their limit is known for sure only once their row is locked; one such lock a transaction, so
            # that nobody waits in a circle.
            with self._database.write() as connection:
                row = self._candidate(connection, now, models, full)
                if row is None or not self._may_take(connection, row):
                    return None
                account = connection.execute(_LOCK_ACCOUNT, {"this": row.owner}).one()
                if self._has_room(connection, account):
                    connection.execute(_UPDATE_ACCOUNT, {"this": row.owner, "served_at": now})
                    job = move(
                        connection,
                        row,
                        Happening.CLAIMED,
                        now,
                        {"attempt": row.attempt + 1},
                        attempt=row.attempt + 1,
                        worker=self._worker,
                        lease_until=now + self._policy.lease_s,
                        began_at=None,
                        began_step=None,
                    )
                    return Claim(job, job.attempt)
                full.add(row.owner)

    def _candidate(
        self, connection: Connection, now: float, models: Collection[str] | None, full: set[str]
    ) -> Row[Any] | None:
        query = self._waiting
        if models is not None:
            query = query.where(jobs.c.model.in_(models))
        if full:
            query = query.where(jobs.c.owner.not_in(full))
        return connection.execute(query, {"now": now}).one_or_none()

    def _may_take(self, connection: Connection, row: Row[Any]) -> bool:
        held, suspects = connection.execute(_HELD_BY, {"worker": self._worker}).one()
        return held == 0 or (suspects == 0 and row.crashes == 0)

    def _has_room(self, connection: Connection, account: Row[Any]) -> bool:
        most = self._policy.max_running if account.max_running is None else account.max_running
        if most is None:
            return True
        running = connection.execute(
            select(func.count())
            .select_from(jobs)
            .where(jobs.c.state == State.RUNNING.value, jobs.c.owner == account.id, ~jobs.c.sample)
        ).scalar_one()
        return running < most

    def heartbeat(
        self,
        claim: Claim,
        *,
        step: int | None = None,
        steps: int | None = None,
        preview: str | None = None,
        checkpoint: str | None = None,
    ) -> Order:
        """Say that the job is alive and where it stands, and hear what is wanted. To be called at each step, and from a
        second thread at least every `lease_s / 3` while a step or a model takes long.

        Args:
            step: steps done, from 0; the first call that gives it says that the work has begun.
            steps: how many there are, if it is not what the request said.
            preview, checkpoint: storage keys of a picture and a saved state, once they are stored.

        Raises:
            InvalidRequest: step is negative, or steps below 1.
            ClaimLost: the job is no longer this worker's: its lease ran out and it was given on, it was deleted, or its
                deadline has passed.
        """
        if (step is not None and step < 0) or (steps is not None and steps < 1):
            raise InvalidRequest(f"step {step} of {steps}; must be 0 or more of 1 or more", field="step")
        now = self._clock()
        # What a power cut takes of it, it takes with the worker: whoever comes after that begins at the checkpoint, and
        # the file of the one before is removed once this is written. Not so the step that clears a job of a worker's
        # death: without it the next death would be its second.
        durable = checkpoint is not None or claim.job.crashes > 0
        with self._database.write(durable=durable) as connection:
            row = self._held(connection, claim)
            too_late = row.deadline_at is not None and row.deadline_at <= now
            if too_late:
                move(connection, row, Happening.FAILED, now, TOO_LATE.data, **TOO_LATE.values)
                order = None
            else:
                self._prolong(connection, row, now, step, steps, preview, checkpoint)
                order = self._order(connection, row)
        if order is None:
            raise ClaimLost(f"the deadline of {claim.job.id} has passed")
        return order

    def _prolong(
        self,
        connection: Connection,
        row: Row[Any],
        now: float,
        step: int | None,
        steps: int | None,
        preview: str | None,
        checkpoint: str | None,
    ) -> None:
        values: dict[str, Any] = {"lease_until": now + self._policy.lease_s}
        if checkpoint is not None:
            values["checkpoint"] = checkpoint
        shown: dict[str, Any] = {}
        if step is not None:
            shown["step"] = step
            if row.began_at is None:
                values |= {"began_at": now, "began_step": step}
                values["started_at"] = now if row.started_at is None else row.started_at
            if step > row.furthest_step:
                # It got further than where workers died, so it was not what killed them.
                values |= {"furthest_step": step, "crashes": 0}
        if steps is not None:
            shown["steps"] = steps
        if preview is not None:
            shown["preview"] = preview
            values["first_preview_at"] = now if row.first_preview_at is None else row.first_preview_at
        changed = any(value != getattr(row, name) for name, value in shown.items())
        if changed or "began_at" in values:
            record_progress(connection, row, now, **values, **shown)
        else:
            connection.execute(_PROLONG, {"this": row.number, **values})

    def _order(self, connection: Connection, row: Row[Any]) -> Order:
        if row.cancel_requested_at is not None:
            return Order.CANCEL
        free = connection.execute(_FREE, {"owner": row.owner, "key": row.key_id}).first()
        return Order.RELEASE if free is None else Order.GO_ON

    def complete(self, claim: Claim, result: Mapping[str, Any], *, stored_bytes: int | None = None) -> Job:
        """The clip is made and stored. A job that was to be cancelled and is finished nevertheless is completed.

        Args:
            result: storage keys, recipe and what else is to be known of it, as JSON can say it.
            stored_bytes: what its files take; None is as much as was expected.

        Raises:
            ClaimLost: the job is no longer this worker's; what it stored must go.
            QuotaReached: its files take more than was expected, and the owner has no room for that; it is still
                running.
        """
        now = self._clock()
        with self._database.write() as connection:
            row = self._held(connection, claim)
            if not row.sample and stored_bytes is not None and stored_bytes > (row.stored_bytes or 0):
                account = connection.execute(_LOCK_ACCOUNT, {"this": row.owner}).one()
                grown = stored_bytes - (row.stored_bytes or 0)
                what = "the video became larger than was expected, by"
                check_room(connection, account, grown, self._policy, what=what)
            learn_pace(connection, row, now)
            if not row.sample and (made_s := _length_s(result)):
                connection.execute(_COUNT_MADE, {"this": row.owner, "more_s": made_s})
            return move(
                connection,
                row,
                Happening.COMPLETED,
                now,
                result=dict(result),
                stored_bytes=row.stored_bytes if stored_bytes is None else stored_bytes,
                step=row.steps or row.step,
                lease_until=None,
            )

    def completed(self, claim: Claim) -> Job | None:
        """The job, if it was this claim that has completed it: for a worker to which `complete` could not answer, as
        the database went away just then. None if not, or if the job has been deleted since."""
        with self._database.read() as connection:
            row = connection.execute(
                select(jobs).where(
                    jobs.c.number == claim.job.number,
                    jobs.c.state == State.COMPLETED.value,
                    jobs.c.attempt == claim.attempt,
                    jobs.c.worker == self._worker,
                    jobs.c.deleted_at.is_(None),
                )
            ).one_or_none()
        return None if row is None else Job.from_row(row)

    def fail(self, claim: Claim, code: str, message: str, *, retry: bool = False) -> Job:
        """The attempt failed. With `retry` the job is tried again after a pause, from its checkpoint if it has one, up
        to `Policy.max_attempts` attempts in all; otherwise it has failed for good.

        Args:
            code: stable, for programs, such as `out_of_memory`.
            message: for people, up to MAX_MESSAGE_CHARS; the rest is cut off.

        Raises:
            ClaimLost: the job is no longer this worker's.
        """
        now = self._clock()
        data: dict[str, Any] = {"code": _clean(code), "message": _clean(message)}
        with self._database.write() as connection:
            row = self._held(connection, claim)
            failures = row.failures + 1
            if row.cancel_requested_at is not None:
                return self._cancelled(connection, row)
            if retry and failures < self._policy.max_attempts:
                not_before = now + self._policy.backoff(failures)
                return move(
                    connection,
                    row,
                    Happening.RETRIED,
                    now,
                    data,
                    failures=failures,
                    not_before=not_before,
                    lease_until=None,
                )
            return move(
                connection,
                row,
                Happening.FAILED,
                now,
                data,
                failures=failures,
                error_code=data["code"],
                error_message=data["message"],
                lease_until=None,
            )

    def cancelled(self, claim: Claim) -> Job:
        """The work was stopped because the queue had said so (`Order.CANCEL`).

        Raises:
            ClaimLost: the job is no longer this worker's.
        """
        with self._database.write() as connection:
            return self._cancelled(connection, self._held(connection, claim))

    def _cancelled(self, connection: Connection, row: Row[Any]) -> Job:
        return cancel(connection, row, self._clock(), lease_until=None)

    def release(self, claim: Claim, *, checkpoint: str | None = None) -> Job:
        """Give the job back unharmed, in its old place in the queue: after `Order.RELEASE`, or because this worker
        stops. It costs the job no attempt. A job that was to be cancelled is cancelled.

        Args:
            checkpoint: storage key of the state from which to go on; None keeps the one it has.

        Raises:
            ClaimLost: the job is no longer this worker's.
        """
        now = self._clock()
        with self._database.write() as connection:
            row = self._held(connection, claim)
            if row.cancel_requested_at is not None:
                return self._cancelled(connection, row)
            kept = row.checkpoint if checkpoint is None else checkpoint
            return move(connection, row, Happening.RELEASED, now, checkpoint=kept, lease_until=None)

    def _held(self, connection: Connection, claim: Claim) -> Row[Any]:
        given = {"number": claim.job.number, "attempt": claim.attempt, "worker": self._worker}
        row = connection.execute(_HELD, given).one_or_none()
        if row is None:
            raise ClaimLost(
                f"{claim.job.id} is no longer held by attempt {claim.attempt} of {self._worker}; "
                "it was given on, ended or deleted"
            )
        return row


def _length_s(result: Mapping[str, Any]) -> float:
    """Seconds of the clip; 0 where the worker does not say."""
    return result["frames"] / result["fps"] if result.get("frames") and result.get("fps") else 0.0


def _clean(text: str) -> str:
    """What every database can store: no NUL, no half surrogates, not endless."""
    return text[:MAX_MESSAGE_CHARS].replace("\0", "").encode("utf-8", "replace").decode()
