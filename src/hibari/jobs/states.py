"""The states of a job, and the one table of what leads from which to which."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Happening(StrEnum):
    """What can happen to a job. All but progress change its state."""

    CREATED = "created"
    CLAIMED = "claimed"
    RELEASED = "released"
    RETRIED = "retried"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PROGRESS = "progress"


FINAL = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})
_UNFINISHED = frozenset({State.QUEUED, State.RUNNING})

# happening -> (states from which it can come, state to which it leads); created comes from nothing.
TRANSITIONS: Mapping[Happening, tuple[frozenset[State], State]] = {
    Happening.CREATED: (frozenset(), State.QUEUED),
    Happening.CLAIMED: (frozenset({State.QUEUED}), State.RUNNING),
    Happening.RELEASED: (frozenset({State.RUNNING}), State.QUEUED),
    Happening.RETRIED: (frozenset({State.RUNNING}), State.QUEUED),
    Happening.COMPLETED: (frozenset({State.RUNNING}), State.COMPLETED),
    Happening.FAILED: (_UNFINISHED, State.FAILED),
    Happening.CANCELLED: (_UNFINISHED, State.CANCELLED),
}
