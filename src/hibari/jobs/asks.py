"""The queue as those see it who ask: create, look, list, cancel, delete, pause."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from hibari.audit import Action, Actor, Target, note
from hibari.contracts import Conflict, InvalidRequest, LimitReached, NotFound
from hibari.db import Database, insert_if_absent
from hibari.db.schema import accounts, events, jobs, keys, paces, sources, switches
from hibari.jobs.estimates import estimate, estimates, forecast
from hibari.jobs.gallery import Wanted, folded, ids_of
from hibari.jobs.moves import PAUSED, add_event, cancel, found, is_id, locked
from hibari.jobs.records import Created, Estimate, Event, Job, NewJob, Page
from hibari.jobs.states import FINAL, Happening, State
from hibari.jobs.stored import check_room
from hibari.jobs.terms import Clock, Policy
from hibari.jobs.usage import Usage, usage

MAX_PAGE = 100
MAX_PRIORITY = 1000
_KEY = re.compile(r"[\x21-\x7e]{1,255}")

# Put together once: see `moves`.
_LOCK_OWNER = (
    select(accounts)
    .where(accounts.c.id == bindparam("id"), accounts.c.deleted_at.is_(None))
    .with_for_update()
)
_INSERT = insert(jobs).returning(jobs)
_LAST_EVENTS = select(jobs.c.id, jobs.c.last_event).where(
    jobs.c.id.in_(bindparam("ids", expanding=True)), jobs.c.deleted_at.is_(None)
)
_UNFINISHED = (
    select(jobs.c.id, jobs.c.last_event)
    .where(
        jobs.c.owner == bindparam("owner"),
        jobs.c.state.in_([State.QUEUED.value, State.RUNNING.value]),
        jobs.c.deleted_at.is_(None),
    )
    .order_by(jobs.c.number)
    .limit(bindparam("most"))
)
_EVENTS = (
    select(events)
    .where(
        events.c.job == bindparam("job"),
        events.c.number > bindparam("after"),
        events.c.number <= bindparam("last"),
    )
    .order_by(events.c.number)
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class PauseScope:
    """What a pause stops: everything, the jobs of one owner, or those that came by one key."""

    kind: Literal["everything", "owner", "key"]
    id: str = ""

    @classmethod
    def everything(cls) -> PauseScope:
        """All jobs of the server."""
        return cls("everything")

    @classmethod
    def owner(cls, account_id: str) -> PauseScope:
        """The jobs of one account."""
        return cls("owner", account_id)

    @classmethod
    def key(cls, key_id: str) -> PauseScope:
        """The jobs that came by one API key."""
        return cls("key", key_id)


class Jobs:
    """Create jobs, look at them, and end them.

    `by`, where a call takes it, is who does it to somebody else's: it is then in the audit log.
    """

    def __init__(self, database: Database, clock: Clock = time.time, policy: Policy | None = None) -> None:
        self._database = database
        self._clock = clock
        self._policy = policy or Policy()

    def create(self, new: NewJob) -> Created:
        """Queue a job; it is durable when this returns.

        Raises:
            InvalidRequest: a value of `new` is not possible; `field` names it.
            Conflict: its idempotency key was used with another request, or its job has been deleted.
            LimitReached: the owner has as many queued jobs as they may.
            QuotaReached: the owner's files leave no room for those of this job.
            NotFound: there is no such owner.
        """
        _check(new)
        now = self._clock()
        fingerprint = new.fingerprint or _fingerprint(new)
        with self._database.write() as connection:
            # The owner's row is kept until the end: creates of one owner come one after the other, so that limits hold,
            # a key makes one job, and numbers become visible in their order.
            account = connection.execute(_LOCK_OWNER, {"id": new.owner}).one_or_none()
            if account is None:
                raise NotFound(f"there is no account {new.owner!r}")
            if new.idempotency_key is not None:
                earlier = _earlier(connection, new.owner, new.idempotency_key, fingerprint)
                if earlier is not None:
                    return Created(earlier, replayed=True)
            if not new.sample:
                self._check_queued(connection, account)
                check_room(connection, account, new.expected_bytes, self._policy)
            row = connection.execute(
                _INSERT,
                {
                    "id": f"video_{secrets.token_hex(16)}",
                    "owner": new.owner,
                    "key_id": new.key_id,
                    "state": State.QUEUED.value,
                    "model": new.model,
                    "request": dict(new.request),
                    "priority": new.priority,
                    "pace": new.pace,
                    "steps": new.steps,
                    "deadline_at": new.deadline_at,
                    "keep_s": new.keep_s,
                    "remixed_from": new.remixed_from,
                    "sources": list(new.sources),
                    "idempotency_key": new.idempotency_key,
                    "fingerprint": fingerprint,
                    "step": 0,
                    "furthest_step": 0,
                    "created_at": now,
                    "attempt": 0,
                    "not_before": now,
                    "failures": 0,
                    "crashes": 0,
                    "last_event": 1,
                    "stored_bytes": new.expected_bytes,
                    "words": folded(new.prompt),
                    "kind": new.kind,
                    "sample": new.sample,
                },
            ).one()
            for source in dict.fromkeys(new.sources):
                connection.execute(insert(sources).values(job=row.number, source=source))
            add_event(connection, row.number, 1, Happening.CREATED, State.QUEUED, now, {})
            return Created(Job.from_row(row), replayed=False)

    def _check_queued(self, connection: Connection, account: Row[Any]) -> None:
        most = self._policy.max_queued if account.max_queued is None else account.max_queued
        if most is None:
            return
        queued = connection.execute(
            select(func.count())
            .select_from(jobs)
            .where(jobs.c.state == State.QUEUED.value, jobs.c.owner == account.id, ~jobs.c.sample)
        ).scalar_one()
        if queued >= most:
            raise LimitReached(
                f"{queued} videos are queued, and {most} may be; wait until one begins, or delete one"
            )

    def get(self, job_id: str, *, owner: str | None = None) -> Job:
        """A job; with `owner` only if it is theirs.

        Raises:
            NotFound: there is none for the one who asks.
        """
        with self._database.read() as connection:
            return Job.from_row(found(connection, job_id, owner=owner))

    def page(
        self,
        *,
        owner: str | None = None,
        after: str | None = None,
        limit: int = 20,
        newest_first: bool = True,
        wanted: Wanted | None = None,
        estimated: bool = False,
    ) -> Page:
        """A part of the list of jobs, in the order in which they were created.

        Jobs that arrive or go while somebody turns pages move nothing: `after` is a place, and it stays one after its
        job has been deleted, until the sweeper has removed that.

        Args:
            owner: only theirs; None is everybody's.
            after: id of the job after which the page begins.
            limit: 1 to MAX_PAGE.
            newest_first: or the oldest first.
            wanted: only such jobs; `after` need not be one.
            estimated: say also when each is likely to be finished.

        Raises:
            InvalidRequest: the limit is out of range, too much is wanted, or there is no job `after`.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidRequest(f"limit is {limit}; must be 1 to {MAX_PAGE}", field="limit")
        query = select(jobs).where(jobs.c.deleted_at.is_(None))
        mine = [] if owner is None else [jobs.c.owner == owner]
        if wanted is not None:
            query = query.where(*wanted.conditions())
        with self._database.read() as connection:
            if after is not None:
                place = None
                if is_id(after):
                    place = connection.execute(
                        select(jobs.c.number).where(jobs.c.id == after, *mine)
                    ).scalar_one_or_none()
                if place is None:
                    raise InvalidRequest(
                        f"after is {after[:60]!r}; must be the id of a video of this list", field="after"
                    )
                query = query.where(jobs.c.number < place if newest_first else jobs.c.number > place)
            order = jobs.c.number.desc() if newest_first else jobs.c.number.asc()
            rows = connection.execute(query.where(*mine).order_by(order).limit(limit + 1)).all()
            told = estimates(connection, rows[:limit], self._clock()) if estimated else {}
        page = tuple(Job.from_row(row) for row in rows[:limit])
        by_id = {job.id: told[job.number] for job in page if job.number in told}
        return Page(page, has_more=len(rows) > limit, estimates=by_id)

    def events(
        self, job_id: str, *, after: int = 0, limit: int = 100, owner: str | None = None
    ) -> list[Event]:
        """What happened to a job after event number `after`, in order; empty if nothing has.

        Raises:
            NotFound: there is no such job for the one who asks, or it has been deleted.
        """
        with self._database.read() as connection:
            row = found(connection, job_id, owner=owner)
            return _events(connection, row, after, limit)

    def estimate(self, job_id: str, *, owner: str | None = None) -> Estimate | None:
        """When a job is likely to be finished; None if it is.

        Raises:
            NotFound: there is none for the one who asks.
        """
        with self._database.read() as connection:
            return estimate(connection, found(connection, job_id, owner=owner), self._clock())

    def look(self, job_id: str, *, owner: str | None = None) -> tuple[Job, Estimate | None]:
        """A job, and when it is likely to be finished: `get` and `estimate` at one moment.

        Raises:
            NotFound: there is none for the one who asks.
        """
        with self._database.read() as connection:
            row = found(connection, job_id, owner=owner)
            return Job.from_row(row), estimate(connection, row, self._clock())

    def news(
        self, job_id: str, *, after: int, owner: str | None = None
    ) -> tuple[Job, Estimate | None, list[Event]]:
        """A job and what happened to it after event number `after`, at one moment, with an estimate if something has.
        Cheap where nothing has.

        Raises:
            NotFound: there is no such job for the one who asks, or it has been deleted.
        """
        with self._database.read() as connection:
            row = found(connection, job_id, owner=owner)
            if row.last_event <= after:
                return Job.from_row(row), None, []
            happened = _events(connection, row, after)
            return Job.from_row(row), estimate(connection, row, self._clock()), happened

    def last_events(self, job_ids: Sequence[str]) -> dict[str, int]:
        """The number of the last event of each of these jobs that is there."""
        with self._database.read() as connection:
            rows = connection.execute(_LAST_EVENTS, {"ids": job_ids})
            return {row.id: row.last_event for row in rows}

    def unfinished(self, owner: str, limit: int) -> dict[str, int]:
        """The number of the last event of each job of an owner's that is not over, the oldest jobs first, up to
        `limit`."""
        with self._database.read() as connection:
            rows = connection.execute(_UNFINISHED, {"owner": owner, "most": limit})
            return {row.id: row.last_event for row in rows}

    def forecast(self, owner: str, *, pace: str, steps: int, guess_s: float | None = None) -> Estimate:
        """When a job would be likely to be finished that `owner` queued now. `guess_s` is what it would take alone, for
        the case that nothing of its pace was measured."""
        with self._database.read() as connection:
            return forecast(connection, owner, pace, steps, guess_s)

    def paces(self) -> dict[str, float]:
        """Seconds a step of each pace, as far as they were measured."""
        with self._database.read() as connection:
            return {row.name: row.step_s for row in connection.execute(select(paces))}

    def usage(self, owner: str | None = None) -> dict[str, Usage]:
        """What an owner has, or every owner, by their ids; one that is not there has none."""
        with self._database.read() as connection:
            return usage(connection, self._policy, owner)

    def set_priority(self, job_id: str, priority: int, *, by: Actor | None = None) -> Job:
        """Give a job another priority; what has begun goes on.

        Raises:
            InvalidRequest: it is further from 0 than MAX_PRIORITY.
            NotFound: there is no such job.
        """
        if abs(priority) > MAX_PRIORITY:
            raise InvalidRequest(
                f"priority is {priority}; must be {-MAX_PRIORITY} to {MAX_PRIORITY}", field="priority"
            )
        with self._database.write() as connection:
            row = locked(connection, job_id)
            connection.execute(update(jobs).where(jobs.c.number == row.number).values(priority=priority))
            if priority != row.priority:
                target = Target("video", row.id, account_id=row.owner)
                note(connection, by, self._clock(), Action.VIDEO_PRIORITY, target, priority=priority)
            return Job.from_row(found(connection, job_id))

    def cancel(self, job_id: str, *, owner: str | None = None, by: Actor | None = None) -> Job:
        """Cancel a job: at once if it is queued; if it is running, its worker is told at the next heartbeat, and may
        still finish it before. A finished job stays as it is.

        Raises:
            NotFound: there is none for the one who asks.
        """
        with self._database.write() as connection:
            return self._cancel(connection, locked(connection, job_id, owner=owner), by)

    def cancel_all(self, scope: PauseScope, *, by: Actor | None = None) -> int:
        """Cancel all unfinished jobs of a key, an owner or everybody, and say how many there were."""
        query = select(jobs).where(
            jobs.c.state.in_([State.QUEUED.value, State.RUNNING.value]), jobs.c.deleted_at.is_(None)
        )
        if scope.kind != "everything":
            query = query.where((jobs.c.owner if scope.kind == "owner" else jobs.c.key_id) == scope.id)
        with self._database.write() as connection:
            rows = connection.execute(query.order_by(jobs.c.number).with_for_update()).all()
            for row in rows:
                self._cancel(connection, row, by)
        return len(rows)

    def _cancel(self, connection: Connection, row: Row[Any], by: Actor | None) -> Job:
        now = self._clock()
        if State(row.state) not in FINAL:
            target = Target("video", row.id, account_id=row.owner)
            note(connection, by, now, Action.VIDEO_CANCELLED, target)
        if row.state == State.QUEUED.value:
            return cancel(connection, row, now)
        if row.state == State.RUNNING.value and row.cancel_requested_at is None:
            connection.execute(
                update(jobs).where(jobs.c.number == row.number).values(cancel_requested_at=now)
            )
        return Job.from_row(connection.execute(select(jobs).where(jobs.c.number == row.number)).one())

    def delete(self, job_id: str, *, owner: str | None = None) -> None:
        """Delete a job, whatever state it is in. From now on nobody finds it, and a worker that runs it is refused at
        its next word; `Upkeep` removes what is left.

        Raises:
            NotFound: there is none for the one who asks.
        """
        now = self._clock()
        with self._database.write() as connection:
            _delete(connection, locked(connection, job_id, owner=owner), now)

    def delete_all(self, job_ids: Sequence[str], *, owner: str) -> list[str]:
        """Delete several jobs, as `delete` does, all or none. Those that are not there are left out.

        Returns:
            Ids of those that were there.

        Raises:
            InvalidRequest: there are too many ids.
            NotFound: none of them is there.
        """
        now = self._clock()
        names = ids_of(job_ids)
        query = select(jobs).where(jobs.c.id.in_(names), jobs.c.owner == owner, jobs.c.deleted_at.is_(None))
        with self._database.write() as connection:
            rows = connection.execute(query.order_by(jobs.c.number).with_for_update()).all()
            for row in rows:
                _delete(connection, row, now)
        if not rows:
            raise NotFound(f"there is no video {names[0]!r}")
        return [row.id for row in rows]

    def pause(self, scope: PauseScope, *, by: Actor | None = None) -> None:
        """Stop an owner, a key or everything: what is queued is left lying, what runs is told at its next heartbeat to
        give its job back with a checkpoint. New jobs can still be queued. Pausing twice is no error.

        Raises:
            NotFound: there is no such account or key.
        """
        self._set_pause(scope, self._clock(), by)

    def resume(self, scope: PauseScope, *, by: Actor | None = None) -> None:
        """Take back the pause of exactly this scope; jobs go on from their checkpoints. Another pause stays.

        Raises:
            NotFound: there is no such account or key.
        """
        self._set_pause(scope, None, by)

    def paused(self) -> float | None:
        """Since when everything is paused; None if it is not."""
        with self._database.read() as connection:
            return connection.execute(
                select(switches.c.since).where(switches.c.name == PAUSED)
            ).scalar_one_or_none()

    def _set_pause(self, scope: PauseScope, since: float | None, by: Actor | None) -> None:
        with self._database.write() as connection:
            if scope.kind == "everything":
                if since is None:
                    off = delete(switches).where(switches.c.name == PAUSED)
                    changed = bool(connection.execute(off).rowcount)
                else:
                    changed = insert_if_absent(connection, switches, name=PAUSED, since=since)
                actions, target = (Action.SERVER_PAUSED, Action.SERVER_RESUMED), Target("server")
            else:
                row = _pausable(connection, scope)
                table = accounts if scope.kind == "owner" else keys
                connection.execute(update(table).where(table.c.id == row.id).values(paused_at=since))
                changed = (since is None) != (row.paused_at is None)
                if scope.kind == "owner":
                    actions = Action.ACCOUNT_PAUSED, Action.ACCOUNT_RESUMED
                    target = Target("account", row.id, row.name, row.id)
                else:
                    actions = Action.KEY_PAUSED, Action.KEY_RESUMED
                    target = Target("key", row.id, f"{row.name} ({row.prefix}...)", row.account_id)
            if changed:
                note(connection, by, self._clock(), actions[since is None], target)


def _pausable(connection: Connection, scope: PauseScope) -> Row[Any]:
    """The locked row of the account or the key."""
    query = select(accounts).where(accounts.c.deleted_at.is_(None)) if scope.kind == "owner" else select(keys)
    table = accounts if scope.kind == "owner" else keys
    row = connection.execute(query.where(table.c.id == scope.id).with_for_update()).one_or_none()
    if row is None:
        raise NotFound(f"there is no {'account' if scope.kind == 'owner' else 'key'} {scope.id[:60]!r}")
    return row


def _events(connection: Connection, row: Row[Any], after: int, limit: int = 100) -> list[Event]:
    # Nothing newer than the row, which was read a moment before: what is told of both belongs together.
    given = {"job": row.number, "after": after, "last": row.last_event, "most": limit}
    rows = connection.execute(_EVENTS, given).all()
    return [Event(each.number, each.at, Happening(each.kind), State(each.state), each.data) for each in rows]


def _delete(connection: Connection, row: Row[Any], now: float) -> None:
    if row.state in (State.QUEUED.value, State.RUNNING.value):
        cancel(connection, row, now)
    connection.execute(update(jobs).where(jobs.c.number == row.number).values(deleted_at=now))


def _check(new: NewJob) -> None:
    if new.steps is not None and new.steps < 1:
        raise InvalidRequest(f"steps is {new.steps}; must be at least 1", field="steps")
    if new.keep_s is not None and not new.keep_s > 0:
        raise InvalidRequest(f"keep_s is {new.keep_s:g}; must be above 0 seconds", field="keep_s")
    if new.idempotency_key is not None and not _KEY.fullmatch(new.idempotency_key):
        raise InvalidRequest(
            f"the idempotency key is {new.idempotency_key[:60]!r}; must be 1 to 255 visible ASCII characters",
            field="idempotency_key",
        )


def _fingerprint(new: NewJob) -> str:
    asked = [new.model, dict(new.request), new.remixed_from, list(new.sources)]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _earlier(connection: Connection, owner: str, key: str, fingerprint: str) -> Job | None:
    row = connection.execute(
        select(jobs).where(jobs.c.owner == owner, jobs.c.idempotency_key == key)
    ).one_or_none()
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise Conflict(
            f"the idempotency key {key!r} was used with another request; use a new key for a new request"
        )
    if row.deleted_at is not None:
        raise Conflict(f"the video made with the idempotency key {key!r} has been deleted; use a new key")
    return Job.from_row(row)
