"""Defends: many that listen cost one look, nobody misses what happened, and a read keeps nobody waiting."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from api_server import client_for, finish_next, key_for, parts_for, settings_for
from queue_bench import Queue
from sqlalchemy import event

from hibari.api import Parts
from hibari.api import reads as room
from hibari.api.reads import Watch, read_soon
from hibari.db import Database


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = parts_for(settings_for(tmp_path))
    yield made
    made.database.close()


class Statements:
    """What a database was asked."""

    def __init__(self, database: Database) -> None:
        self.asked: list[str] = []
        event.listen(database.engine, "before_cursor_execute", self._note)

    def _note(self, *given: Any) -> None:
        self.asked.append(given[2])


def test_fifty_that_listen_cost_one_look(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(database)
    jobs = [queue.add() for _ in range(50)]
    watch = Watch(database, queue.jobs)
    monkeypatch.setattr(room, "FRESH_S", 3600)
    heard = Statements(database)

    async def have_news(*, look: bool = False) -> list[int]:
        watch._looked_s = float("-inf") if look else watch._looked_s
        return [at for at, job in enumerate(jobs) if await watch.has_news(job.id, 1)]

    async def story() -> None:
        with ExitStack() as all_streams:
            for job in jobs:
                all_streams.enter_context(watch.following(job.id))
            assert await have_news(look=True) == []
            assert len(heard.asked) == 1
            claim = queue.claim()
            queue.jobs.delete(jobs[7].id)
            assert await have_news() == []  # it was looked at a moment ago
            assert await have_news(look=True) == [jobs.index(queue_job(claim.job.id)), 7]
            late = queue.add()
            with watch.following(late.id):
                assert await watch.has_news(late.id, 1), "nobody has looked at it yet"
        del heard.asked[:]
        assert await watch.has_news(jobs[0].id, 1)
        watch._looked_s = float("-inf")
        await watch.has_news(jobs[0].id, 1)
        assert not watch._followed

    def queue_job(job_id: str) -> Any:
        return next(job for job in jobs if job.id == job_id)

    asyncio.run(story())


def test_only_a_database_across_a_network_is_read_in_a_thread(database: Database) -> None:
    async def thread_of_a_read() -> int:
        return await read_soon(database, threading.get_ident)

    async def story() -> None:
        assert (await thread_of_a_read() == threading.get_ident()) == database.is_sqlite

    asyncio.run(story())


def test_the_stream_of_all_tells_each_video_to_its_end(parts: Parts) -> None:
    client = client_for(parts, key_for(parts, "ada"))
    body = {"prompt": "a kite", "model": "testcard", "size": "128x128", "seconds": "1", "steps": 4}
    videos = [client.post("/v1/videos", json=body).json()["id"] for _ in range(3)]
    text = ""

    def listen() -> None:
        nonlocal text
        places = ",".join(f"{video}.1" for video in videos)  # whatever has happened by then, it is told
        text = client.get("/v1/events", headers={"Last-Event-ID": places}).text

    listener = Thread(target=listen)
    listener.start()
    for _ in videos[1:]:
        finish_next(parts)
    assert client_for(parts, client.headers["Authorization"].split()[1]).delete(f"/v1/videos/{videos[2]}")
    listener.join(60)
    assert not listener.is_alive()
    lines = [block.split("\n") for block in text.split("\n\n") if "event: " in block]
    blocks: list[dict[str, str]] = [
        {line.split(": ")[0]: line.split(": ", 1)[1] for line in one} for one in lines
    ]
    told: dict[str, list[str]] = {}
    for block in blocks:
        data = json.loads(block["data"])
        told.setdefault(data.get("id") or data["video"]["id"], []).append(block["event"])
    assert [told[video][-1] for video in videos] == ["completed", "completed", "deleted"]
    assert all(kinds.count("completed") <= 1 for kinds in told.values())


def test_the_use_of_a_key_is_noted_and_what_was_revoked_is_refused_at_once(parts: Parts) -> None:
    client = client_for(parts, key_for(parts, "ada"))
    assert parts.accounts.keys()[0].used_at is None
    assert client.get("/v1/videos").status_code == 200
    key = parts.accounts.keys()[0]
    assert key.used_at is not None
    assert client.get("/v1/videos").status_code == 200
    assert parts.accounts.keys()[0].used_at == key.used_at  # a minute has not passed
    parts.accounts.revoke(key.id)
    assert client.get("/v1/videos").status_code == 401
