"""The queue's rules in numbers, and its clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

from hibari.contracts import InvalidRequest

Clock = Callable[[], float]
"""Unix time in seconds. Hosts that share a queue must agree within a small part of `Policy.lease_s`."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient and how generous the queue is.

    Attributes:
        lease_s: a worker that has not been heard of for so long is dead. Longer than the longest step.
        max_attempts: how often a job may be tried that fails in a way that may pass (out of memory, storage away).
        backoff_s: the pause before the second try; it doubles with each further one.
        max_backoff_s: the longest pause.
        max_crashes: a job under which so many workers died without its getting any further fails for good.
        max_running, max_queued: jobs an owner whose account says nothing else may have; None is no limit.
        max_stored_bytes: what the files of such an owner may take together; None is no limit.
    """

    lease_s: float = 30.0
    max_attempts: int = 3
    backoff_s: float = 5.0
    max_backoff_s: float = 300.0
    max_crashes: int = 2
    max_running: int | None = None
    max_queued: int | None = None
    max_stored_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("lease_s", "backoff_s", "max_backoff_s"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise InvalidRequest(f"{name} is {value:g}; must be above 0 seconds", field=name)
        for name in ("max_attempts", "max_crashes"):
            if getattr(self, name) < 1:
                raise InvalidRequest(f"{name} is {getattr(self, name)}; must be at least 1", field=name)

    def backoff(self, failures: int) -> float:
        """Seconds to wait after the `failures`-th failure, the first being 1."""
        return min(self.max_backoff_s, self.backoff_s * 2.0 ** min(failures - 1, 30))
