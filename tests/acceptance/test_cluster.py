"""Defends: `hibari cluster` on a real Ray, of this machine alone. Workers that die are replaced, their number follows
the queue, and when Ray goes, another worker ends the videos."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest

from hibari.accounts import Accounts
from hibari.assignment import Assignment
from hibari.db import Database, migrate
from hibari.jobs import Jobs, NewJob, State
from server_process import COMMAND, ENVIRONMENT, until

# On this machine alone, and patient: a busy machine is not the code's fault.
ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",  # after which a driver whose head is gone gives up
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": token_hex(32),
    "PYTHONUNBUFFERED": "1",  # it is heard at once
    "RAY_gcs_server_port_wait_time_s": "600",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_health_check_timeout_ms": "600000",
}
RAY_START = [
    *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
    *("--num-cpus=2", "--num-gpus=2", "--object-store-memory=80000000"),
    *("--include-dashboard=false", "--include-log-monitor=false", "--no-monitor"),
]
TRIES = 10
LIMIT_S = 240  # for a hang, and not for a busy machine
ONE_AT_A_TIME = ("--jobs", "1", "--cpus", "0.5", "--idle", "1")


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    database = Database(f"sqlite:///{tmp_path}/hibari.db")
    migrate(database)
    Accounts(database).local()
    yield Jobs(database)
    database.close()


def happens(happened: Callable[[], object]) -> None:
    until(happened, LIMIT_S)


def ask(jobs: Jobs, seed: int, *, steps: int) -> str:
    assignment = Assignment("a cat", options={"steps": steps, "seconds": 40.0, "seed": seed})
    request = {"assignment": assignment.to_json()}
    return jobs.create(NewJob("acct_local", "testcard", request, steps=steps)).job.id


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def head() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A Ray with two GPUs that are not there, in a process group of its own, and its address. Ray waits for its own
    parts for 15 s and gives up then, which a busy machine can bring about, so it is tried several times."""
    for _ in range(TRIES):
        port = free_port()
        with TemporaryDirectory(prefix="ray-") as folder:  # a short name: sockets lie in it
            process = subprocess.Popen(
                [*RAY_START, f"--port={port}", f"--temp-dir={folder}"],
                env=ENVIRONMENT | ALONE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            try:
                assert process.stdout is not None
                if any(b"Ray runtime started" in line for line in iter(process.stdout.readline, b"")):
                    yield process, f"127.0.0.1:{port}"
                    return
            finally:
                kill(process)
    raise AssertionError("Ray does not start")


def kill(ray: subprocess.Popen[bytes]) -> None:
    """All of its processes, at once."""
    if ray.stdout is not None and not ray.stdout.closed:
        with suppress(ProcessLookupError):
            os.killpg(ray.pid, signal.SIGKILL)
        ray.wait()
        ray.stdout.close()


class Running:
    """`hibari cluster --json`, and what it said last."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.log = folder / "cluster.log"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "cluster", "--json", "--data-dir", str(folder), *ONE_AT_A_TIME, *options],
                env=ENVIRONMENT | ALONE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.status: dict[str, Any] = {"workers": [], "died": 0}
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self.status = json.loads(line)

    def pids(self) -> set[int]:
        """Of workers that have a place and are not told to stop."""
        assert self.process.poll() is None, self.log.read_text()
        return {one["pid"] for one in self.status["workers"] if one["pid"] and not one["stopping"]}

    def ended(self) -> int:
        code = self.process.wait(LIMIT_S)
        self._reader.join()
        return code


def test_workers_come_go_and_are_replaced_and_nothing_is_lost_with_ray(
    head: tuple[subprocess.Popen[bytes], str], jobs: Jobs, tmp_path: Path
) -> None:
    ray, address = head
    running = Running(tmp_path, "--address", address, "--gpus", "0.25", "--max", "2")
    try:
        happens(lambda: len(running.pids()) == 1)
        assert [one["gpus"] for one in running.status["workers"]] == [0.25]
        (first,) = running.pids()
        # Work enough to last until a dead worker's successor is there, also on a fast machine.
        videos = [ask(jobs, seed, steps=200) for seed in range(5)]
        happens(lambda: len(running.pids()) == 2)  # the queue has grown
        os.kill(first, signal.SIGKILL)
        happens(lambda: running.status["died"] == 1 and len(running.pids() - {first}) == 2)
        happens(lambda: all(jobs.get(video).is_final for video in videos))
        happens(lambda: len(running.pids()) == 1)  # and is empty
        assert running.status["wanted"] == 1

        running.process.send_signal(signal.SIGTERM)
        assert running.ended() == 0
        assert running.status["workers"] == []

        # A generation on several GPUs: a group of them, and a worker within it.
        running = Running(tmp_path, "--address", address, "--gpus", "2", "--max", "1")
        happens(lambda: len(running.pids()) == 1)
        videos.append(ask(jobs, 5, steps=200))
        happens(lambda: jobs.get(videos[-1]).step > 0)
        kill(ray)
        assert running.ended() != 0
    finally:
        running.process.kill()
        running.ended()
    assert jobs.get(videos[-1]).state is not State.COMPLETED
    worker = subprocess.Popen(
        [*COMMAND, "worker", "--with-parent", "--data-dir", str(tmp_path)],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with worker:
        happens(lambda: jobs.get(videos[-1]).is_final)
        worker.communicate()
    assert [jobs.get(video).state for video in videos] == [State.COMPLETED] * 6
