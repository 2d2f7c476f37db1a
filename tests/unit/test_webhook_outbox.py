"""Defends: whoever asked for it is told of a video's end, once it is true, until they took it; and nobody else is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import openai
import pytest
from queue_bench import Queue

from hibari.contracts import InvalidRequest, InvalidUrl, NotFound, PrivateAddress
from hibari.db import Database
from hibari.jobs import State
from hibari.webhooks import Deliverer, DeliveryState, Webhooks
from hibari.webhooks.records import Endpoint, NewSecret, Outgoing
from hibari.webhooks.store import KEPT_S, LEASE_S, MAX_ENDPOINTS, PAUSES_S

URL = "http://127.0.0.1:9/hook?from=here"


class Receiver(ThreadingHTTPServer):
    """An endpoint that answers with the statuses it is given, the last one for ever, and keeps what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"
        self.statuses = [200]
        self.came: list[tuple[dict[str, str], bytes]] = []
        self.wait_for: Event | None = None


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Receiver)
        body = self.rfile.read(int(self.headers["content-length"]))
        server.came.append((dict(self.headers), body))
        if server.wait_for is not None:
            server.wait_for.wait(20)
        status = server.statuses.pop(0) if len(server.statuses) > 1 else server.statuses[0]
        self.send_response(status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database)


@pytest.fixture
def webhooks(queue: Queue) -> Webhooks:
    return Webhooks(queue.database, queue.clock, private_urls=True)


@contextmanager
def delivering(webhooks: Webhooks) -> Iterator[None]:
    deliverer = Deliverer(webhooks)
    deliverer.start()
    try:
        yield
    finally:
        deliverer.stop()


def until(happened: Callable[[], object]) -> None:
    for _ in range(1200):  # a hang, and not a busy machine
        if happened():
            return
        Event().wait(0.05)
    raise AssertionError("it did not happen")


def registered(queue: Queue, webhooks: Webhooks, url: str = URL, owner: str = "ann") -> NewSecret:
    return webhooks.create(queue.owner(owner), url)


def told(webhooks: Webhooks, endpoint: Endpoint) -> list[tuple[str, str]]:
    """Type and video of all that an endpoint is told, the oldest first."""
    found, more = webhooks.deliveries(endpoint.account_id, endpoint.id, limit=100)
    assert not more
    bodies = [json.loads(delivery.body) for delivery in reversed(found)]
    return [(body["type"], body["data"]["id"]) for body in bodies]


def taken(webhooks: Webhooks) -> Outgoing:
    outgoing = webhooks.claim()
    assert outgoing is not None
    return outgoing


def test_every_end_of_a_job_is_told_and_nothing_else(queue: Queue, webhooks: Webhooks) -> None:
    mine = registered(queue, webhooks).endpoint
    others = registered(queue, webhooks, owner="bob").endpoint
    completed, failed, retried, cancelled, deleted = (queue.add() for _ in range(5))
    worker = queue.worker()
    worker.complete(queue.claim(), {})
    worker.fail(queue.claim(), "out_of_memory", "too large")
    worker.fail(queue.claim(), "storage_failed", "away", retry=True)
    queue.jobs.cancel(cancelled.id)
    queue.jobs.cancel(cancelled.id)
    queue.jobs.delete(deleted.id)
    queue.jobs.delete(completed.id)
    assert told(webhooks, mine) == [
        ("video.completed", completed.id),
        ("video.failed", failed.id),
        ("video.failed", cancelled.id),
        ("video.failed", deleted.id),
    ]
    assert told(webhooks, others) == []
    assert queue.jobs.get(retried.id).state is State.QUEUED


def test_what_did_not_happen_is_not_told(
    queue: Queue, webhooks: Webhooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outbox and the job are one transaction: if the end cannot be written, nobody is told of it."""
    mine = registered(queue, webhooks).endpoint
    job = queue.add()
    monkeypatch.setattr("hibari.jobs.moves.add_event", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        queue.jobs.cancel(job.id)
    assert queue.jobs.get(job.id).state is State.QUEUED
    assert told(webhooks, mine) == []


def test_only_what_was_asked_for_is_told(queue: Queue, webhooks: Webhooks) -> None:
    account = queue.owner()
    failures = webhooks.create(account, URL, event_types=["video.failed"]).endpoint
    off = registered(queue, webhooks).endpoint
    webhooks.update(account, off.id, enabled=False)
    both = registered(queue, webhooks).endpoint
    queue.add()
    queue.worker().complete(queue.claim(), {})
    job = queue.add()
    queue.jobs.cancel(job.id)
    assert told(webhooks, failures) == [("video.failed", job.id)]
    assert told(webhooks, off) == []
    assert len(told(webhooks, both)) == 2
    events = {one.id: webhooks.deliveries(account, one.id)[0][0].event_id for one in (failures, both)}
    assert events[failures.id] == events[both.id], "one event has one id, wherever it goes"


def test_the_official_client_accepts_what_is_sent(
    queue: Queue, webhooks: Webhooks, receiver: Receiver
) -> None:
    new = registered(queue, webhooks, receiver.url)
    job = queue.add()
    queue.jobs.cancel(job.id)
    with delivering(webhooks):
        until(lambda: webhooks.deliveries(new.endpoint.account_id, new.endpoint.id)[0][0].delivered_at)
    ((headers, body),) = receiver.came
    client = openai.OpenAI(api_key="none", webhook_secret=new.secret)
    event = client.webhooks.unwrap(body, headers)
    assert (event.type, event.data.id) == ("video.failed", job.id)  # pyright: ignore[reportAttributeAccessIssue]
    assert headers["webhook-id"] == event.id
    for wrong in (
        {"payload": body + b" ", "headers": headers},
        {"payload": body, "headers": {**headers, "webhook-id": "evt_other"}},
        {"payload": body, "headers": headers, "secret": registered(queue, webhooks).secret},
    ):
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.verify_signature(**wrong)
    (delivery,) = webhooks.deliveries(new.endpoint.account_id, new.endpoint.id)[0]
    assert delivery.state is DeliveryState.DELIVERED
    assert [attempt.status_code for attempt in delivery.attempts] == [200]


def test_failures_are_tried_again_with_pauses_until_the_limit(queue: Queue, webhooks: Webhooks) -> None:
    endpoint = registered(queue, webhooks).endpoint
    queue.jobs.cancel(queue.add().id)
    for pause_s in PAUSES_S:
        webhooks.record(taken(webhooks), took_ms=5, status_code=503)
        queue.clock.pass_s(pause_s - 1)
        assert webhooks.claim() is None
        queue.clock.pass_s(1)
    webhooks.record(taken(webhooks), took_ms=5, status_code=None, error="no answer")
    queue.clock.pass_s(10 * max(PAUSES_S))
    assert webhooks.claim() is None
    (delivery,), _ = webhooks.deliveries(endpoint.account_id, endpoint.id)
    assert delivery.state is DeliveryState.FAILED
    assert [attempt.status_code for attempt in delivery.attempts] == [503] * len(PAUSES_S) + [None]
    assert delivery.attempts[0].error == "the endpoint answers with 503"

    replayed = webhooks.replay(endpoint.account_id, endpoint.id, delivery.event_id)
    assert replayed.state is DeliveryState.PENDING
    webhooks.record(taken(webhooks), took_ms=5, status_code=204)
    after = webhooks.delivery(endpoint.account_id, endpoint.id, delivery.event_id)
    assert (after.state, len(after.attempts)) == (DeliveryState.DELIVERED, len(PAUSES_S) + 2)


def test_an_attempt_that_died_is_made_again_and_the_dead_one_has_no_say(
    queue: Queue, webhooks: Webhooks
) -> None:
    endpoint = registered(queue, webhooks).endpoint
    queue.jobs.cancel(queue.add().id)
    dead = taken(webhooks)
    assert webhooks.claim() is None, "two servers do not send at once"
    queue.clock.pass_s(LEASE_S)
    alive = taken(webhooks)
    assert (alive.event_id, alive.attempt) == (dead.event_id, dead.attempt + 1)
    webhooks.record(dead, took_ms=1, status_code=200)
    (delivery,), _ = webhooks.deliveries(endpoint.account_id, endpoint.id)
    assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, ())
    webhooks.replay(endpoint.account_id, endpoint.id, delivery.event_id)
    webhooks.record(alive, took_ms=1, status_code=200)
    assert taken(webhooks).event_id == alive.event_id, "a replay is made, whatever else was on its way"


def test_a_redirect_is_no_delivery_and_is_not_followed(
    queue: Queue, webhooks: Webhooks, receiver: Receiver
) -> None:
    endpoint = registered(queue, webhooks, receiver.url).endpoint
    receiver.statuses = [307]
    queue.jobs.cancel(queue.add().id)
    with delivering(webhooks):
        until(lambda: webhooks.deliveries(endpoint.account_id, endpoint.id)[0][0].attempts)
    (delivery,), _ = webhooks.deliveries(endpoint.account_id, endpoint.id)
    assert (delivery.state, delivery.attempts[0].status_code) == (DeliveryState.PENDING, 307)
    assert len(receiver.came) == 1


def test_an_endpoint_that_is_gone_is_told_nothing_more(queue: Queue, webhooks: Webhooks) -> None:
    endpoint = registered(queue, webhooks).endpoint
    for _ in range(2):
        queue.jobs.cancel(queue.add().id)
    webhooks.record(taken(webhooks), took_ms=1, status_code=410)
    assert webhooks.get(endpoint.account_id, endpoint.id).disabled_at == queue.clock.now
    assert webhooks.claim() is None
    webhooks.update(endpoint.account_id, endpoint.id, enabled=True)
    webhooks.record(taken(webhooks), took_ms=1, status_code=200)
    states = [one.state for one in webhooks.deliveries(endpoint.account_id, endpoint.id)[0]]
    assert states == [DeliveryState.DELIVERED, DeliveryState.FAILED]


def test_a_slow_endpoint_keeps_no_other_account_waiting(
    queue: Queue, webhooks: Webhooks, receiver: Receiver
) -> None:
    receiver.wait_for = Event()
    registered(queue, webhooks, receiver.url)
    for _ in range(30):
        queue.jobs.cancel(queue.add().id)
    quick = Receiver()
    thread = Thread(target=quick.serve_forever)
    thread.start()
    try:
        registered(queue, webhooks, quick.url, owner="bob")
        queue.jobs.cancel(queue.add("bob").id)
        with delivering(webhooks):
            until(lambda: quick.came)
            assert len(receiver.came) <= 2
            receiver.wait_for.set()
    finally:
        quick.shutdown()
        thread.join()
        quick.server_close()


def test_private_addresses_are_refused_when_registered_and_when_sent(
    queue: Queue, webhooks: Webhooks
) -> None:
    strict = Webhooks(queue.database, queue.clock)
    account = queue.owner()
    for url in ("http://127.0.0.1/", "https://[::1]/", "http://169.254.169.254/", "http://0x7f.1/"):
        with pytest.raises(PrivateAddress):
            strict.create(account, url)
    for url in ("file:///etc/passwd", "gopher://a/", "https://", "https://user:word@example.com/"):
        with pytest.raises(InvalidUrl):
            strict.create(account, url)
    endpoint = registered(
        queue, webhooks
    ).endpoint  # while it was allowed, or while the name meant something else
    queue.jobs.cancel(queue.add().id)
    with delivering(strict):
        until(lambda: strict.deliveries(account, endpoint.id)[0][0].attempts)
    (attempt,) = strict.deliveries(account, endpoint.id)[0][0].attempts
    assert attempt.status_code is None
    assert "not on the public network" in (attempt.error or "")


def test_a_secret_can_be_changed_and_the_old_one_hold_for_a_day(queue: Queue, webhooks: Webhooks) -> None:
    old = registered(queue, webhooks)
    account, endpoint = old.endpoint.account_id, old.endpoint.id
    new = webhooks.rotate_secret(account, endpoint, keep_old=True)
    assert new.endpoint.secret_hint != old.endpoint.secret_hint
    queue.jobs.cancel(queue.add().id)
    assert taken(webhooks).secrets == (new.secret, old.secret)
    queue.clock.pass_s(86400)
    assert taken(webhooks).secrets == (new.secret,)
    newest = webhooks.rotate_secret(account, endpoint)
    assert webhooks.sample(account, endpoint, "video.failed").secrets == (newest.secret,)
    assert new.secret not in repr(webhooks.all()) + repr(newest) + repr(taken_again(queue, webhooks))


def taken_again(queue: Queue, webhooks: Webhooks) -> Outgoing:
    queue.clock.pass_s(LEASE_S)
    return taken(webhooks)


def test_what_is_another_accounts_is_not_there(queue: Queue, webhooks: Webhooks) -> None:
    mine, other = registered(queue, webhooks).endpoint, queue.owner("bob")
    queue.jobs.cancel(queue.add().id)
    event = webhooks.deliveries(mine.account_id, mine.id)[0][0].event_id
    for call in (
        lambda: webhooks.get(other, mine.id),
        lambda: webhooks.update(other, mine.id, name="x"),
        lambda: webhooks.rotate_secret(other, mine.id),
        lambda: webhooks.delete(other, mine.id),
        lambda: webhooks.deliveries(other, mine.id),
        lambda: webhooks.delivery(other, mine.id, event),
        lambda: webhooks.replay(other, mine.id, event),
        lambda: webhooks.sample(other, mine.id, "video.failed"),
        lambda: webhooks.get(mine.account_id, "webhook_\0"),
        lambda: webhooks.delivery(mine.account_id, mine.id, "evt_\0"),
    ):
        with pytest.raises(NotFound):
            call()
    assert webhooks.all(other) == []
    assert webhooks.all(mine.account_id) == [mine]


def test_limits_and_wrong_values_are_said(queue: Queue, webhooks: Webhooks) -> None:
    account = queue.owner()
    for field, values in {
        "name": {"name": " "},
        "event_types": {"event_types": ["video.deleted"]},
        "url": {"url": "ftp://a"},
    }.items():
        with pytest.raises(InvalidRequest) as caught:
            webhooks.create(account, **{"url": URL, **values})
        assert caught.value.field == field
    with pytest.raises(InvalidRequest):
        webhooks.create(account, URL, event_types=[])
    with pytest.raises(NotFound):
        webhooks.create("acct_none", URL)
    for _ in range(MAX_ENDPOINTS):
        registered(queue, webhooks)
    with pytest.raises(InvalidRequest, match="delete one first"):
        registered(queue, webhooks)
    webhooks.delete(account, webhooks.all(account)[0].id)
    registered(queue, webhooks)


def test_the_log_has_pages_and_an_end(queue: Queue, webhooks: Webhooks) -> None:
    endpoint = registered(queue, webhooks).endpoint
    for _ in range(5):
        queue.jobs.cancel(queue.add().id)
    account = endpoint.account_id
    seen: list[str] = []
    after, more = None, True
    while more:
        found, more = webhooks.deliveries(account, endpoint.id, after=after, limit=2)
        seen += [one.event_id for one in found]
        after = seen[-1]
    assert len(seen) == len(set(seen)) == 5
    with pytest.raises(InvalidRequest, match="of this list"):
        webhooks.deliveries(account, endpoint.id, after="evt_none")
    with pytest.raises(InvalidRequest, match="1 to"):
        webhooks.deliveries(account, endpoint.id, limit=101)
    webhooks.record(taken(webhooks), took_ms=1, status_code=200)
    assert webhooks.purge() == 0
    queue.clock.pass_s(KEPT_S)
    assert webhooks.purge() == 5
    assert webhooks.deliveries(account, endpoint.id) == ([], False)
