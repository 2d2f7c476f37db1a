"""Defends: whatever askers, workers, the clock and the sweeper do in whatever order, the queue's promises hold.

- A running job has one holder, the one that the queue told last; no other can say anything about it.
- A job is completed at most once.
- The history of each job leads to its state, by the table alone.
- No owner has more running than they may, and none is given more to queue than they may.
- A deleted job is never seen or given out again; nothing of a paused owner or key is given out.
- What came by a key that was revoked for good ends: at once if it waits, at its worker's next word if it runs.
- A job under which workers died twice without its getting further does not come back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from queue_bench import Queue
from sqlalchemy import select

from hibari.contracts import ClaimLost, Conflict, LimitReached, NotFound
from hibari.db import Database
from hibari.db.schema import events, jobs, metadata
from hibari.jobs import Claim, Happening, NewJob, Order, PauseScope, Policy, State
from hibari.jobs.states import TRANSITIONS

OWNERS = ("ann", "bob")
WORKERS = ("w1", "w2")
MAX_RUNNING, MAX_QUEUED = 2, 5
BACK = st.integers(0, 5)  # how far back, counted from the latest
POLICY = Policy(lease_s=10, backoff_s=3, max_running=MAX_RUNNING, max_queued=MAX_QUEUED)


@dataclass
class Known:
    """What a careful bystander knows of a job."""

    owner: str
    key: str | None = None
    state: State = State.QUEUED
    holder: Claim | None = None
    worker: str = ""
    lease_until: float = 0
    deadline_at: float | None = None
    cancel_asked: bool = False
    deleted: bool = False
    furthest: int = 0
    crashes: int = 0
    failures: int = 0
    attempts: set[int] = field(default_factory=set[int])

    @property
    def unfinished(self) -> bool:
        return self.state in (State.QUEUED, State.RUNNING)

    @property
    def stopped_by(self) -> set[str | None]:
        """Whose pauses concern it."""
        return {self.owner, self.key, "everything"}


class Machine(RuleBasedStateMachine):
    """The queue beside the bystander."""

    database: Database  # set by the test

    owners = st.sampled_from(OWNERS)

    def __init__(self) -> None:
        super().__init__()
        with self.database.write() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        self.queue = Queue(self.database, POLICY)
        self.api_keys = {
            owner: self.queue.accounts.create_key(self.queue.owner(owner), owner).key.id for owner in OWNERS
        }
        self.known: dict[str, Known] = {}
        self.held: list[tuple[str, Claim]] = []  # all that was ever claimed, also what is no longer true
        self.keys: dict[tuple[str, str], str] = {}
        self.paused: set[str | None] = set()

    @property
    def now(self) -> float:
        return self.queue.clock.now

    def count(self, owner: str, state: State) -> int:
        return sum(job.owner == owner and job.state is state for job in self.known.values())

    def any_id(self, back: int) -> str:
        """The id of a job, counted from the latest."""
        return list(self.known)[-1 - back % len(self.known)]

    def expect_overdue(self) -> None:
        """What a sweep, or a claim before it claims, does to what is overdue."""
        for job in self.known.values():
            late = job.deadline_at is not None and job.deadline_at <= self.now
            dead = job.state is State.RUNNING and job.lease_until <= self.now
            if not job.unfinished or not (late or dead):
                continue
            if job.cancel_asked:
                job.state = State.CANCELLED
            elif late:
                job.state = State.FAILED
            else:
                job.crashes += 1
                job.state = State.FAILED if job.crashes >= 2 else State.QUEUED
            job.holder = None

    @initialize()
    def begin(self) -> None:
        # Without something to talk about, most rules have nothing to do.
        for owner in OWNERS:
            for _ in range(2):
                self.create(owner, 0, None, None, by_key=True)
        self.claim("w1")
        self.claim("w1")

    @rule(
        owner=owners,
        priority=st.integers(0, 1),
        key=st.sampled_from([None, None, "k1", "k2"]),
        wait_s=st.sampled_from([None, None, None, 5, 40]),
        by_key=st.booleans(),
    )
    def create(self, owner: str, priority: int, key: str | None, wait_s: float | None, by_key: bool) -> None:
        api_key = self.api_keys[owner] if by_key else None
        deadline_at = None if wait_s is None else self.now + wait_s
        new = NewJob(
            self.queue.owner(owner),
            "testcard",
            {"p": priority},
            priority=priority,
            steps=8,
            deadline_at=deadline_at,
            idempotency_key=key,
            key_id=api_key,
        )
        earlier = self.keys.get((owner, key or ""))
        try:
            created = self.queue.jobs.create(new)
        except LimitReached:
            assert self.count(owner, State.QUEUED) >= MAX_QUEUED
            return
        except Conflict:
            assert earlier is not None
            return
        if created.replayed:
            assert created.job.id == earlier
            assert not self.known[created.job.id].deleted
            return
        assert earlier is None
        assert self.count(owner, State.QUEUED) < MAX_QUEUED
        assert created.job.id not in self.known
        self.known[created.job.id] = Known(owner, api_key, deadline_at=deadline_at)
        if key is not None:
            self.keys[owner, key] = created.job.id

    @rule(worker=st.sampled_from(WORKERS))
    def claim(self, worker: str) -> None:
        self.expect_overdue()
        claim = self.queue.worker(worker).claim()
        mine = [job for job in self.known.values() if job.state is State.RUNNING and job.worker == worker]
        if claim is None:
            return
        job = self.known[claim.job.id]
        assert job.state is State.QUEUED
        assert not job.deleted
        assert not self.paused & job.stopped_by
        assert self.count(job.owner, State.RUNNING) < MAX_RUNNING
        assert claim.attempt not in job.attempts
        assert claim.attempt > max(job.attempts, default=0)
        if mine:
            assert job.crashes == 0
            assert all(other.crashes == 0 for other in mine)
        job.attempts.add(claim.attempt)
        job.state, job.holder, job.worker = State.RUNNING, claim, worker
        job.lease_until = self.now + POLICY.lease_s
        self.held.append((worker, claim))

    def say(self, back: int, call: str, *arguments: Any, **named: Any) -> tuple[Known, Any] | None:
        """Let a worker say something of a job; None if it may not."""
        worker, claim = self.held[-1 - back % len(self.held)]
        job = self.known[claim.job.id]
        try:
            answer = getattr(self.queue.worker(worker), call)(claim, *arguments, **named)
        except ClaimLost:
            late = job.deadline_at is not None and job.deadline_at <= self.now
            if job.holder is claim:  # only a heartbeat looks at the deadline
                assert call == "heartbeat"
                assert late
                job.state, job.holder = State.FAILED, None
            return None
        assert job.holder is claim, "a stale worker was heard"
        assert job.state is State.RUNNING
        return job, answer

    @rule(back=BACK, step=st.integers(0, 8))
    def heartbeat(self, back: int, step: int) -> None:
        if said := self.say(back, "heartbeat", step=step, preview=f"p/{step}", checkpoint=f"c/{step}"):
            job, order = said
            job.lease_until = self.now + POLICY.lease_s
            if step > job.furthest:
                job.furthest, job.crashes = step, 0
            if job.cancel_asked:
                assert order is Order.CANCEL
            elif self.paused & job.stopped_by:
                assert order is Order.RELEASE
            else:
                assert order is Order.GO_ON

    @rule(back=BACK)
    def complete(self, back: int) -> None:
        if said := self.say(back, "complete", {"video": "k"}):
            said[0].state, said[0].holder = State.COMPLETED, None

    @rule(back=BACK, retry=st.booleans())
    def fail(self, back: int, retry: bool) -> None:
        if said := self.say(back, "fail", "code", "message", retry=retry):
            job = said[0]
            job.holder = None
            if job.cancel_asked:
                job.state = State.CANCELLED
                return
            job.failures += 1
            job.state = State.QUEUED if retry and job.failures < POLICY.max_attempts else State.FAILED

    @rule(back=BACK)
    def release(self, back: int) -> None:
        if said := self.say(back, "release"):
            job = said[0]
            job.holder = None
            job.state = State.CANCELLED if job.cancel_asked else State.QUEUED

    @rule(back=BACK)
    def cancelled(self, back: int) -> None:
        if said := self.say(back, "cancelled"):
            said[0].state, said[0].holder = State.CANCELLED, None

    @rule(back=BACK)
    def cancel(self, back: int) -> None:
        job_id = self.any_id(back)
        job = self.known[job_id]
        if job.deleted:
            with pytest.raises(NotFound):
                self.queue.jobs.cancel(job_id)
            return
        self.queue.jobs.cancel(job_id)
        if job.state is State.QUEUED:
            job.state = State.CANCELLED
        elif job.state is State.RUNNING:
            job.cancel_asked = True

    @rule(back=BACK)
    def delete(self, back: int) -> None:
        job_id = self.any_id(back)
        job = self.known[job_id]
        if job.deleted:
            with pytest.raises(NotFound):
                self.queue.jobs.delete(job_id)
            return
        self.queue.jobs.delete(job_id)
        job.deleted, job.holder = True, None
        if job.unfinished:
            job.state = State.CANCELLED

    @rule(owner=owners)
    def revoke(self, owner: str) -> None:
        key = self.api_keys[owner]
        self.queue.accounts.revoke(key)
        ended = [job for job in self.known.values() if job.key == key and job.unfinished]
        assert self.queue.jobs.cancel_all(PauseScope.key(key)) == len(ended)
        for job in ended:
            if job.state is State.QUEUED:
                job.state = State.CANCELLED
            else:
                job.cancel_asked = True

    def switch(self, scope: PauseScope, name: str, on: bool) -> None:
        (self.queue.jobs.pause if on else self.queue.jobs.resume)(scope)
        (self.paused.add if on else self.paused.discard)(name)

    @rule(owner=st.sampled_from([*OWNERS, "everything"]), on=st.sampled_from([False, False, True]))
    def pause(self, owner: str, on: bool) -> None:
        everything = owner == "everything"
        scope = PauseScope.everything() if everything else PauseScope.owner(self.queue.owner(owner))
        self.switch(scope, owner, on)

    @rule(owner=owners, on=st.sampled_from([False, False, True]))
    def pause_key(self, owner: str, on: bool) -> None:
        self.switch(PauseScope.key(self.api_keys[owner]), self.api_keys[owner], on)

    @rule(seconds=st.sampled_from([1.0, 4.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.queue.clock.pass_s(seconds)

    @rule()
    def all_workers_die(self) -> None:
        self.queue.clock.pass_s(POLICY.lease_s)
        self.expect_overdue()
        self.queue.upkeep.sweep()

    @rule()
    def purge(self) -> None:
        for job_id in self.queue.upkeep.to_purge():
            job = self.known[job_id]
            assert job.deleted
            self.queue.upkeep.purge(job_id)
            self.keys = {key: there for key, there in self.keys.items() if there != job_id}

    @invariant()
    def the_tables_say_what_the_bystander_knows(self) -> None:
        with self.database.read() as connection:
            rows = connection.execute(select(jobs)).all()
            history = connection.execute(select(events).order_by(events.c.job, events.c.number)).all()
        for row in rows:
            job = self.known[row.id]
            assert row.state == job.state.value
            assert (row.deleted_at is not None) == job.deleted
            assert (row.crashes, row.failures) == (job.crashes, job.failures)
            if job.holder is not None:
                assert (row.attempt, row.worker) == (job.holder.attempt, job.worker)
            happened = [event for event in history if event.job == row.number]
            check_history([Happening(event.kind) for event in happened], State(row.state))
            assert happened[-1].number == row.last_event
            assert happened[-1].state == row.state
        for owner in OWNERS:
            assert self.count(owner, State.RUNNING) <= MAX_RUNNING

    @invariant()
    def the_list_shows_what_is_not_deleted(self) -> None:
        shown = {job.id for job in self.queue.jobs.page(limit=100).jobs}
        there = {job_id for job_id, job in self.known.items() if not job.deleted}
        assert shown <= there
        assert len(shown) == min(100, len(there))


def check_history(kinds: list[Happening], state: State) -> None:
    """A history begins with its creation, goes by the table, completes once, and ends in the job's state."""
    assert kinds[0] is Happening.CREATED
    at = State.QUEUED
    for kind in kinds[1:]:
        if kind is Happening.PROGRESS:
            continue  # only the latest is kept, so that it may stand anywhere after its claim
        before, after = TRANSITIONS[kind]
        assert at in before, f"{kind} after {at}"
        at = after
    assert at is state
    assert kinds.count(Happening.COMPLETED) <= 1
    assert kinds.count(Happening.PROGRESS) <= 1


def test_the_queue_keeps_its_promises(database: Database) -> None:
    class Here(Machine):
        pass

    Here.database = database
    quick = database.is_sqlite
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=30 if quick else 6,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
