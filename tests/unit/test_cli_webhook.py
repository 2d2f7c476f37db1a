"""Defends: `hibari admin webhook` registers, tells, sends again and forgets; a secret is shown once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hibari.accounts import Accounts
from hibari.cli import main
from hibari.db import Database, migrate
from hibari.jobs import Jobs, NewJob
from hibari.webhooks import Webhooks

URL = "http://127.0.0.1:9/hook"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/hibari.db")
    migrate(database)
    yield database
    database.close()


@pytest.fixture
def run(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    monkeypatch.setenv("HIBARI_PRIVATE_URLS", "1")

    def run(*words: str, code: int = 0) -> str:
        assert main(["admin", "webhook", *words, "--data-dir", str(tmp_path)]) == code
        said = capsys.readouterr()
        return said.err if code else said.out

    return run


def end_of_a_video(database: Database, owner: str) -> None:
    jobs = Jobs(database)
    jobs.cancel(jobs.create(NewJob(owner, "testcard", {})).job.id)


def test_from_its_making_to_its_end(database: Database, run: Callable[..., str]) -> None:
    endpoint, secret = run("create", URL).split()
    assert secret.startswith("whsec_")
    ada = Accounts(database).create("ada")
    made = json.loads(run("create", URL, "--account", "ada", "--name", "hers", "--json"))
    assert (made["account_id"], made["name"]) == (ada.id, "hers")
    listed = run("list") + run("list", "--json")
    assert endpoint in listed
    assert secret not in listed
    assert made["signing_secret"] not in listed
    assert run("delete", made["id"]) == f"{made['id']} is deleted\n"
    assert [one["id"] for one in json.loads(run("list", "--json"))] == [endpoint]
    assert "no webhook endpoint" in run("delete", made["id"], code=2)
    assert "no account 'bob'" in run("create", URL, "--account", "bob", code=2)


def test_the_log_and_sending_again(database: Database, run: Callable[..., str]) -> None:
    endpoint = run("create", URL).split()[0]
    assert run("log", endpoint) == ""
    owner = Accounts(database).local().account.id
    end_of_a_video(database, owner)
    (line,) = run("log", endpoint).splitlines()
    event = line.split()[2]
    assert line.split()[3:] == ["video.failed", "pending", "not", "tried", "yet"]

    webhooks = Webhooks(database)
    outgoing = webhooks.claim()
    assert outgoing is not None
    webhooks.record(outgoing, took_ms=3, status_code=204)
    end_of_a_video(database, owner)
    first, second = run("log", endpoint).splitlines()  # the oldest first
    assert first.split()[2:] == [event, "video.failed", "delivered", "204"]
    assert "pending" in second

    assert run("replay", endpoint, event) == f"{event} is sent again\n"
    assert run("log", endpoint).splitlines()[0].split()[4:] == ["pending", "204"]
    due = {webhooks.claim(), webhooks.claim()}
    assert event in {one.event_id for one in due if one is not None}
    assert "no event" in run("replay", endpoint, "evt_none", code=2)
