"""Defends: the service as processes. It starts without settings, loses no job to `kill -9`, and stops in peace."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server_process import COMMAND, ENVIRONMENT, Server, start, until

LONG = {"steps": 60, "seconds": "8", "deterministic": True, "seed": 7}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = start(tmp_path / "data")
    yield server
    if server.process.poll() is None:
        server.stop()


def ask(server: Server, **values: Any) -> str:
    answer = httpx2.post(f"{server.url}/videos", json={"prompt": "a cat", **values}, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def get(server: Server, video_id: str) -> dict[str, Any]:
    return httpx2.get(f"{server.url}/videos/{video_id}", timeout=30).json()


def content(server: Server, video_id: str) -> bytes:
    return httpx2.get(f"{server.url}/videos/{video_id}/content", timeout=30).content


def over(server: Server, video_id: str) -> bool:
    return get(server, video_id)["status"] in ("completed", "failed")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_nothing_is_lost_when_worker_and_server_are_killed(server: Server, tmp_path: Path) -> None:
    undisturbed = ask(server, **LONG)
    until(lambda: over(server, undisturbed))
    wanted = content(server, undisturbed)
    video = ask(server, **LONG)
    short = [ask(server, seconds="1", seed=number) for number in range(5)]
    until(lambda: get(server, video)["hibari"]["step"] > 5)
    os.kill(server.worker_pids()[-1], signal.SIGKILL)
    until(lambda: len(server.worker_pids()) == 2)
    until(lambda: get(server, video)["hibari"]["attempt"] == 2)
    server.process.kill()
    server.process.wait()
    (orphan,) = (pid for pid in server.worker_pids()[-1:])
    until(lambda: not is_alive(orphan), 30)  # it gives back what it holds, and goes with its parent

    assert server.process.stdout
    server.process.stdout.close()
    again = start(tmp_path / "data")
    try:
        for one in (video, *short):
            until(lambda one=one: over(again, one))
            assert get(again, one)["status"] == "completed", get(again, one)
        assert content(again, video) == wanted
        storage = tmp_path / "data" / "files"
        kept = {path.relative_to(storage).parts[0] for path in storage.rglob("*") if path.is_file()}
        assert kept == {undisturbed, video, *short}
        for folder in kept:
            assert len([path for path in (storage / folder).rglob("*") if path.is_file()]) == 4, folder
    finally:
        assert again.stop() == 0


def test_a_pause_stops_everybody_at_once_and_loses_nothing(server: Server) -> None:
    video = ask(server, **{**LONG, "steps": 200, "seconds": "40"})  # longer than a command takes to start
    until(lambda: get(server, video)["hibari"]["step"] > 0)
    assert server.hibari("admin", "pause", "--all") == "everything is paused\n"
    until(lambda: get(server, video)["status"] == "queued", 5)
    at = get(server, video)["hibari"]["step"]
    time.sleep(1)
    assert get(server, video)["hibari"]["step"] == at
    server.hibari("admin", "resume", "--all")
    until(lambda: get(server, video)["hibari"]["step"] > at or over(server, video))
    until(lambda: over(server, video))
    assert get(server, video)["status"] == "completed"


def test_keys_by_the_command_line(server: Server) -> None:
    assert httpx2.get(f"{server.url}/videos").status_code == 200
    made = json.loads(server.hibari("admin", "key", "create", "ada", "--role", "admin", "--json"))
    assert httpx2.get(f"{server.url}/videos").status_code == 401
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert httpx2.get(f"{server.url}/videos", headers=headers).status_code == 200
    assert made["secret"] not in server.hibari("admin", "key", "list")
    server.hibari("admin", "key", "revoke", "ada")
    assert httpx2.get(f"{server.url}/videos", headers=headers).status_code == 401
    assert "revoked" in server.hibari("admin", "key", "list")
    stored = sqlite3.connect(server.folder / "hibari.db")
    assert made["secret"] not in str(list(stored.execute("SELECT * FROM keys")))
    stored.close()


def test_stopping_in_peace(server: Server) -> None:
    video = ask(server, **{**LONG, "steps": 200})
    until(lambda: get(server, video)["hibari"]["step"] > 0)
    worker = server.worker_pids()[-1]
    gives_way = os.getpriority(os.PRIO_PROCESS, worker), os.getpriority(os.PRIO_PROCESS, server.process.pid)
    assert gives_way[0] == max(5, gives_way[1])
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 15
    assert not is_alive(worker)
    stored = sqlite3.connect(server.folder / "hibari.db")
    assert list(stored.execute("SELECT state, checkpoint IS NOT NULL, failures FROM jobs")) == [
        ("queued", 1, 0)
    ]
    stored.close()


def test_a_port_that_is_taken_is_one_line(server: Server, tmp_path: Path) -> None:
    port = server.url.split(":")[2].split("/")[0]
    done = subprocess.run(
        [*COMMAND, "serve", "--port", port, "--data-dir", str(tmp_path / "other")],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"hibari: error: cannot listen on 127.0.0.1 port {port}")


def test_the_server_never_imports_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from hibari.api import create_app; import hibari.cli.server;"
        "import hibari.cli.supervise; from hibari.settings import ServerSettings;"
        "create_app(ServerSettings.from_environment({}, data_dir=Path(sys.argv[1])));"
        "sys.exit('torch was imported' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
