"""Defends: real threads with real connections of their own come to one and the same truth."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from queue_bench import Queue

from hibari.contracts import ClaimLost, LimitReached, NotFound
from hibari.db import Database
from hibari.jobs import Claim, Created, NewJob, Order, PauseScope, Policy, State

T = TypeVar("T")


@pytest.fixture
def queue(shared_database: Database) -> Queue:
    return Queue(shared_database)


def at_once(*calls: Callable[[], T]) -> list[T | Exception]:
    """Call all in threads that start together; what each returned or raised."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T | Exception:
        barrier.wait()
        try:
            return call()
        except (ClaimLost, LimitReached, NotFound) as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_no_two_workers_get_the_same_job(queue: Queue) -> None:
    made = [queue.add(owner).id for owner in ("ann", "bob", "cyd") for _ in range(8)]

    def take_all(name: str) -> list[Claim]:
        worker, taken = queue.worker(name), list[Claim]()
        while (claim := worker.claim()) is not None:
            taken.append(claim)
        return taken

    results = at_once(*(lambda name=f"w{number}": take_all(name) for number in range(4)))
    claims = [claim for result in results if isinstance(result, list) for claim in result]
    assert sorted(claim.job.id for claim in claims) == sorted(made)
    assert {claim.attempt for claim in claims} == {1}


def test_one_idempotency_key_makes_one_job(queue: Queue) -> None:
    new = NewJob(queue.owner(), "testcard", {"prompt": "a"}, idempotency_key="k")
    results = at_once(*[lambda: queue.jobs.create(new)] * 6)
    created = [result for result in results if isinstance(result, Created)]
    assert len(created) == 6
    assert len({each.job.id for each in created}) == 1
    assert Counter(each.replayed for each in created) == {True: 5, False: 1}
    assert len(queue.jobs.page().jobs) == 1


def test_limits_hold_when_all_come_at_once(shared_database: Database) -> None:
    queue = Queue(shared_database, Policy(max_queued=3, max_running=2))
    owner = queue.owner()
    new = NewJob(owner, "testcard", {})
    results: list[Any] = at_once(*[lambda: queue.jobs.create(new)] * 6)
    assert Counter(type(result) for result in results) == {Created: 3, LimitReached: 3}
    queue.add("bob")
    claims = at_once(*(lambda name=f"w{number}": queue.worker(name).claim() for number in range(5)))
    owners = Counter(claim.job.owner for claim in claims if isinstance(claim, Claim))
    assert owners == {owner: 2, queue.owner("bob"): 1}


@pytest.mark.parametrize("turn", range(4))
def test_delete_against_completion(queue: Queue, turn: int) -> None:
    job = queue.add()
    claim = queue.claim()
    worker = queue.worker()
    deleted, completed = at_once(
        lambda: queue.jobs.delete(job.id), lambda: worker.complete(claim, {"video": "k"})
    )
    assert deleted is None
    assert isinstance(completed, ClaimLost) or completed is not None
    with pytest.raises(NotFound):
        queue.jobs.get(job.id)
    queue.clock.pass_s(100)
    queue.upkeep.sweep()
    assert queue.worker().claim() is None
    assert queue.upkeep.to_purge() == [job.id]


@pytest.mark.parametrize("turn", range(4))
def test_cancel_against_start(queue: Queue, turn: int) -> None:
    job = queue.add()
    worker = queue.worker()
    results: list[Any] = at_once(lambda: queue.jobs.cancel(job.id), worker.claim)
    claim = results[1]
    if claim is None:
        assert queue.jobs.get(job.id).state is State.CANCELLED
    else:
        assert worker.heartbeat(claim) is Order.CANCEL
        assert worker.cancelled(claim).state is State.CANCELLED
    assert queue.kinds(job.id)[-1] == "cancelled"
    assert worker.claim() is None


@pytest.mark.parametrize("turn", range(4))
def test_revoke_against_a_running_job(queue: Queue, turn: int) -> None:
    key = queue.accounts.create_key(queue.owner(), "ann").key
    job, other = queue.add(key_id=key.id), queue.add("bob")
    claim, worker = queue.claim(), queue.worker()
    assert claim.job.id == job.id

    def revoke() -> int:
        queue.accounts.revoke(key.id)
        return queue.jobs.cancel_all(PauseScope.key(key.id))

    results: list[Any] = at_once(revoke, lambda: worker.complete(claim, {"video": "k"}))
    assert results[1].state is State.COMPLETED, "its worker may still finish it"
    assert results[0] in (0, 1)
    assert queue.kinds(job.id).count("completed") == 1
    late = queue.add(key_id=key.id)  # it was on its way when the key was revoked
    assert queue.jobs.cancel_all(PauseScope.key(key.id)) == 1
    assert queue.jobs.get(late.id).state is State.CANCELLED
    assert queue.claim().job.id == other.id, "nobody else is concerned"


@pytest.mark.parametrize("turn", range(4))
def test_a_late_word_against_a_new_claim(queue: Queue, turn: int) -> None:
    job = queue.add()
    slow, old = queue.worker("slow"), queue.claim("slow")
    queue.clock.pass_s(10)
    results: list[Any] = at_once(lambda: slow.complete(old, {}), queue.worker("fast").claim)
    done, claim = results
    if claim is None:
        assert done.state is State.COMPLETED
    else:
        assert isinstance(done, ClaimLost)
        assert queue.worker("fast").complete(claim, {}).attempt == 2
    assert queue.kinds(job.id).count("completed") == 1


def test_heartbeats_and_pages_go_on_beside_each_other(queue: Queue) -> None:
    claims = [queue.add(owner) and queue.claim(owner) for owner in ("ann", "bob", "cyd")]

    def work(claim: Claim) -> State:
        worker = queue.worker(claim.job.worker or "")
        for step in range(8):
            worker.heartbeat(claim, step=step, preview=f"p/{step}")
            assert queue.jobs.page().jobs
        return worker.complete(claim, {}).state

    results = at_once(*(lambda claim=claim: work(claim) for claim in claims))
    assert results == [State.COMPLETED] * 3
