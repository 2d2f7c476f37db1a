"""What the tests of the queue share: a clock that stands until it is moved, and short ways to say things."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hibari.accounts import Accounts
from hibari.db import Database
from hibari.jobs import Claim, Claims, Job, Jobs, NewJob, Policy, StoredFiles, Upkeep

START = 1_800_000_000.0


@dataclass
class FakeClock:
    """Unix seconds, moved by hand."""

    now: float = START

    def __call__(self) -> float:
        return self.now

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@dataclass
class Queue:
    """All views of one queue."""

    database: Database
    policy: Policy = field(default_factory=lambda: Policy(lease_s=10, backoff_s=5))
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.database, self.clock, self.policy)
        self.upkeep = Upkeep(self.database, self.clock, self.policy)
        self.stored = StoredFiles(self.database, self.clock, self.policy)
        self.accounts = Accounts(self.database, self.clock)
        self.owners: dict[str, str] = {}

    def owner(self, name: str = "ann", **limits: Any) -> str:
        """The id of the account of that name, which is made if it is not there."""
        if name not in self.owners:
            self.owners[name] = self.accounts.create(name, **limits).id
        return self.owners[name]

    def add(self, owner: str = "ann", **values: Any) -> Job:
        """Queue a job."""
        given: dict[str, Any] = {"model": "testcard", "request": {"prompt": "a kite"}, "steps": 10, **values}
        return self.jobs.create(NewJob(owner=self.owner(owner), **given)).job

    def worker(self, name: str = "w1") -> Claims:
        """A worker."""
        return Claims(self.database, name, self.clock, self.policy)

    def claim(self, worker: str = "w1") -> Claim:
        """What that worker gets, which must be something."""
        claim = self.worker(worker).claim()
        assert claim is not None
        return claim

    def kinds(self, job_id: str) -> list[str]:
        """What has happened to a job."""
        return [event.kind.value for event in self.jobs.events(job_id)]
