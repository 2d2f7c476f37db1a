"""Defends: what is done is written down with the act itself, by whom, and never changed; no prompt and no secret is in
it; and what an account was is gone once it is deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from queue_bench import START, Queue
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import DBAPIError

from hibari.accounts import LOCAL, Role
from hibari.audit import OPERATOR, Actor, AuditLog, Entry
from hibari.cli import main
from hibari.contracts import Conflict, InvalidRequest, NotFound
from hibari.db import Database
from hibari.db.append_only import unprotected
from hibari.db.schema import audit_log, stored_files
from hibari.jobs import Gallery, PauseScope, State
from hibari.webhooks import Webhooks

ADA = Actor("api", "ada", "acct_ada", "hb_ada")
PROMPT = "nobody's business"


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database)


def entries(queue: Queue, **filters: Any) -> list[Entry]:
    return AuditLog(queue.database).page(**filters)[0]


def actions(queue: Queue) -> list[str]:
    return [entry.action.value for entry in reversed(entries(queue))]


def test_who_did_what_to_whom_and_nothing_twice(queue: Queue) -> None:
    accounts, jobs = queue.accounts, queue.jobs
    ann = accounts.create("ann", max_queued=9, by=ADA)
    key = accounts.create_key(ann.id, "laptop", by=ADA)
    for _ in range(2):  # what is so already is nobody's deed
        accounts.set_limits(ann.id, max_running=1, max_queued=9, max_stored_bytes=None, by=OPERATOR)
        jobs.pause(PauseScope.owner(ann.id), by=ADA)
        jobs.pause(PauseScope.key(key.key.id), by=ADA)
        jobs.pause(PauseScope.everything(), by=ADA)
    for scope in (PauseScope.owner(ann.id), PauseScope.key(key.key.id), PauseScope.everything()):
        jobs.resume(scope, by=ADA)
        jobs.resume(scope, by=ADA)
    queue.owners["ann"] = ann.id
    job = queue.add(request={"shown": {"prompt": PROMPT}})
    jobs.set_priority(job.id, 5, by=ADA)
    jobs.set_priority(job.id, 5, by=ADA)
    jobs.cancel(job.id, by=ADA)
    jobs.cancel(job.id, by=ADA)
    accounts.set_role(ann.id, Role.REVIEWER, by=ADA)
    accounts.revoke(key.key.id, by=ADA)
    accounts.revoke(key.key.id, by=ADA)
    jobs.cancel(queue.add().id)  # one's own: no matter of anybody else's
    assert actions(queue) == [
        "account.created",
        "key.created",
        "account.limits",
        "account.paused",
        "key.paused",
        "server.paused",
        "account.resumed",
        "key.resumed",
        "server.resumed",
        "video.priority",
        "video.cancelled",
        "account.role",
        "key.revoked",
    ]
    created, made, limited = list(reversed(entries(queue)))[:3]
    assert (created.at, created.actor, created.target.name) == (START, ADA, "ann")
    assert (made.target.account_id, made.details["role"]) == (ann.id, "member")
    assert (limited.actor, limited.details) == (OPERATOR, {"max_running": 1})
    written = repr(entries(queue))
    assert PROMPT not in written
    assert key.secret not in written


def test_webhooks_are_in_it_and_their_urls_are_not(queue: Queue) -> None:
    hooks = Webhooks(queue.database, queue.clock, private_urls=True)
    owner = queue.owner()
    secret_url = "http://127.0.0.1:9/hook?token=hunter2"
    made = hooks.create(owner, secret_url, name="mine", by=ADA)
    hooks.update(owner, made.endpoint.id, url=secret_url + "x", enabled=False, by=ADA)
    rotated = hooks.rotate_secret(owner, made.endpoint.id, by=ADA)
    hooks.delete(owner, made.endpoint.id, by=ADA)
    assert actions(queue) == ["webhook.created", "webhook.changed", "webhook.secret", "webhook.deleted"]
    written = repr(entries(queue))
    assert not [word for word in ("hunter2", made.secret, rotated.secret) if word in written]


def test_the_act_is_not_done_where_it_cannot_be_written(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = queue.owner()
    key = queue.accounts.create_key(ann, "laptop").key
    job = queue.add()

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError

    for module in ("accounts.store", "jobs.asks", "webhooks.store"):
        monkeypatch.setattr(f"hibari.{module}.note", fails)
    hooks = Webhooks(queue.database, queue.clock, private_urls=True)
    for act in (
        lambda: queue.accounts.create("bob", by=ADA),
        lambda: queue.accounts.create_key(ann, "phone", by=ADA),
        lambda: queue.accounts.revoke(key.id, by=ADA),
        lambda: queue.accounts.delete(ann, by=ADA),
        lambda: queue.accounts.set_role(ann, Role.ADMIN, by=ADA),
        lambda: queue.jobs.pause(PauseScope.owner(ann), by=ADA),
        lambda: queue.jobs.pause(PauseScope.everything(), by=ADA),
        lambda: queue.jobs.set_priority(job.id, 3, by=ADA),
        lambda: queue.jobs.cancel(job.id, by=ADA),
        lambda: hooks.create(ann, "http://127.0.0.1:9/hook", by=ADA),
    ):
        with pytest.raises(RuntimeError):
            act()
    assert [account.name for account in queue.accounts.all()] == ["ann"]
    assert queue.accounts.keys() == [key]
    assert queue.accounts.get(ann).paused_at is queue.jobs.paused() is None
    assert (queue.jobs.get(job.id).state, queue.jobs.get(job.id).priority) == (State.QUEUED, 0)
    assert hooks.all() == []


def test_the_database_refuses_to_change_the_log(queue: Queue) -> None:
    queue.accounts.create("ann", by=ADA)
    for statement in (update(audit_log).values(actor_name="eve"), delete(audit_log)):
        with (
            pytest.raises(DBAPIError, match="append-only"),
            queue.database.write() as connection,
        ):
            connection.execute(statement)
    assert entries(queue)[0].actor.name == "ada"
    with queue.database.write() as connection, unprotected(connection, audit_log.name):
        connection.execute(delete(audit_log))
    queue.accounts.create("bob", by=ADA)
    with pytest.raises(DBAPIError, match="append-only"), queue.database.write() as connection:
        connection.execute(delete(audit_log))


def test_pages_and_filters(queue: Queue) -> None:
    for number in range(5):
        queue.accounts.create(f"a{number}", by=ADA if number % 2 else OPERATOR)
        queue.clock.pass_s(1)
    log = AuditLog(queue.database)
    first, more = log.page(limit=2)
    assert ([entry.target.name for entry in first], more) == (["a4", "a3"], True)
    queue.accounts.create("late", by=ADA)
    rest, more = log.page(after=first[-1].number, limit=9)
    assert ([entry.target.name for entry in rest], more) == (["a2", "a1", "a0"], False)
    queue.accounts.create_key(queue.accounts.all()[0].id, "laptop", by=OPERATOR)
    names = [entry.target.name for entry in log.page(account="acct_ada")[0]]
    assert names == ["late", "a3", "a1"]
    assert [one.action for one in log.page(account=queue.accounts.all()[0].id)[0]] == [
        "key.created",
        "account.created",
    ]
    assert [one.action for one in log.page(action="key")[0]] == ["key.created"]
    assert log.page(action="key.revoked") == ([], False)
    assert [one.target.name for one in log.page(since=START + 1, until=START + 3)[0]] == ["a2", "a1"]
    with pytest.raises(InvalidRequest, match="possible are"):
        log.page(action="key.lost")
    with pytest.raises(InvalidRequest, match="limit is 0"):
        log.page(limit=0)


def test_a_role_is_given_and_narrow_keys_stay_narrow(queue: Queue) -> None:
    ann = queue.owner()
    whole = queue.accounts.create_key(ann, "whole", role=Role.ADMIN)
    narrow = queue.accounts.create_key(ann, "narrow", role=Role.ADMIN, scopes=["videos:read", "admin"])
    revoked = queue.accounts.create_key(ann, "revoked", role=Role.ADMIN)
    queue.accounts.revoke(revoked.key.id)
    queue.accounts.set_role(ann, Role.MEMBER)
    assert queue.accounts.authenticate(whole.secret).key.scopes == {"videos:read", "videos:write"}  # pyright: ignore[reportOptionalMemberAccess]
    assert queue.accounts.authenticate(narrow.secret).key.scopes == {"videos:read"}  # pyright: ignore[reportOptionalMemberAccess]
    queue.accounts.set_role(ann, Role.ADMIN)
    assert queue.accounts.authenticate(whole.secret).may("admin")
    assert not queue.accounts.authenticate(narrow.secret).may("admin")
    assert queue.accounts.get_key(revoked.key.id).role is Role.ADMIN
    with pytest.raises(Conflict, match="has no key"):
        queue.accounts.set_role(queue.owner("bob"), Role.ADMIN)


def test_usage_counts_what_is_and_what_ever_was(queue: Queue) -> None:
    ann = queue.owner(max_queued=7)
    queue.owner("bob")
    for _ in range(2):
        queue.add()
        queue.worker().complete(queue.claim(), {"frames": 20, "fps": 8}, stored_bytes=100)
    queue.jobs.delete(queue.jobs.page(owner=ann).jobs[0].id)
    queue.add(sample=True)
    queue.worker().complete(queue.claim(), {"frames": 20, "fps": 8}, stored_bytes=100)
    queue.add(expected_bytes=7)
    queue.add()
    queue.claim()
    queue.stored.add(ann, "uploads/1/x", 11)
    usage = queue.jobs.usage()
    found = usage[ann]
    assert (found.running, found.queued, found.completed) == (1, 1, 1)
    assert (found.stored_bytes, found.made_s) == (100 + 7 + 11, 5.0)
    assert (found.max_queued, found.max_running) == (7, None)
    assert queue.jobs.usage(ann) == {ann: found}
    assert usage[queue.owner("bob")].made_s == usage[queue.owner("bob")].stored_bytes == 0
    assert queue.jobs.usage("acct_0") == {}


def test_a_deleted_account_is_gone_with_all_that_it_had(queue: Queue) -> None:
    ann = queue.owner()
    key = queue.accounts.create_key(ann, "laptop")
    hooks = Webhooks(queue.database, queue.clock, private_urls=True)
    hooks.create(ann, "http://127.0.0.1:9/hook")
    gallery = Gallery(queue.database, queue.clock)
    gallery.create_folder(ann, "By the sea")
    queue.add()
    claim = queue.claim()
    waiting = queue.add()
    queue.stored.add(ann, "characters/1/video", 11)
    bobs = queue.add("bob")
    queue.accounts.delete(ann, by=ADA)
    with pytest.raises(Exception, match="revoked"):
        queue.accounts.authenticate(key.secret)
    assert (queue.accounts.find("ann"), hooks.all(), gallery.folders(ann)) == (None, [], [])
    assert ann not in queue.jobs.usage()
    for call in (
        lambda: queue.accounts.get(ann),
        lambda: queue.accounts.delete(ann),
        lambda: queue.accounts.create_key(ann, "x"),
        lambda: queue.add(),
        lambda: queue.stored.add(ann, "uploads/2/x", 1),
        lambda: queue.jobs.pause(PauseScope.owner(ann)),
    ):
        with pytest.raises(NotFound):
            call()
    assert queue.claim("w2").job.id == bobs.id  # and none of hers
    assert queue.upkeep.sweep() == 2
    assert queue.upkeep.sweep() == 0
    for job_id in (claim.job.id, waiting.id):
        with pytest.raises(NotFound):
            queue.jobs.get(job_id)
    assert queue.upkeep.to_purge() == [waiting.id]  # a worker may still write of the other
    assert queue.upkeep.waiting().jobs == 2
    assert queue.stored.ownerless() == ["characters/1/video"]
    queue.stored.forget("characters/1/video")
    with queue.database.read() as connection:
        assert connection.execute(select(stored_files)).all() == []
    assert queue.accounts.create("ann").id != ann  # the name is free again
    assert entries(queue, action="account.deleted")[0].target.name == "ann"
    queue.accounts.local()
    with pytest.raises(Conflict):
        queue.accounts.delete(LOCAL)


def test_the_command_line_is_in_it_and_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIBARI_PRIVATE_URLS", "1")

    def run(*words: str) -> str:
        assert main(["admin", *words, "--data-dir", str(tmp_path)]) == 0
        return capsys.readouterr().out

    secret = run("key", "create", "ada").strip()
    run("account", "limit", "ada", "--queued", "3")
    run("account", "role", "ada", "reviewer")
    for who in (("--account", "ada"), ("--key", "ada"), ("--all",)):
        run("pause", *who)
        run("resume", *who)
    hook = run("webhook", "create", "http://127.0.0.1:9/hook", "--account", "ada").split()[0]
    run("webhook", "delete", hook)
    run("rotate-links")
    run("key", "revoke", "ada")
    run("account", "delete", "ada", "--yes")
    found = json.loads(run("audit", "--json"))
    assert [entry["action"] for entry in found] == [
        "account.created",
        "key.created",
        "account.limits",
        "account.role",
        "account.paused",
        "account.resumed",
        "key.paused",
        "key.resumed",
        "server.paused",
        "server.resumed",
        "webhook.created",
        "webhook.deleted",
        "server.links_ended",
        "key.revoked",
        "account.deleted",
    ]
    assert {entry["actor"]["via"] for entry in found} == {"cli"}
    shown = run("audit", "--action", "account", "--limit", "2")
    assert [line.split()[5] for line in shown.splitlines()] == ["account.resumed", "account.deleted"]
    assert secret[11:] not in run("audit")
    assert main(["admin", "audit", "--account", "bob", "--data-dir", str(tmp_path)]) == 2


def test_a_backup_brings_its_own_log(queue: Queue) -> None:
    from hibari.backup.snapshot import replace_all

    queue.accounts.create("ann", by=ADA)
    with queue.database.write() as connection:
        row = dict(connection.execute(select(audit_log)).one()._mapping)
        replace_all(connection, iter([("audit_log", {**row, "actor_name": "bob"})]))
    assert [entry.actor.name for entry in entries(queue)] == ["bob"]
    with pytest.raises(DBAPIError, match="append-only"), queue.database.write() as connection:
        connection.execute(delete(audit_log))
    with queue.database.write() as connection:
        connection.execute(insert(audit_log).values({**row, "number": 99}))
