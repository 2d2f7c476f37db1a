"""A child process that is started again whenever it ends by itself."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from threading import Event, Lock, Thread
from time import monotonic

logger = logging.getLogger(__name__)

LIVED_S = 10.0  # whoever lived so long did not die of its beginning
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
STOP_WITHIN_S = 9.0


class Supervisor:
    """Keeps one command running. Its standard input is ours: it ends with us, however we end, and it should stop in
    peace then."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._stopping = Event()
        self._lock = Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Let the child stop in peace; after STOP_WITHIN_S it is killed."""
        self._stopping.set()
        with self._lock:
            child = self._child
        if child is not None and child.stdin is not None:
            with suppress(OSError):
                child.stdin.close()
            try:
                child.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                logger.warning("the worker %d does not stop; it is killed", child.pid)
                child.kill()
        if self._thread.ident is not None:  # it was started
            self._thread.join()

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            began = monotonic()
            with self._lock:
                if self._stopping.is_set():
                    return
                # A session of its own: Ctrl-C is for the server, which tells its child in its own way.
                self._child = subprocess.Popen(  # noqa: S603 - our own command
                    self._command, stdin=subprocess.PIPE, start_new_session=True
                )
            logger.info("worker process %d started", self._child.pid)
            code = self._child.wait()
            if self._stopping.is_set():
                return
            pause_s = FIRST_PAUSE_S if monotonic() - began >= LIVED_S else min(LONGEST_PAUSE_S, 2 * pause_s)
            logger.error("the worker ended with code %d; another one starts in %.1f s", code, pause_s)
            self._stopping.wait(pause_s)
