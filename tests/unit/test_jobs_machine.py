"""Defends: whatever askers, workers, the clock and the sweeper do in whatever order, the queue's promises hold.

- A running job has one holder, the one that the queue told last; no other can say anything about it.
- A job is completed at most once.
- The history of each job leads to its state, by the table alone.
- No owner has more running than they may, and none is given more to queue than they may.
- A deleted job is never seen or given out again; nothing of a paused owner is given out.
- A job under which workers died twice without its getting further does not come back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
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
WORKERS = ("w1", "w2", "w3")
MAX_RUNNING, MAX_QUEUED = 2, 5
POLICY = Policy(lease_s=10, backoff_s=3, max_running=MAX_RUNNING, max_queued=MAX_QUEUED)


@dataclass
class Known:
    """What a careful bystander knows of a job."""

    owner: str
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


class Machine(RuleBasedStateMachine):
    """The queue beside the bystander."""

    database: Database  # set by the test

    ids = Bundle("ids")
    claims = Bundle("claims")
    owners = st.sampled_from(OWNERS)

    def __init__(self) -> None:
        super().__init__()
        with self.database.write() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        self.queue = Queue(self.database, POLICY)
        for owner in OWNERS:
            self.queue.owner(owner)
        self.known: dict[str, Known] = {}
        self.keys: dict[tuple[str, str], str] = {}
        self.paused: set[str] = set()

    @property
    def now(self) -> float:
        return self.queue.clock.now

    def count(self, owner: str, state: State) -> int:
        return sum(job.owner == owner and job.state is state for job in self.known.values())

    def expect_overdue(self) -> None:
        """What a sweep, or a claim before it claims, does to what is overdue."""
        for job in self.known.values():
            late = job.deadline_at is not None and job.deadline_at <= self.now
            dead = job.state is State.RUNNING and job.lease_until <= self.now
            if job.state not in (State.QUEUED, State.RUNNING) or not (late or dead):
                continue
            if job.cancel_asked:
                job.state = State.CANCELLED
            elif late:
                job.state = State.FAILED
            else:
                job.crashes += 1
                job.state = State.FAILED if job.crashes >= 2 else State.QUEUED
            job.holder = None

    @rule(
        target=ids,
        owner=owners,
        priority=st.integers(0, 1),
        key=st.sampled_from([None, None, "k1", "k2"]),
        wait_s=st.sampled_from([None, None, None, 5, 40]),
    )
    def create(self, owner: str, priority: int, key: str | None, wait_s: float | None) -> str:
        deadline_at = None if wait_s is None else self.now + wait_s
        new = NewJob(
            self.queue.owner(owner),
            "testcard",
            {"p": priority},
            priority=priority,
            steps=8,
            deadline_at=deadline_at,
            idempotency_key=key,
        )
        earlier = self.keys.get((owner, key or ""))
        try:
            created = self.queue.jobs.create(new)
        except LimitReached:
            assert self.count(owner, State.QUEUED) >= MAX_QUEUED
            return "video_" + "0" * 32
        except Conflict:
            assert earlier is not None
            return earlier
        if created.replayed:
            assert created.job.id == earlier
            assert not self.known[created.job.id].deleted
            return created.job.id
        assert earlier is None
        assert self.count(owner, State.QUEUED) < MAX_QUEUED
        assert created.job.id not in self.known
        self.known[created.job.id] = Known(owner, deadline_at=deadline_at)
        if key is not None:
            self.keys[owner, key] = created.job.id
        return created.job.id

    @rule(target=claims, worker=st.sampled_from(WORKERS))
    def claim(self, worker: str) -> tuple[str, Claim] | None:
        self.expect_overdue()
        claim = self.queue.worker(worker).claim()
        mine = [job for job in self.known.values() if job.state is State.RUNNING and job.worker == worker]
        if claim is None:
            return None
        job = self.known[claim.job.id]
        assert job.state is State.QUEUED
        assert not job.deleted
        assert not self.paused & {job.owner, "everything"}
        assert self.count(job.owner, State.RUNNING) < MAX_RUNNING
        assert claim.attempt not in job.attempts
        assert claim.attempt > max(job.attempts, default=0)
        if mine:
            assert job.crashes == 0
            assert all(other.crashes == 0 for other in mine)
        job.attempts.add(claim.attempt)
        job.state, job.holder, job.worker = State.RUNNING, claim, worker
        job.lease_until = self.now + POLICY.lease_s
        return worker, claim

    def say(
        self, held: tuple[str, Claim] | None, call: str, *arguments: Any, **named: Any
    ) -> tuple[Known, Any] | None:
        """Let a worker say something of a job; None if it may not."""
        if held is None:
            return None
        worker, claim = held
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

    @rule(held=claims, step=st.integers(0, 8))
    def heartbeat(self, held: tuple[str, Claim] | None, step: int) -> None:
        if said := self.say(held, "heartbeat", step=step, preview=f"p/{step}", checkpoint=f"c/{step}"):
            job, order = said
            job.lease_until = self.now + POLICY.lease_s
            if step > job.furthest:
                job.furthest, job.crashes = step, 0
            if job.cancel_asked:
                assert order is Order.CANCEL
            elif self.paused & {job.owner, "everything"}:
                assert order is Order.RELEASE
            else:
                assert order is Order.GO_ON

    @rule(held=consumes(claims))
    def complete_and_forget(self, held: tuple[str, Claim] | None) -> None:
        self.complete(held)

    @rule(held=claims)
    def complete(self, held: tuple[str, Claim] | None) -> None:
        if said := self.say(held, "complete", {"video": "k"}):
            said[0].state, said[0].holder = State.COMPLETED, None

    @rule(held=claims, retry=st.booleans())
    def fail(self, held: tuple[str, Claim] | None, retry: bool) -> None:
        if said := self.say(held, "fail", "code", "message", retry=retry):
            job = said[0]
            job.holder = None
            if job.cancel_asked:
                job.state = State.CANCELLED
                return
            job.failures += 1
            job.state = State.QUEUED if retry and job.failures < POLICY.max_attempts else State.FAILED

    @rule(held=claims)
    def release(self, held: tuple[str, Claim] | None) -> None:
        if said := self.say(held, "release"):
            job = said[0]
            job.holder = None
            job.state = State.CANCELLED if job.cancel_asked else State.QUEUED

    @rule(held=claims)
    def cancelled(self, held: tuple[str, Claim] | None) -> None:
        if said := self.say(held, "cancelled"):
            said[0].state, said[0].holder = State.CANCELLED, None

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        job = self.known.get(job_id)
        if job is None or job.deleted:
            with pytest.raises(NotFound):
                self.queue.jobs.cancel(job_id)
            return
        self.queue.jobs.cancel(job_id)
        if job.state is State.QUEUED:
            job.state = State.CANCELLED
        elif job.state is State.RUNNING:
            job.cancel_asked = True

    @rule(job_id=ids)
    def delete(self, job_id: str) -> None:
        job = self.known.get(job_id)
        if job is None or job.deleted:
            with pytest.raises(NotFound):
                self.queue.jobs.delete(job_id)
            return
        self.queue.jobs.delete(job_id)
        job.deleted, job.holder = True, None
        if job.state in (State.QUEUED, State.RUNNING):
            job.state = State.CANCELLED

    @rule(owner=st.sampled_from([*OWNERS, "everything"]), on=st.booleans())
    def pause(self, owner: str, on: bool) -> None:
        scope = (
            PauseScope.everything() if owner == "everything" else PauseScope.owner(self.queue.owner(owner))
        )
        (self.queue.jobs.pause if on else self.queue.jobs.resume)(scope)
        (self.paused.add if on else self.paused.discard)(owner)

    @rule(seconds=st.sampled_from([1.0, 4.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.queue.clock.pass_s(seconds)

    @rule()
    def sweep(self) -> None:
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
            max_examples=40 if quick else 8,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
