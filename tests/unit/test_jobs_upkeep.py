"""Defends: what is over goes, files before rows, and the operator's numbers are right."""

from __future__ import annotations

import pytest
from queue_bench import Queue
from sqlalchemy import func, select

from hibari.contracts import NotFound
from hibari.db import Database
from hibari.db.schema import events
from hibari.jobs import State
from hibari.jobs.moves import TIDY_AFTER_S


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database)


def test_a_finished_job_is_kept_for_its_time_and_no_longer(queue: Queue) -> None:
    kept, for_ever = queue.add(keep_s=100), queue.add()
    for _ in (kept, for_ever):
        queue.worker().complete(queue.claim(), {})
    queue.clock.pass_s(99)
    assert (queue.upkeep.sweep(), queue.upkeep.to_purge()) == (0, [])
    queue.clock.pass_s(1)
    assert queue.upkeep.sweep() == 1
    with pytest.raises(NotFound):
        queue.jobs.get(kept.id)
    assert queue.upkeep.to_purge() == [kept.id]  # until its files have gone
    queue.upkeep.purge(kept.id)
    queue.upkeep.purge(kept.id)
    queue.upkeep.purge(for_ever.id)  # not deleted: stays
    assert queue.upkeep.to_purge() == []
    assert [job.id for job in queue.jobs.page().jobs] == [for_ever.id]
    with queue.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(events)).scalar_one() == 3


def test_a_job_that_waits_does_not_expire(queue: Queue) -> None:
    job = queue.add(keep_s=1)
    queue.clock.pass_s(1000)
    assert queue.upkeep.sweep() == 0
    assert queue.jobs.cancel(job.id).state is State.CANCELLED
    queue.clock.pass_s(1)
    assert queue.upkeep.sweep() == 1


def test_what_is_over_is_tidied_up_once_its_worker_had_its_time(queue: Queue) -> None:
    """A worker that died, or that never heard of the end, leaves checkpoints of which nobody else would think."""
    completed, died, cancelled, deleted, waiting = (queue.add() for _ in range(5))
    queue.worker("a").complete(queue.claim("a"), {})
    queue.worker("b").heartbeat(queue.claim("b"), step=1, checkpoint="somewhere")
    for job in (cancelled, deleted):
        queue.jobs.cancel(job.id)
    queue.jobs.delete(deleted.id)
    queue.clock.pass_s(queue.policy.lease_s)
    assert [job.id for job in queue.upkeep.to_tidy()] == [cancelled.id], "no worker was ever busy with it"
    queue.clock.pass_s(TIDY_AFTER_S)
    assert {job.id for job in queue.upkeep.to_tidy()} == {completed.id, cancelled.id}
    for job in (completed, cancelled):
        queue.upkeep.tidied(job.id)
    queue.jobs.cancel(died.id)
    queue.clock.pass_s(100)
    queue.upkeep.sweep()
    assert queue.jobs.get(died.id).state is State.CANCELLED
    assert queue.upkeep.to_tidy() == []
    queue.clock.pass_s(TIDY_AFTER_S)
    assert [job.id for job in queue.upkeep.to_tidy(limit=1)] == [died.id]
    assert queue.jobs.get(waiting.id).state is State.QUEUED


def test_only_so_many_are_purged_at_once(queue: Queue) -> None:
    ids = [queue.add().id for _ in range(3)]
    for job_id in ids:
        queue.jobs.delete(job_id)
    assert queue.upkeep.to_purge(limit=2) == ids[:2]


def test_how_the_work_goes_is_measured(queue: Queue) -> None:
    assert (queue.upkeep.measures().step_s, queue.upkeep.measures().first_preview_s) == ({}, ())
    for waited_s in (3, 1):
        queue.add(pace="a", steps=4)
        queue.clock.pass_s(waited_s)
        claim = queue.claim()
        queue.worker().heartbeat(claim, step=0, preview="x")
        queue.clock.pass_s(8)
        queue.worker().heartbeat(claim, step=3, preview="y")
        queue.worker().complete(claim, {})
    queue.add()
    queue.worker().fail(queue.claim(), "out_of_memory", "too large")
    queue.jobs.cancel(queue.add().id)
    measures = queue.upkeep.measures()
    assert measures.step_s == {"a": 2.0}
    assert measures.first_preview_s == (1.0, 3.0), "the first preview counts, and no later one"
    assert measures.failures == {"out_of_memory": 1}


def test_a_number_is_never_given_twice(queue: Queue) -> None:
    last = queue.add()
    queue.jobs.delete(last.id)
    queue.upkeep.purge(last.id)
    assert queue.add().number > last.number


def test_the_operator_sees_how_things_stand(queue: Queue) -> None:
    assert queue.upkeep.stats().oldest_queued_s == 0
    assert set(queue.upkeep.stats().counts.values()) == {0}
    queue.add()
    queue.claim()
    queue.clock.pass_s(3)
    queue.add()
    queue.jobs.delete(queue.add().id)
    queue.clock.pass_s(4)
    queue.jobs.cancel(queue.add().id)
    stats = queue.upkeep.stats()
    assert stats.oldest_queued_s == 4
    assert stats.counts == {
        State.QUEUED: 1,
        State.RUNNING: 1,
        State.CANCELLED: 1,
        State.COMPLETED: 0,
        State.FAILED: 0,
    }
