"""Defends: two workers against one job, delete against completion, and cancel against start, between real processes.
Each video that is left alone is made once, by one of the workers; what is deleted is gone with its files, what is
cancelled ends once, and nothing else is left behind."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server_process import Server, start, until

EACH = 6  # videos that are left alone, deleted and cancelled
FILES = 4  # of a video


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """With two workers that hold one video each, so that both always want the next one."""
    server = start(tmp_path / "data", "--workers", "2", "--jobs", "1")
    yield server
    server.stop()


def rows(server: Server, query: str) -> list[Any]:
    with closing(sqlite3.connect(server.folder / "hibari.db")) as stored:
        return list(stored.execute(query))


def state_of(server: Server, id_: str) -> str:
    return str(rows(server, f"SELECT state FROM jobs WHERE id = '{id_}'")[0][0])


def test_nobody_is_made_twice_and_nothing_is_left(server: Server) -> None:
    seed = random.randrange(2**31)
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    chance = random.Random(seed)
    until(lambda: server.log.read_text().count("takes jobs") == 2)  # both are there before there is work
    with httpx2.Client(base_url=f"{server.url}/", timeout=60) as http:

        def ask() -> str:
            answer = http.post("videos", json={"prompt": "a cat", "seconds": "1", "steps": 8})
            assert answer.status_code == 200, answer.text
            return answer.json()["id"]

        def delete(id_: str) -> None:
            """As near to its completion as one can come from outside."""
            until(lambda: state_of(server, id_) != "queued")
            workers.update(
                worker for (worker,) in rows(server, f"SELECT worker FROM jobs WHERE id = '{id_}'")
            )
            time.sleep(chance.uniform(0, 0.3))
            assert http.delete(f"videos/{id_}").status_code == 200

        def cancel(id_: str) -> None:
            """As near to its start."""
            time.sleep(chance.uniform(0, 0.3))
            assert http.post(f"videos/{id_}/cancel").status_code == 200

        workers = set[str]()
        alone, deleted, cancelled = list[str](), list[str](), list[str]()
        calls: list[Future[None]] = []
        with ThreadPoolExecutor(2 * EACH) as pool:
            for _ in range(EACH):
                alone.append(ask())
                deleted.append(ask())
                cancelled.append(ask())
                calls += pool.submit(delete, deleted[-1]), pool.submit(cancel, cancelled[-1])
        for call in calls:
            call.result()
        over = "SELECT id FROM jobs WHERE finished_at IS NOT NULL AND tidy_at IS NULL AND deleted_at IS NULL"
        until(lambda: {id_ for (id_,) in rows(server, over)} == {*alone, *cancelled})
        until(
            lambda: rows(server, "SELECT count(*) FROM jobs") == [(2 * EACH,)]
        )  # the deleted ones are swept away
        assert {http.get(f"videos/{id_}").status_code for id_ in deleted} == {404}

    found = {
        id_: (state, attempt, worker)
        for id_, state, attempt, worker in rows(server, "SELECT id, state, attempt, worker FROM jobs")
    }
    assert {found[id_][:2] for id_ in alone} == {("completed", 1)}
    workers |= {worker for _, _, worker in found.values() if worker}
    assert len(workers) == 2, "only one worker had anything to do"
    assert {found[id_][0] for id_ in cancelled} <= {"completed", "cancelled"}
    ends = rows(
        server,
        "SELECT count(*) FROM job_events WHERE kind IN ('completed', 'failed', 'cancelled') GROUP BY job",
    )
    assert ends == [(1,)] * (2 * EACH)
    made = [id_ for id_, (state, _, _) in found.items() if state == "completed"]
    files = [path for path in (server.folder / "files").rglob("*") if path.is_file()]
    assert {path.relative_to(server.folder / "files").parts[0] for path in files} == set(made)
    assert len(files) == FILES * len(made)
