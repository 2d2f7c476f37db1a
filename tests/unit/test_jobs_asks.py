"""Defends: who asks gets what is theirs, exactly once, in order, and nothing that was deleted."""

from __future__ import annotations

from typing import Any

import pytest
from queue_bench import START, Queue
from sqlalchemy import event

from hibari import jobs as package
from hibari.accounts import Role
from hibari.contracts import Conflict, InvalidRequest, LimitReached, NotFound
from hibari.db import Database
from hibari.jobs import Happening, Job, Jobs, NewJob, Order, PauseScope, Policy, State, Wanted
from hibari.jobs.states import TRANSITIONS


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database)


def test_the_table_of_the_page_is_the_table() -> None:
    assert package.__doc__ is not None
    lines = package.__doc__.split("happening    from", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    said = {line.split()[0]: [*line[17:37].replace(",", " ").split(), line[37:].split()[0]] for line in lines}
    order = list(State)
    there = {
        happening.value: [state.value for state in sorted(before, key=order.index)] + [after.value]
        for happening, (before, after) in TRANSITIONS.items()
    }
    there["created"].insert(0, "-")
    assert said == there
    assert set(Happening) == {*TRANSITIONS, Happening.PROGRESS}


def test_a_job_comes_back_as_it_was_asked_for(queue: Queue) -> None:
    asked: dict[str, Any] = {"prompt": 'ein "Ä" 日本 🎈 \\ \n', "cards": [{"at_s": 0.5}], "seed": 2**63 - 1}
    key = queue.accounts.create_key(queue.owner(), "laptop").key
    made = queue.add(
        request=asked,
        key_id=key.id,
        pace="testcard 96x64",
        priority=3,
        deadline_at=START + 60,
        remixed_from="video_1",
        sources=("video_2", "video_3"),
    )
    job = queue.jobs.get(made.id, owner=queue.owner())
    assert job == made
    assert (job.state, job.request, job.created_at) == (State.QUEUED, asked, START)
    assert (job.steps, job.step, job.progress, job.attempt) == (10, 0, 0, 0)
    assert (job.remixed_from, job.sources, job.key_id) == ("video_1", ("video_2", "video_3"), key.id)
    assert job.id.startswith("video_")
    assert queue.kinds(job.id) == ["created"]


def test_nobody_sees_the_jobs_of_another_owner(queue: Queue) -> None:
    job, other = queue.add("ann"), queue.owner("bob")
    for ask in (queue.jobs.get, queue.jobs.cancel, queue.jobs.delete, queue.jobs.events, queue.jobs.look):
        with pytest.raises(NotFound, match="there is no video"):
            ask(job.id, owner=other)
    assert queue.jobs.page(owner=other).jobs == ()
    with pytest.raises(InvalidRequest):
        queue.jobs.page(owner=other, after=job.id)
    assert queue.jobs.get(job.id) == job


@pytest.mark.parametrize("name", ["video_1", "", "video_" + "0" * 32, "video_\0", "\ud800", "' OR 1=1 --"])
def test_an_id_that_is_none_is_not_found(queue: Queue, name: str) -> None:
    with pytest.raises(NotFound):
        queue.jobs.get(name)
    with pytest.raises(InvalidRequest, match="must be the id of a video of this list"):
        queue.jobs.page(after=name)


@pytest.mark.parametrize(
    ("values", "field"),
    [({"steps": 0}, "steps"), ({"keep_s": 0.0}, "keep_s"), ({"idempotency_key": "a b"}, "idempotency_key")],
)
def test_what_cannot_be_is_refused(queue: Queue, values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        queue.add(**values)
    assert caught.value.field == field
    with pytest.raises(NotFound, match="no account"):
        queue.jobs.create(NewJob(owner="acct_nobody", model="testcard", request={}))


def test_an_idempotency_key_makes_one_job(queue: Queue) -> None:
    new = NewJob(owner=queue.owner(), model="testcard", request={"prompt": "a"}, idempotency_key="k1")
    first = queue.jobs.create(new)
    queue.claim()
    again = queue.jobs.create(new)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.job.id == first.job.id
    assert again.job.state is State.RUNNING
    theirs = NewJob(owner=queue.owner("bob"), model="testcard", request={}, idempotency_key="k1")
    assert queue.jobs.create(theirs).job.id != first.job.id


def test_an_idempotency_key_with_another_request_is_a_conflict(queue: Queue) -> None:
    owner = queue.owner()
    job = queue.add(request={"prompt": "a"}, idempotency_key="k1")
    for other in ({"request": {"prompt": "b"}}, {"model": "mini"}, {"sources": ("video_1",)}):
        with pytest.raises(Conflict, match="used with another request"):
            queue.add(**{"request": {"prompt": "a"}, "idempotency_key": "k1", **other})
    # What the caller says is the same is the same, although a seed was drawn in between.
    for seed in (1, 2):
        new = NewJob(owner, "mini", {"seed": seed}, idempotency_key="k2", fingerprint="same")
        created = queue.jobs.create(new)
        assert created.replayed is (seed == 2)
    queue.jobs.delete(job.id)
    with pytest.raises(Conflict, match="has been deleted"):
        queue.add(request={"prompt": "a"}, idempotency_key="k1")


def test_an_owner_may_have_so_many_queued_and_another_is_not_hindered(database: Database) -> None:
    queue = Queue(database, Policy(max_queued=2))
    queue.owner("modest", max_queued=1)
    queue.owner("nobody", max_queued=0)
    jobs = [queue.add("ann"), queue.add("ann")]
    with pytest.raises(LimitReached, match="2 videos are queued, and 2 may be"):
        queue.add("ann")
    queue.add("modest")
    for name in ("modest", "nobody"):
        with pytest.raises(LimitReached):
            queue.add(name)
    queue.jobs.cancel(jobs[0].id)
    queue.add("ann")


def test_pages_stay_in_place_while_jobs_arrive_and_go(queue: Queue) -> None:
    made = [queue.add().id for _ in range(5)]
    queue.add("bob")
    first = queue.jobs.page(owner=queue.owner(), limit=2)
    assert [job.id for job in first.jobs] == [made[4], made[3]]
    assert first.has_more
    made.append(queue.add().id)
    queue.jobs.delete(made[3])  # the very one that the next page begins after
    second = queue.jobs.page(owner=queue.owner(), limit=3, after=made[3])
    assert [job.id for job in second.jobs] == [made[2], made[1], made[0]]
    assert not second.has_more
    oldest = queue.jobs.page(owner=queue.owner(), newest_first=False)
    assert [job.id for job in oldest.jobs] == [*made[:3], *made[4:]]
    after = queue.jobs.page(owner=queue.owner(), newest_first=False, after=made[4])
    assert [job.id for job in after.jobs] == [made[5]]
    queue.jobs.cancel(made[0])
    done = queue.jobs.page(wanted=Wanted(states=[State.CANCELLED]))
    assert [job.id for job in done.jobs] == [made[0]]
    queue.upkeep.purge(made[3])
    with pytest.raises(InvalidRequest) as caught:
        queue.jobs.page(after=made[3])
    assert caught.value.field == "after"
    for limit in (0, 101):
        with pytest.raises(InvalidRequest, match="must be 1 to 100"):
            queue.jobs.page(limit=limit)


def test_cancel_is_at_once_for_a_queued_job_and_asked_of_the_worker_for_a_running_one(queue: Queue) -> None:
    queued = queue.jobs.cancel(queue.add().id)
    assert (queued.state, queued.error_code, queued.finished_at) == (State.CANCELLED, "cancelled", START)
    assert queue.worker().claim() is None
    job, worker = queue.add(), queue.worker()
    claim = queue.claim()
    assert worker.heartbeat(claim, step=1) is Order.GO_ON
    asked = queue.jobs.cancel(job.id)
    assert (asked.state, asked.cancel_requested) == (State.RUNNING, True)
    assert queue.jobs.cancel(job.id) == asked
    assert worker.heartbeat(claim, step=2) is Order.CANCEL
    assert worker.cancelled(claim).state is State.CANCELLED
    assert queue.jobs.cancel(job.id).state is State.CANCELLED
    assert queue.kinds(job.id) == ["created", "claimed", "progress", "cancelled"]


def test_a_finished_job_cannot_be_cancelled_and_a_late_cancel_loses(queue: Queue) -> None:
    job = queue.add()
    claim = queue.claim()
    queue.jobs.cancel(job.id)
    assert queue.worker().complete(claim, {"video": "k"}).state is State.COMPLETED
    assert queue.jobs.cancel(job.id).state is State.COMPLETED


def test_all_jobs_of_a_key_an_owner_or_everybody_are_cancelled(queue: Queue) -> None:
    key = queue.accounts.create_key(queue.owner("ann"), "laptop").key.id
    by_key, by_ann, by_bob = queue.add("ann", key_id=key), queue.add("ann"), queue.add("bob")
    running = queue.claim()
    assert running.job.id == by_key.id
    assert queue.jobs.cancel_all(PauseScope.key(key)) == 1
    assert queue.jobs.get(by_key.id).cancel_requested
    assert queue.jobs.get(by_ann.id).state is State.QUEUED
    assert queue.jobs.cancel_all(PauseScope.owner(queue.owner("ann"))) == 2
    assert queue.jobs.get(by_ann.id).state is State.CANCELLED
    assert queue.jobs.get(by_bob.id).state is State.QUEUED
    assert queue.jobs.cancel_all(PauseScope.everything()) == 2
    assert queue.jobs.get(by_bob.id).state is State.CANCELLED


def test_a_deleted_job_is_gone_for_everybody_at_once(queue: Queue) -> None:
    job = queue.add()
    queue.jobs.delete(job.id)
    for ask in (queue.jobs.get, queue.jobs.cancel, queue.jobs.delete, queue.jobs.events, queue.jobs.look):
        with pytest.raises(NotFound):
            ask(job.id)
    assert queue.jobs.page().jobs == ()
    assert queue.worker().claim() is None
    queue.clock.pass_s(1000)
    queue.upkeep.sweep()
    assert queue.worker().claim() is None


def test_events_go_on_after_the_last_that_was_seen(queue: Queue) -> None:
    job, worker = queue.add(), queue.worker()
    claim = queue.claim()
    worker.heartbeat(claim, step=0)
    worker.heartbeat(claim, step=1, preview="p/1")
    worker.heartbeat(claim)  # no news
    queue.clock.pass_s(1)
    worker.heartbeat(claim, step=2)
    events = queue.jobs.events(job.id)
    assert [(event.number, event.kind.value) for event in events] == [
        (1, "created"),
        (2, "claimed"),
        (5, "progress"),
    ]
    assert events[1].data == {"attempt": 1}
    assert events[2].data == {"step": 2, "steps": 10, "preview": "p/1"}
    assert events[2].at == START + 1
    assert queue.jobs.events(job.id, after=5) == []
    worker.complete(claim, {})
    last = queue.jobs.events(job.id, after=5, owner=queue.owner())
    assert [(event.number, event.state) for event in last] == [(6, State.COMPLETED)]
    assert len(queue.jobs.events(job.id, limit=2)) == 2


def test_a_paused_key_stops_with_its_jobs_and_goes_on_where_it_was(queue: Queue) -> None:
    key = queue.accounts.create_key(queue.owner("ann"), "laptop", role=Role.ADMIN).key.id
    running, waiting, other = queue.add(key_id=key), queue.add(key_id=key), queue.add("bob")
    worker = queue.worker()
    claim = queue.claim()
    scope = PauseScope.key(key)
    queue.jobs.pause(scope)
    queue.jobs.pause(scope)
    assert worker.heartbeat(claim, step=4) is Order.RELEASE
    back = worker.release(claim, checkpoint="c/4")
    assert (back.state, back.checkpoint, back.step) == (State.QUEUED, "c/4", 4)
    assert queue.claim().job.id == other.id
    assert queue.worker("w2").claim() is None
    queue.add(key_id=key)  # a paused key can still queue
    queue.jobs.resume(scope)
    resumed = queue.claim("w2")
    assert (resumed.job.id, resumed.job.checkpoint, resumed.job.step, resumed.attempt) == (
        running.id,
        "c/4",
        4,
        2,
    )
    assert queue.worker("w2").heartbeat(resumed, step=4) is Order.GO_ON
    assert queue.claim("w2").job.id == waiting.id


@pytest.mark.parametrize("kind", ["owner", "everything"])
def test_an_owner_or_everything_is_paused(queue: Queue, kind: str) -> None:
    queue.add("ann")
    claim = queue.claim()
    queue.add("ann")
    queue.add("bob")
    scope = PauseScope.everything() if kind == "everything" else PauseScope.owner(queue.owner("ann"))
    queue.jobs.pause(scope)
    queue.jobs.pause(scope)
    assert queue.jobs.paused() == (START if kind == "everything" else None)
    assert queue.worker().heartbeat(claim) is Order.RELEASE
    others = queue.worker("w2").claim()
    assert (others is None) is (kind == "everything")
    queue.jobs.resume(scope)
    assert queue.jobs.paused() is None
    assert queue.worker().heartbeat(claim) is Order.GO_ON
    assert queue.worker("w2").claim() is not None
    for missing in (PauseScope.key("key_0"), PauseScope.owner("acct_0")):
        with pytest.raises(NotFound):
            queue.jobs.pause(missing)


def test_an_estimate_comes_from_what_was_measured(queue: Queue) -> None:
    def estimate(job: Job) -> tuple[int, float | None]:
        found = queue.jobs.estimate(job.id)
        assert found is not None
        return found.position, found.seconds_left

    job, worker = queue.add(pace="p"), queue.worker()
    assert estimate(job) == (0, None)
    claim = queue.claim()
    worker.heartbeat(claim, step=0)
    assert estimate(job) == (0, None)
    queue.clock.pass_s(6)
    worker.heartbeat(claim, step=3)
    assert estimate(job) == (0, pytest.approx(14))
    queue.clock.pass_s(4)
    worker.complete(claim, {})
    assert queue.jobs.estimate(job.id) is None
    # Measured: one second a step. Two wait, 10 and 20 steps long, and are made one after the other.
    first, second = queue.add(pace="p"), queue.add(pace="p", steps=20)
    assert estimate(first) == (0, pytest.approx(10))
    assert estimate(second) == (1, pytest.approx(15 + 20))  # what is ahead counts as the mean of what waits
    third = queue.add(pace="never measured")
    assert estimate(third) == (2, None)
    # Owners take turns: a newcomer waits for one of ann's three, and higher priority for none.
    newcomer = queue.add("bob", pace="p")
    assert estimate(newcomer)[0] == 1
    assert estimate(queue.add("bob", priority=1)) == (0, None)
    # What runs counts as one lane, and with what it has still to do.
    running = queue.worker().claim(models=["testcard"])
    assert running is not None
    assert running.job.priority == 1
    worker.heartbeat(running, step=0)
    assert estimate(first)[0] == 1  # behind bob's, now


def test_a_page_estimates_its_jobs_in_one_go(queue: Queue) -> None:
    queue.add(pace="p")
    done, claim = queue.worker(), queue.claim()
    done.heartbeat(claim, step=0)
    queue.clock.pass_s(10)
    done.complete(claim, {})
    queue.add(pace="p")
    done.heartbeat(queue.claim(), step=1)  # it runs, and is in its first step
    queue.add("bob", pace="p", priority=1)
    for steps in (10, 20, 30):
        queue.add(pace="p", steps=steps)
    queue.add(pace="never measured")
    statements: list[str] = []
    listener: Any = lambda _, __, statement, *___: statements.append(statement)  # noqa: E731
    event.listen(queue.database.engine, "before_cursor_execute", listener)
    page = queue.jobs.page(limit=100, estimated=True)
    event.remove(queue.database.engine, "before_cursor_execute", listener)
    assert (
        len([one for one in statements if one.startswith("SELECT")]) == 4
    )  # jobs, a pace, the queue, places in it
    singly = {job.id: queue.jobs.estimate(job.id) for job in page.jobs}
    assert page.estimates == {name: one for name, one in singly.items() if one is not None}
    assert [page.estimates[job.id].position for job in page.jobs[:6]] == [4, 3, 2, 1, 0, 0]
    assert len(page.estimates) == 6
    assert queue.jobs.page(limit=100).estimates == {}


def test_news_are_what_came_after_an_event(queue: Queue) -> None:
    job, claim = queue.add(), queue.claim()
    queue.worker().heartbeat(claim, step=3)
    found, estimate, happened = queue.jobs.news(job.id, after=0)
    assert (found, estimate) == queue.jobs.look(job.id)
    assert (found.step, estimate) == (3, queue.jobs.estimate(job.id))
    assert happened == queue.jobs.events(job.id)
    last = happened[-1].number
    assert [event.number for event in queue.jobs.news(job.id, after=last - 1)[2]] == [last]
    assert queue.jobs.news(job.id, after=last) == (found, None, [])
    queue.worker().complete(claim, {})
    found, estimate, happened = queue.jobs.news(job.id, after=last)
    assert (found.state, estimate) == (State.COMPLETED, None)
    assert [event.kind.value for event in happened] == ["completed"]
    for wrong in (queue.owner("bob"), "acct_0"):
        with pytest.raises(NotFound):
            queue.jobs.news(job.id, after=0, owner=wrong)


def test_a_pace_follows_what_is_measured(queue: Queue) -> None:
    def run(seconds: float, *, first_step: int = 0) -> None:
        queue.add(pace="p")
        claim = queue.claim()
        queue.worker().heartbeat(claim, step=first_step)
        queue.clock.pass_s(seconds)
        queue.worker().complete(claim, {})

    def step_s() -> float:
        found = queue.jobs.estimate(queue.add(pace="p", steps=1, priority=-1).id)
        assert found is not None
        assert found.seconds_left is not None
        return found.seconds_left / (found.position + 1)

    run(10)
    assert step_s() == pytest.approx(1)
    run(20)
    assert step_s() == pytest.approx(0.7 * 1 + 0.3 * 2)
    run(100, first_step=9)  # resumed near its end: what comes after the steps would weigh too much
    assert step_s() == pytest.approx(1.3)


def test_the_default_clock_is_the_time_of_day(database: Database) -> None:
    queue = Queue(database)
    made = Jobs(database).create(NewJob(queue.owner(), "testcard", {})).job
    assert made.created_at > 1_700_000_000
