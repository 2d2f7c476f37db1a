"""Removes what is over: deleted and expired videos with their files, what dead workers left of others, and uploads that
no job needs."""

from __future__ import annotations

import logging
import time
from threading import Event, Thread

from hibari.assignment import Assignment
from hibari.contracts import HibariError
from hibari.jobs import Jobs, State, StoredFiles, Upkeep, Wanted
from hibari.media.storage import Storage
from hibari.worker.held import tidy

logger = logging.getLogger(__name__)

SWEEP_EVERY_S = 1.0
UPLOADS_EVERY_S = 600.0
UPLOAD_KEPT_S = 3600.0  # a request that is just coming in has stored its files, and has no job yet
UPLOADS = "uploads"
NOT_MADE = frozenset(State) - {State.COMPLETED}


class Housekeeping:
    """A thread. Every worker has one, and they do not hinder each other."""

    def __init__(self, jobs: Jobs, upkeep: Upkeep, stored: StoredFiles, storage: Storage) -> None:
        self._jobs = jobs
        self._upkeep = upkeep
        self._stored = stored
        self._storage = storage
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for that."""
        self._stopped.set()
        self._thread.join()

    def sweep(self) -> None:
        """End what is overdue, tidy up what is over, and remove what is gone: files first, then the record."""
        self._upkeep.sweep()
        for job in self._upkeep.to_tidy():
            tidy(self._storage, job)
            self._upkeep.tidied(job.id)
        for job_id in self._upkeep.to_purge():
            self._storage.remove(job_id)
            self._upkeep.purge(job_id)
        for key in self._stored.ownerless():
            self._storage.remove(key.rsplit("/", 1)[0])
            self._stored.forget(key)

    def sweep_uploads(self, now: float) -> int:
        """Remove uploads that came more than UPLOAD_KEPT_S ago and that no job needs; how many. What was counted before
        then and never stored counts no more."""
        counted = self._stored.counted_by(now - UPLOAD_KEPT_S)
        folders = {key.split("/", 1)[0] for key in counted}
        there = {key for folder in folders for key in self._storage.keys(folder)}
        for key in counted:
            if key not in there:
                self._stored.forget(key)
        old = [key for key in self._storage.keys(UPLOADS) if now - _came(key) > UPLOAD_KEPT_S]
        if not old:
            return 0
        needed = self._needed()
        gone = [key for key in old if key not in needed]
        for key in gone:
            self._storage.remove(key.rsplit("/", 1)[0])
            self._stored.forget(key)
        return len(gone)

    def _needed(self) -> set[str]:
        """Keys that jobs refer to which are still to be made, or could be made again after they were not."""
        keys: set[str] = set()
        after: str | None = None
        while True:
            page = self._jobs.page(after=after, limit=100, newest_first=False, wanted=Wanted(states=NOT_MADE))
            for job in page.jobs:
                keys |= {source.key for source in Assignment.from_json(job.request["assignment"]).sources()}
            if not page.has_more:
                return keys
            after = page.jobs[-1].id

    def _run(self) -> None:
        next_uploads = time.monotonic()
        while not self._stopped.wait(SWEEP_EVERY_S):
            try:
                self.sweep()
                if time.monotonic() >= next_uploads:
                    next_uploads = time.monotonic() + UPLOADS_EVERY_S
                    self.sweep_uploads(time.time())
            except HibariError as error:
                logger.warning("housekeeping goes on later: %s", error)
            except Exception:
                logger.exception("housekeeping goes on later")


def _came(key: str) -> float:
    """When an upload came, in Unix seconds: its name says so."""
    stamp = key.split("/")[1].split("-", 1)[0]
    return float(stamp) if stamp.isdecimal() else 0.0
