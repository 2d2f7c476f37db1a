"""Defends: an account's files take no more room than they may, whoever asks at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from queue_bench import Queue

from hibari.contracts import LimitReached, NotFound, QuotaReached
from hibari.db import Database
from hibari.jobs import Policy, State


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database)


def test_what_counts_and_until_when(queue: Queue) -> None:
    owner = queue.owner()
    completed, failed, deleted = (queue.add(expected_bytes=100) for _ in range(3))
    queue.add("bob", expected_bytes=5)
    assert queue.stored.used_bytes(owner) == 300
    queue.worker("a").complete(queue.claim("a"), {}, stored_bytes=40)
    queue.claim("b")  # bob's turn
    assert queue.stored.used_bytes(owner) == 240
    queue.jobs.cancel(failed.id)
    assert queue.stored.used_bytes(owner) == 140
    queue.jobs.delete(deleted.id)
    queue.stored.add(owner, "uploads/1/input.png", 7)
    assert queue.stored.used_bytes(owner) == 47
    queue.stored.forget("uploads/1/input.png")
    queue.stored.forget("uploads/1/input.png")
    queue.jobs.delete(completed.id)
    assert queue.stored.used_bytes(owner) == 0


def test_there_is_no_room_beyond_the_quota(queue: Queue) -> None:
    owner = queue.owner(max_stored_bytes=100)
    job = queue.add(expected_bytes=60)
    queue.stored.add(owner, "a", 40)
    for ask in (lambda: queue.add(expected_bytes=1), lambda: queue.stored.add(owner, "b", 1)):
        with pytest.raises(QuotaReached, match="are taken; delete videos first"):
            ask()
    assert queue.stored.used_bytes(owner) == 100, "what was refused does not count"
    queue.add("bob", expected_bytes=10**12)
    queue.jobs.delete(job.id)
    queue.add(expected_bytes=60)
    assert issubclass(QuotaReached, LimitReached)
    with pytest.raises(NotFound):
        queue.stored.add("acct_none", "c", 1)


def test_an_estimate_that_was_too_low_does_not_lead_beyond_the_quota(queue: Queue) -> None:
    owner = queue.owner(max_stored_bytes=100)
    for _ in range(2):
        queue.add(expected_bytes=30)
    first, second = queue.claim("a"), queue.claim("b")
    queue.worker("a").complete(first, {}, stored_bytes=70)  # just what there is
    with pytest.raises(QuotaReached, match="larger than was expected"):
        queue.worker("b").complete(second, {}, stored_bytes=31)
    assert queue.stored.used_bytes(owner) == 100
    assert queue.jobs.get(second.job.id).state is State.RUNNING
    queue.worker("b").complete(second, {}, stored_bytes=30)


def test_the_policy_holds_where_the_account_says_nothing(database: Database) -> None:
    queue = Queue(database, Policy(max_stored_bytes=10))
    with pytest.raises(QuotaReached):
        queue.add(expected_bytes=11)
    queue.owner("bob", max_stored_bytes=11)
    queue.add("bob", expected_bytes=11)


def test_two_who_ask_at_once_do_not_both_get_the_last_room(shared_database: Database) -> None:
    queue = Queue(shared_database)
    owner = queue.owner(max_stored_bytes=100)

    def store(number: int) -> bool:
        try:
            queue.stored.add(owner, f"uploads/{number}", 30)
        except QuotaReached:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(store, range(6))) == 3
    assert queue.stored.used_bytes(owner) == 90
