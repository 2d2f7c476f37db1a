"""Defends: one holder a job, fair turns, and every way in which an attempt ends."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest
from queue_bench import START, Queue
from sqlalchemy import Connection

from hibari.contracts import ClaimLost, InvalidRequest, NotFound
from hibari.db import Database
from hibari.jobs import Claim, Order, PauseScope, Policy, State, worker_name


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database)


def test_a_job_is_claimed_once_and_finished_once(queue: Queue) -> None:
    job, worker = queue.add(keep_s=3600), queue.worker()
    claim = queue.claim()
    assert (claim.job.id, claim.job.state, claim.job.worker, claim.attempt) == (
        job.id,
        State.RUNNING,
        "w1",
        1,
    )
    assert claim.job.started_at is None  # the model may still be loading
    assert queue.worker("w2").claim() is None
    queue.clock.pass_s(2)
    worker.heartbeat(claim, step=0)
    worker.heartbeat(claim, step=5, preview="p/5", checkpoint="c/5")
    seen = queue.jobs.get(job.id)
    assert (seen.started_at, seen.progress, seen.preview, seen.checkpoint) == (START + 2, 50, "p/5", "c/5")
    worker.heartbeat(claim, step=10)
    assert queue.jobs.get(job.id).progress == 99
    result = {"keys": {"video": f"{job.id}/1/video.mp4"}, "recipe": {"seed": 7}}
    done = worker.complete(claim, result)
    assert (done.state, done.progress, done.result) == (State.COMPLETED, 100, result)
    assert (done.finished_at, done.expires_at) == (START + 2, START + 2 + 3600)
    with pytest.raises(ClaimLost):
        worker.complete(claim, result)
    assert queue.kinds(job.id) == ["created", "claimed", "progress", "completed"]


def _all_calls(queue: Queue, worker: str, claim: Any) -> None:
    holder = queue.worker(worker)
    calls = (
        lambda: holder.heartbeat(claim, step=9),
        lambda: holder.complete(claim, {}),
        lambda: holder.fail(claim, "code", "message", retry=True),
        lambda: holder.cancelled(claim),
        lambda: holder.release(claim),
    )
    for call in calls:
        before = queue.jobs.page().jobs
        with pytest.raises(ClaimLost):
            call()
        assert queue.jobs.page().jobs == before


def test_a_worker_that_was_too_slow_can_say_nothing_any_more(queue: Queue) -> None:
    queue.add()
    slow = queue.claim("slow")
    queue.clock.pass_s(10)
    fast = queue.claim("fast")
    assert fast.attempt == 2
    _all_calls(queue, "slow", slow)
    _all_calls(queue, "slow", fast)  # not even with the other's token
    assert queue.worker("fast").complete(fast, {}).state is State.COMPLETED
    _all_calls(queue, "slow", slow)


def test_an_older_claim_of_the_same_worker_is_as_stale(queue: Queue) -> None:
    queue.add()
    old = queue.claim()
    queue.clock.pass_s(10)
    new = queue.claim()
    _all_calls(queue, "w1", old)
    assert queue.worker().heartbeat(new) is Order.GO_ON


def test_a_late_heartbeat_keeps_a_job_that_nobody_took(queue: Queue) -> None:
    queue.add()
    claim = queue.claim()
    queue.clock.pass_s(11)
    assert queue.worker().heartbeat(claim) is Order.GO_ON
    assert queue.worker("w2").claim() is None


def test_a_deleted_job_is_taken_from_its_worker(queue: Queue) -> None:
    job = queue.add()
    claim = queue.claim()
    queue.jobs.delete(job.id)
    _all_calls(queue, "w1", claim)
    with pytest.raises(NotFound):
        queue.jobs.get(job.id)
    assert queue.upkeep.to_purge() == []  # the worker may not have heard of it, and write
    queue.clock.pass_s(10)
    assert queue.upkeep.sweep() == 0
    assert queue.worker("w2").claim() is None
    assert queue.upkeep.to_purge() == [job.id]
    queue.upkeep.purge(job.id)
    assert queue.upkeep.to_purge() == []
    _all_calls(queue, "w1", claim)


def test_owners_take_turns_however_much_one_has_queued(queue: Queue) -> None:
    for _ in range(6):
        queue.add("greedy")
    queue.clock.pass_s(100)
    queue.add("modest")
    queue.add("modest")
    queue.add("third")
    served: list[str] = []
    names = {account: name for name, account in queue.owners.items()}
    for _ in range(9):  # one at a time: nobody ever has one running when the next is chosen
        queue.clock.pass_s(1)
        claim = queue.claim()
        served.append(names[claim.job.owner])
        queue.worker().complete(claim, {})
    assert served[:5] == ["greedy", "modest", "third", "greedy", "modest"]
    assert served[5:] == ["greedy"] * 4


def test_who_has_fewest_running_comes_first(queue: Queue) -> None:
    for owner in ("ann", "ann", "ann", "bob"):
        queue.add(owner)
    first, second = queue.claim(), queue.claim()
    assert {first.job.owner, second.job.owner} == set(queue.owners.values())
    queue.clock.pass_s(1)
    queue.add("bob")
    queue.worker().complete(first, {})  # ann's
    assert queue.claim().job.owner == queue.owner("ann")


def test_priority_comes_before_turns_and_age_decides_the_rest(queue: Queue) -> None:
    late = [queue.add(), queue.add()]
    urgent = queue.add(priority=5)
    low = queue.add("bob", priority=-1)
    assert [queue.claim().job.id for _ in range(4)] == [urgent.id, late[0].id, late[1].id, low.id]


def test_running_jobs_of_an_owner_are_limited(database: Database) -> None:
    queue = Queue(database, Policy(max_running=2))
    queue.owner("modest", max_running=1)
    queue.owner("none", max_running=0)
    for owner in ("ann", "modest", "none") * 3:
        queue.add(owner)
    held = [queue.claim() for _ in range(3)]
    assert queue.worker().claim() is None
    queue.worker().release(next(claim for claim in held if claim.job.owner == queue.owner("modest")))
    assert queue.claim().job.owner == queue.owner("modest")
    assert queue.worker().claim() is None


def test_a_worker_takes_only_models_that_it_has(queue: Queue) -> None:
    queue.add(model="mochi")
    mine = queue.add(model="mini")
    claim = queue.worker().claim(models=["mini", "testcard"])
    assert claim is not None
    assert claim.job.id == mine.id
    assert queue.worker().claim(models=["mini"]) is None
    assert queue.worker().claim(models=[]) is None


def test_a_failure_that_may_pass_is_tried_again_after_a_pause(queue: Queue) -> None:
    job, worker = queue.add(), queue.worker()
    for wait_s in (5, 10):
        claim = queue.claim()
        worker.heartbeat(claim, step=3, checkpoint="c/3")
        again = worker.fail(claim, "out_of_memory", "needs 9 GB", retry=True)
        assert (again.state, again.checkpoint, again.error_code) == (State.QUEUED, "c/3", None)
        queue.clock.pass_s(wait_s - 0.1)
        assert worker.claim() is None
        queue.clock.pass_s(0.1)
    failed = worker.fail(queue.claim(), "out_of_memory", "needs 9 GB", retry=True)
    assert (failed.state, failed.failures, failed.error_code) == (State.FAILED, 3, "out_of_memory")
    assert failed.error_message == "needs 9 GB"
    events = queue.jobs.events(job.id)
    assert [event.kind.value for event in events if event.kind.value != "progress"] == [
        "created",
        *("claimed", "retried") * 2,
        "claimed",
        "failed",
    ]
    assert events[-1].data == {"code": "out_of_memory", "message": "needs 9 GB"}


def test_a_failure_that_will_not_pass_is_final(queue: Queue) -> None:
    queue.add()
    failed = queue.worker().fail(queue.claim(), "bad\0code", "what \0 came: \ud800" + "x" * 9999)
    assert (failed.state, failed.error_code) == (State.FAILED, "badcode")
    assert failed.error_message is not None
    assert failed.error_message.startswith("what  came: ?xx")
    assert len(failed.error_message) <= 2000


def test_a_job_that_kills_its_worker_twice_does_not_come_back(queue: Queue) -> None:
    job = queue.add()
    for number in (1, 2):
        claim = queue.claim(f"w{number}")
        queue.worker(f"w{number}").heartbeat(claim, step=7)
        queue.clock.pass_s(10)
        assert queue.upkeep.sweep() == 1
    failed = queue.jobs.get(job.id)
    assert (failed.state, failed.error_code, failed.crashes) == (State.FAILED, "worker_died", 2)
    assert (
        failed.error_message == "2 workers died while they made this video, at step 7; it is not tried again"
    )
    assert queue.worker("w3").claim() is None
    assert [kind for kind in queue.kinds(job.id) if kind != "progress"] == [
        "created",
        "claimed",
        "retried",
        "claimed",
        "failed",
    ]


def test_the_step_that_clears_a_job_outlives_the_database(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost with a database that is killed, it would leave a job blamed for the death of the worker beside it."""
    queue.add()
    waited: list[bool] = []
    write = queue.database.write

    def watched(*, durable: bool = True) -> AbstractContextManager[Connection]:
        waited.append(durable)
        return write(durable=durable)

    def beat(claim: Claim, step: int) -> bool:
        with monkeypatch.context() as patch:
            patch.setattr(queue.database, "write", watched)
            queue.worker().heartbeat(claim, step=step)
        return waited.pop()

    assert not beat(queue.claim(), 1), "where nothing hangs on it, a step does not wait for the disk"
    queue.clock.pass_s(11)
    assert beat(queue.claim(), 2)


def test_a_job_that_gets_further_each_time_is_not_to_blame(queue: Queue) -> None:
    queue.add()
    for step in range(1, 10):
        claim = queue.claim()
        assert claim.job.crashes == (0 if step == 1 else 1)
        queue.worker().heartbeat(claim, step=step, checkpoint=f"c/{step}")
        queue.clock.pass_s(10)
    claim = queue.claim()
    assert claim.job.checkpoint == "c/9"
    assert queue.worker().complete(claim, {}).state is State.COMPLETED


def test_after_a_death_each_job_runs_alone_until_it_is_further(queue: Queue) -> None:
    jobs = [queue.add() for _ in range(3)]
    for _ in jobs:
        queue.worker("dead").heartbeat(queue.claim("dead"), step=2)
    queue.clock.pass_s(10)
    queue.upkeep.sweep()
    fresh = queue.add("bob", priority=-1)
    first = queue.claim("w1")
    assert first.job.id == jobs[0].id
    assert queue.worker("w1").claim() is None  # neither the other suspects nor anything else
    second = queue.claim("w2")
    assert second.job.id == jobs[1].id
    queue.worker("w1").heartbeat(first, step=3)  # further than where the worker died: not to blame
    assert queue.worker("w1").claim() is None  # the next in turn is a suspect, and it must come alone
    queue.worker("w1").complete(first, {})
    assert queue.claim("w1").job.id == jobs[2].id
    queue.worker("w2").complete(second, {})
    assert queue.claim("w2").job.id == fresh.id


def test_a_worker_that_stops_gives_its_jobs_back_unharmed(queue: Queue) -> None:
    first, second = queue.add(), queue.add()
    worker = queue.worker()
    for number in range(1, 6):  # as often as it likes
        claim = queue.claim()
        assert (claim.job.id, claim.attempt) == (first.id, number)
        worker.heartbeat(claim, step=number)
        worker.release(claim, checkpoint=f"c/{number}" if number % 2 else None)
    job = queue.jobs.get(first.id)
    assert (job.failures, job.crashes, job.checkpoint) == (0, 0, "c/5")
    assert queue.jobs.get(second.id).attempt == 0


@pytest.mark.parametrize("way", ["release", "fail", "death"])
def test_a_job_that_was_to_be_cancelled_does_not_go_back_into_the_queue(queue: Queue, way: str) -> None:
    job = queue.add()
    claim = queue.claim()
    queue.jobs.cancel(job.id)
    if way == "release":
        queue.worker().release(claim)
    elif way == "fail":
        queue.worker().fail(claim, "out_of_memory", "", retry=True)
    else:
        queue.clock.pass_s(10)
        queue.upkeep.sweep()
    assert queue.jobs.get(job.id).state is State.CANCELLED


def test_a_deadline_ends_a_job_wherever_it_is(queue: Queue) -> None:
    waiting = queue.add(deadline_at=START + 5)
    swept = queue.add("bob", deadline_at=START + 5)
    running = queue.add("cyd", deadline_at=START + 8)
    queue.jobs.pause(PauseScope.owner(queue.owner("ann")))
    claims = {claim.job.id: claim for claim in (queue.claim(), queue.claim())}
    queue.clock.pass_s(5)
    assert queue.worker("w2").claim() is None  # a claim sweeps as well
    for job in (waiting, swept):
        ended = queue.jobs.get(job.id)
        assert (ended.state, ended.error_code) == (State.FAILED, "deadline_exceeded")
    with pytest.raises(ClaimLost):
        queue.worker().heartbeat(claims[swept.id])
    queue.clock.pass_s(3)
    with pytest.raises(ClaimLost, match="deadline"):
        queue.worker().heartbeat(claims[running.id], step=3)
    assert queue.jobs.get(running.id).error_code == "deadline_exceeded"


def test_impossible_steps_are_refused(queue: Queue) -> None:
    queue.add(steps=None)
    claim = queue.claim()
    for step, steps in ((-1, None), (1, 0)):
        with pytest.raises(InvalidRequest):
            queue.worker().heartbeat(claim, step=step, steps=steps)
    queue.worker().heartbeat(claim, step=1)
    assert queue.jobs.get(claim.job.id).progress == 0
    queue.worker().heartbeat(claim, step=1, steps=4)
    assert queue.jobs.get(claim.job.id).progress == 25


def test_names_of_workers_differ() -> None:
    assert worker_name() != worker_name()


@pytest.mark.parametrize("values", [{"lease_s": 0}, {"backoff_s": float("nan")}, {"max_crashes": 0}])
def test_a_policy_that_cannot_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Policy(**values)
    assert caught.value.field == next(iter(values))


def test_the_pause_between_attempts_has_an_end() -> None:
    policy = Policy(backoff_s=5, max_backoff_s=300)
    assert [policy.backoff(failures) for failures in (1, 2, 3, 7, 10_000)] == [5, 10, 20, 300, 300]
