"""Reading without keeping others waiting, and without asking the same thing many times at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from fastapi.concurrency import run_in_threadpool

from hibari.db import Database
from hibari.jobs import Jobs

FRESH_S = 0.1  # what was seen so lately holds for everybody

Arguments = ParamSpec("Arguments")
Found = TypeVar("Found")


async def read_soon(
    database: Database,
    read: Callable[Arguments, Found],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> Found:
    """A short read of the database, for a coroutine. One that lies in a file of this machine answers sooner than a
    thread takes over, and waits for no writer; one across a network may keep us waiting, in a thread."""
    if database.is_sqlite:
        return read(*args, **kwargs)
    return await run_in_threadpool(read, *args, **kwargs)


class Watch:
    """Looks whether something has happened to the jobs that streams follow: once for all of them, and not once each.
    For one event loop."""

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database = database
        self._jobs = jobs
        self._followed: Counter[str] = Counter()
        self._last: dict[str, int | None] = {}  # a job's last event; None once it is gone
        self._looked_s = 0.0

    @contextmanager
    def following(self, job_id: str) -> Generator[None]:
        """Look at this job too, as long as the context lasts."""
        self._followed[job_id] += 1
        try:
            yield
        finally:
            self._followed[job_id] -= 1
            self._followed = +self._followed  # those that nobody follows go

    async def has_news(self, job_id: str, after: int) -> bool:
        """Whether a followed job's last event is another than number `after`, or the job is gone. It is known FRESH_S
        late at most. True of a job that has not been looked at yet."""
        now = time.monotonic()
        if now - self._looked_s >= FRESH_S:
            self._looked_s = now
            ids = list(self._followed)
            found = await read_soon(self._database, self._jobs.last_events, ids)
            self._last = {one: found.get(one) for one in ids}
        return self._last.get(job_id) != after
