"""A job while this worker holds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from hibari.jobs import Claim, Job, Order, State
from hibari.media.storage import Storage
from hibari.models.protocol import Model
from hibari.tools import Job as Plan

if TYPE_CHECKING:
    from hibari.worker.output import Output

SOURCES, CHECKPOINTS, PREVIEWS, CLIP = "sources", "checkpoints", "previews", "clip"


@dataclass(eq=False)
class Held:
    """What the worker knows of a job.

    Attributes:
        claim: the right to it.
        id: its name in the engine; another one for each attempt, and for each new beginning within one.
        folder: of this machine, for its files; gone when the job is.
        model: kept alive while the job needs it.
        plan: what the engine was asked.
        restored: it goes on from a checkpoint.
        output: once its frames come.
        wanted: what the queue wants of it, if not that it goes on.
        over: it is not to be spoken of any more: ended, given back or lost.
        reported_s, told_s: when the queue last heard of it, and when of a step (monotonic).
        saved_s, shown_s: when a checkpoint and a preview were last stored (monotonic).
        saved, shown: storage keys of the latest checkpoint and preview of this attempt.
        file_changed: when the engine's checkpoint that was stored last had been written.
    """

    claim: Claim
    id: str
    folder: Path
    model: Model | None = None
    plan: Plan | None = None
    restored: bool = False
    output: Output | None = None
    wanted: Order = Order.GO_ON
    over: Event = field(default_factory=Event)
    reported_s: float = 0.0
    told_s: float = 0.0
    saved_s: float = 0.0
    shown_s: float = 0.0
    saved: str | None = None
    shown: str | None = None
    file_changed: int = 0

    @property
    def prefix(self) -> str:
        """Of this attempt's files in the storage: whoever takes the job after us has another one."""
        return f"{self.claim.job.id}/{self.claim.attempt}"


def tidy(storage: Storage, job: Job) -> None:
    """Remove of a job that is over what was only needed on the way: all, unless it is completed.

    Raises:
        OutputError: the storage cannot be reached.
    """
    if job.state is not State.COMPLETED:
        storage.remove(job.id)
        return
    for what in (CHECKPOINTS, PREVIEWS):
        storage.remove(f"{job.id}/{job.attempt}/{what}")
    for attempt in range(1, job.attempt):
        storage.remove(f"{job.id}/{attempt}")
