"""Child processes that are started again whenever they end by themselves."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Mapping, Sequence
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

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        stop_within_s: float = STOP_WITHIN_S,
    ) -> None:
        """Nothing runs yet. `environment` is by default this process's; `stop_within_s` is how long the child may take
        to stop."""
        self._command = list(command)
        self._environment = environment
        self._stop_within_s = stop_within_s
        self._stop_by_s = 0.0
        self._stopping = Event()
        self._lock = Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def tell(self) -> None:
        """Tell the child to stop, and do not wait for it."""
        if self._stopping.is_set():
            return
        self._stop_by_s = monotonic() + self._stop_within_s
        self._stopping.set()
        with self._lock:
            child = self._child
        if child is not None:
            _let_go(child)

    def stop(self) -> None:
        """Let the child stop in peace; if it has not within its time, counted from when it was told, it is killed."""
        self.tell()
        with self._lock:
            child = self._child
        if child is not None:
            try:
                child.wait(max(0.0, self._stop_by_s - monotonic()))
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
                    self._command, stdin=subprocess.PIPE, env=self._environment, start_new_session=True
                )
            logger.info("worker process %d started", self._child.pid)
            code = self._child.wait()
            _let_go(self._child)
            if self._stopping.is_set():
                return
            pause_s = FIRST_PAUSE_S if monotonic() - began >= LIVED_S else min(LONGEST_PAUSE_S, 2 * pause_s)
            logger.error("the worker ended with code %d; another one starts in %.1f s", code, pause_s)
            self._stopping.wait(pause_s)


def _let_go(child: subprocess.Popen[bytes]) -> None:
    """End its standard input."""
    assert child.stdin is not None
    with suppress(OSError):
        child.stdin.close()


def stop_all(supervisors: Sequence[Supervisor]) -> None:
    """Stop all at once: together they take no longer than one."""
    for supervisor in supervisors:
        supervisor.tell()
    for supervisor in supervisors:
        supervisor.stop()
