"""`hibari serve` as a person starts it, with its worker: real processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LEASE_S = "3"
ENVIRONMENT = {
    **os.environ,
    "HIBARI_MODEL": "testcard",
    "HIBARI_THREADS": "1",
    "HIBARI_DEVICE": "cpu",
    "HIBARI_LEASE_S": LEASE_S,
    "PYTHONWARNINGS": "",
}
COMMAND = [sys.executable, "-m", "hibari"]


@dataclass
class Server:
    """A running `hibari serve`."""

    process: subprocess.Popen[str]
    folder: Path
    url: str
    log: Path

    @property
    def origin(self) -> str:
        """Where the studio is."""
        return self.url.removesuffix("/v1")

    def hibari(self, *arguments: str) -> str:
        done = subprocess.run(
            [*COMMAND, *arguments, "--data-dir", str(self.folder)],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def worker_pids(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"worker process (\d+) started", self.log.read_text())]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(90)  # a hang, and not a busy machine
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def start(folder: Path, *options: str, **environment: str) -> Server:
    """A server on a free port, once it listens."""
    folder.mkdir(exist_ok=True)
    log = folder / "log"
    with log.open("a") as file:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--port", "0", "--data-dir", str(folder), *options],
            env=ENVIRONMENT | environment,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.search(r"http://\S+", line)
    assert match, log.read_text()
    return Server(process, folder, match[0], log)


def until(happened: Callable[[], object], seconds: float = 90) -> None:
    """Wait until a call gives something true; the limit is for a hang, and not for a busy machine."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
