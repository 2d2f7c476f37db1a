"""The frozen nouns of the queue, as the other rooms see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sqlalchemy import Row

from hibari.db.records import record
from hibari.jobs.states import FINAL, Happening, State


@dataclass(frozen=True, slots=True)
class NewJob:
    """A wish for a job.

    Attributes:
        owner: id of the account whose job it is, and against whose limits it counts.
        model: name in the catalog; workers claim by it.
        request: what the worker needs, as JSON can say it. The queue never looks inside.
        key_id: the API key it came by; None without one.
        steps: sampler steps, if known; progress and estimates come from it.
        pace: a name that jobs share which take about as long a step (model and native shape); estimates come from it.
        priority: higher comes first, whoever waits. It is the operator's to give: shares are fair within one priority.
        deadline_at: Unix seconds after which nobody wants it any more; it fails then.
        keep_s: seconds that the finished job is kept; None is until it is deleted.
        remixed_from: id of the job that this is a remix of.
        sources: ids of jobs whose clips it starts from.
        expected_bytes: what its files are likely to take; counts against the owner's quota until it is over.
        idempotency_key: the same key from the same owner makes no second job.
        prompt: by which its owner finds it again.
        kind: how it is made, in a word, such as `remix`; for the same purpose.
        sample: it was made for a newcomer to look at: it counts against no limit of its owner's.
        fingerprint: what must be the same for the same key, best a hash of the request as it came in, before anything
            such as a seed was drawn; by default a hash of `model`, `request`, `remixed_from` and `sources`.
    """

    owner: str
    model: str
    request: Mapping[str, Any]
    key_id: str | None = None
    steps: int | None = None
    pace: str | None = None
    priority: int = 0
    deadline_at: float | None = None
    keep_s: float | None = None
    remixed_from: str | None = None
    sources: tuple[str, ...] = ()
    expected_bytes: int = 0
    idempotency_key: str | None = None
    fingerprint: str | None = None
    prompt: str = ""
    kind: str | None = None
    sample: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is now. Moments are Unix seconds.

    Attributes:
        id: `video_` and 32 hexadecimal digits.
        number: order of arrival; grows, with gaps.
        step, steps: sampler steps done, and in all; `steps` is None where nobody has said.
        preview, checkpoint: storage keys that the worker gave, of the latest picture and of the latest saved state.
        started_at: when the first step of any attempt began; None while it only waits, also in a worker that is still
            loading its model.
        finished_at: when it came into a final state.
        expires_at: when it will be deleted.
        cancel_requested: it is running, and its worker is told to stop.
        error_code, error_message: of a failed or a cancelled job.
        result: what the worker said of a completed job: storage keys, recipe.
        attempt: how often it has been claimed.
        failures, crashes: attempts that failed, and workers that died without its getting further.
        worker: who holds it, or held it last.
        folder: id of the folder that it lies in.
        kind, sample: as `NewJob` had them.
    """

    id: str
    number: int
    owner: str
    key_id: str | None
    state: State
    model: str
    request: Mapping[str, Any]
    priority: int
    pace: str | None
    step: int
    steps: int | None
    preview: str | None
    checkpoint: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float | None
    deadline_at: float | None
    cancel_requested: bool
    error_code: str | None
    error_message: str | None
    result: Mapping[str, Any] | None
    remixed_from: str | None
    sources: tuple[str, ...]
    attempt: int
    failures: int
    crashes: int
    worker: str | None
    folder: str | None
    favourite: bool
    kind: str | None
    sample: bool

    @property
    def progress(self) -> int:
        """Percent, 0 to 100; 100 only when it is completed."""
        if self.state is State.COMPLETED:
            return 100
        return min(99, 100 * self.step // self.steps) if self.steps else 0

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to it, except that it goes."""
        return self.state in FINAL

    @classmethod
    def from_row(cls, row: Row[Any]) -> Job:
        """A row of `schema.jobs`."""
        return record(
            cls,
            row,
            state=State(row.state),
            cancel_requested=row.cancel_requested_at is not None,
            sources=tuple(row.sources),
            favourite=row.favourite_at is not None,
        )


@dataclass(frozen=True, slots=True)
class Created:
    """What became of a wish.

    Attributes:
        job: the job.
        replayed: it had been there already, made with the same idempotency key.
    """

    job: Job
    replayed: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs out of a list, in its order; `has_more` if others come after them. `estimates` are by id, of those jobs
    that are not over, if they were asked for."""

    jobs: tuple[Job, ...]
    has_more: bool
    estimates: Mapping[str, Estimate] = field(default_factory=dict[str, "Estimate"])


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of an account's; `jobs` is how many lie in it. `created_at` is in Unix seconds."""

    id: str
    name: str
    created_at: float
    jobs: int


@dataclass(frozen=True, slots=True)
class Family:
    """A job, and after it its ancestors and descendants, the oldest first; `gone` are sources that are no longer there,
    and `has_more` says that it is larger than is told."""

    jobs: tuple[Job, ...]
    gone: tuple[str, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job.

    Attributes:
        number: counts up from 1 within a job, with gaps; what `Last-Event-ID` takes. Of progress only the latest is
            kept, and it moves up.
        at: Unix seconds.
        kind: what happened.
        state: the job's state from then on.
        data: progress: `step`, `steps`, `preview`; claimed: `attempt`; retried and failed: `code`, `message`.
    """

    number: int
    at: float
    kind: Happening
    state: State
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a waiting client wants to know.

    Attributes:
        position: jobs that are likely to begin before this one; 0 for one that runs.
        seconds_left: until it is finished, from measured step times; None if nothing like it was measured yet.
    """

    position: int
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's right to a job; every call about the job takes it.

    Attributes:
        job: the job as it was claimed; `checkpoint` and `step` say where to go on.
        attempt: the fencing token. Files of this attempt belong under a key that contains it.
    """

    job: Job
    attempt: int


class Order(Enum):
    """What the queue tells a worker at a heartbeat."""

    GO_ON = "go on"
    CANCEL = "cancel"  # stop, then `Claims.cancelled`
    RELEASE = "release"  # the owner, the key or everything is paused: save the state, then `Claims.release`
