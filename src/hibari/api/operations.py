"""The routes by which the service is run: its queue, models, storage and audit log. For whoever may not, they are not
there. A reviewer sees the queue."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from hibari import catalog, machine
from hibari.api import asked
from hibari.api.account import MAX_BODY_BYTES
from hibari.api.body import read_body
from hibari.api.keys import ADMINISTRATOR, Administrator, Given, actor_of, allowed
from hibari.api.making import described
from hibari.api.parts import Parts
from hibari.audit import Entry
from hibari.contracts import UnknownModel
from hibari.jobs import Job, PauseScope, State, Wanted

router = APIRouter(prefix="/admin", tags=["admin"])

OVERSEER = Depends(allowed("admin", "review", hidden=True))
Moment = Annotated[float | None, Query(ge=0, le=asked.MAX_MOMENT, description="Unix seconds.")]


class Queue(BaseModel):
    """How things stand. `paused_at` is since when everything is paused; null if it is not."""

    object: Literal["queue"] = "queue"
    paused_at: int | None
    counts: dict[State, int]
    oldest_queued_seconds: float


class QueuedVideo(BaseModel):
    """A video as whoever runs the service sees it: without its prompt. `status` knows `cancelled`, and `running` from
    the moment that a worker has it."""

    id: str
    object: Literal["admin.video"] = "admin.video"
    account_id: str
    account_name: str
    key_id: str | None
    model: str
    status: State
    priority: int
    progress: int
    step: int
    steps: int | None
    attempt: int
    worker: str | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    cancel_requested: bool
    error_code: str | None


class QueuedVideoList(BaseModel):
    """A page of everybody's videos."""

    object: Literal["list"] = "list"
    data: list[QueuedVideo]
    first_id: str | None
    last_id: str | None
    has_more: bool


class MachineFinding(BaseModel):
    """A fact of the server's machine; `ok` is null where it is neither good nor bad."""

    name: str
    ok: bool | None
    text: str


class ModelState(BaseModel):
    """A model on the server's machine. `problem` is what is missing, as far as can be said without loading it.
    `workers` have it loaded and are at work with it."""

    id: str
    summary: str
    is_default: bool
    licence: str
    weights_bytes: int | None
    problem: str | None
    workers: int
    running: int
    queued: int
    completed: int
    failed: int


class ModelStates(BaseModel):
    """All models, and the machine that the server runs on; workers may run on others."""

    object: Literal["list"] = "list"
    data: list[ModelState]
    machine: list[MachineFinding]


class AccountStorage(BaseModel):
    """What an account's files take, and may; null is no limit."""

    account_id: str
    account_name: str
    stored_bytes: int
    max_stored_bytes: int | None


class Sweeper(BaseModel):
    """What was deleted and is still there. Workers sweep every second: a minute of waiting means that none runs."""

    waiting_videos: int
    waiting_bytes: int
    oldest_seconds: float


class StorageState(BaseModel):
    """Where the videos lie. `free_bytes` is null where there is no end of it, as in S3."""

    object: Literal["storage"] = "storage"
    kind: Literal["folder", "objects"]
    free_bytes: int | None
    reserve_bytes: int
    used_bytes: int
    kept_seconds: float | None = Field(description="How long a finished video is kept; null is for ever.")
    accounts: list[AccountStorage]
    sweeper: Sweeper


class AuditEntry(BaseModel):
    """Who did what to whom. `actor_id` and `key_prefix` are null at the command line."""

    id: int
    object: Literal["audit.entry"] = "audit.entry"
    at: int
    via: Literal["api", "cli"]
    actor_id: str | None
    actor_name: str
    key_prefix: str | None
    action: str
    target_kind: str
    target_id: str | None
    target_name: str | None
    account_id: str | None
    details: dict[str, Any]


class AuditPage(BaseModel):
    """A page of the log, the newest first."""

    object: Literal["list"] = "list"
    data: list[AuditEntry]
    first_id: int | None
    last_id: int | None
    has_more: bool


@router.get("/queue", dependencies=[OVERSEER])
def queue(parts: Given) -> Queue:
    """How many videos are in which state, and whether everything is paused."""
    stats, paused = parts.upkeep.stats(), parts.jobs.paused()
    return Queue(
        paused_at=None if paused is None else int(paused),
        counts=stats.counts,
        oldest_queued_seconds=round(stats.oldest_queued_s, 3),
    )


@router.post("/queue/pause")
def pause(parts: Given, identity: Administrator) -> Queue:
    """Stop everybody's videos, running ones included; nothing is lost."""
    parts.jobs.pause(PauseScope.everything(), by=actor_of(identity))
    return queue(parts)


@router.post("/queue/resume")
def resume(parts: Given, identity: Administrator) -> Queue:
    """Let everything go on; what is paused by itself stays so."""
    parts.jobs.resume(PauseScope.everything(), by=actor_of(identity))
    return queue(parts)


@router.get("/videos", dependencies=[OVERSEER])
def videos(
    parts: Given,
    after: Annotated[str | None, Query(description="Id of the video after which the page begins.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    status: Annotated[list[State] | None, Query(description="Only these; can be given again.")] = None,
    account_id: Annotated[str | None, Query(max_length=100, pattern="^[ -~]*$")] = None,
) -> QueuedVideoList:
    """Everybody's videos, the newest first, without their prompts."""
    found = parts.jobs.page(owner=account_id, after=after, limit=limit, wanted=Wanted(states=status))
    names = {account.id: account.name for account in parts.accounts.all()}
    data = [_video(job, names) for job in found.jobs]
    return QueuedVideoList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=found.has_more,
    )


@router.post("/videos/{video_id}", openapi_extra=described(asked.ChangedVideo))
async def prioritise(video_id: str, request: Request, parts: Given, identity: Administrator) -> QueuedVideo:
    """Give anybody's video another priority; higher comes first, whoever waits. What has begun goes on."""
    wish = (await read_body(request, MAX_BODY_BYTES)).parse(asked.ChangedVideo)

    def work() -> QueuedVideo:
        job = parts.jobs.set_priority(video_id, wish.priority, by=actor_of(identity))
        return _named(parts, job)

    return await run_in_threadpool(work)


@router.post("/videos/{video_id}/cancel")
def cancel(video_id: str, parts: Given, identity: Administrator) -> QueuedVideo:
    """Stop anybody's video and keep its record. One that is finished stays as it is."""
    return _named(parts, parts.jobs.cancel(video_id, by=actor_of(identity)))


@router.get("/models", dependencies=[OVERSEER])
def models(parts: Given) -> ModelStates:
    """What is installed on the server's machine, as far as can be seen without loading it, and what is at work."""
    loads = parts.upkeep.models()
    without_torch = "torch is not installed" if find_spec("torch") is None else None
    states: list[ModelState] = []
    for name in catalog.names(parts.settings.models):
        try:
            spec, problem = parts.spec(name), None
        except UnknownModel as error:  # pulled, but not to be used
            spec, problem = None, str(error)
        counts, workers = loads.get(name, ({}, 0))
        size_bytes = catalog.weights_bytes(name, parts.settings.models)
        if size_bytes is None:
            problem = problem or f"weights of {name} are missing"
        states.append(
            ModelState(
                id=name,
                summary=spec.summary if spec else "",
                is_default=name == parts.settings.model,
                licence=spec.licence if spec else "",
                weights_bytes=size_bytes or None,
                problem=problem or without_torch,
                workers=workers,
                running=counts.get(State.RUNNING, 0),
                queued=counts.get(State.QUEUED, 0),
                completed=counts.get(State.COMPLETED, 0),
                failed=counts.get(State.FAILED, 0),
            )
        )
    data_dir = parts.settings.data_dir.absolute()
    folder = next(one for one in (data_dir, *data_dir.parents) if one.exists())
    return ModelStates(data=states, machine=_machine(folder))


@router.get("/storage", dependencies=[ADMINISTRATOR])
def storage(parts: Given) -> StorageState:
    """What is free, what every account's files take, and what was deleted and is still to be removed."""
    free_bytes, usage, waiting = parts.storage.free_bytes(), parts.jobs.usage(), parts.upkeep.waiting()
    found = [
        AccountStorage(
            account_id=account.id,
            account_name=account.name,
            stored_bytes=usage[account.id].stored_bytes,
            max_stored_bytes=usage[account.id].max_stored_bytes,
        )
        for account in parts.accounts.all()
        if account.id in usage  # it may have been made in between
    ]
    return StorageState(
        kind="objects" if free_bytes is None else "folder",
        free_bytes=free_bytes,
        reserve_bytes=parts.settings.reserve_bytes,
        used_bytes=sum(one.stored_bytes for one in found),
        kept_seconds=parts.settings.keep_s,
        accounts=sorted(found, key=lambda one: -one.stored_bytes),
        sweeper=Sweeper(
            waiting_videos=waiting.jobs,
            waiting_bytes=waiting.size_bytes,
            oldest_seconds=round(waiting.oldest_s, 3),
        ),
    )


@router.get("/audit", dependencies=[ADMINISTRATOR])
def audit(
    parts: Given,
    after: Annotated[int | None, Query(ge=0, le=2**62, description="Id of the entry before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    action: Annotated[str | None, Query(max_length=60, description="As `key.revoked`, or `key`.")] = None,
    account_id: Annotated[
        str | None, Query(max_length=100, pattern="^[ -~]*$", description="Who acted, or whose it was.")
    ] = None,
    since: Moment = None,
    until: Moment = None,
) -> AuditPage:
    """Who did what to whom, the newest first; by the API and by `hibari admin`."""
    found, has_more = parts.audit.page(
        after=after, limit=limit, action=action, account=account_id, since=since, until=until
    )
    data = [_entry(entry) for entry in found]
    return AuditPage(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=has_more,
    )


def _entry(entry: Entry) -> AuditEntry:
    return AuditEntry(
        id=entry.number,
        at=int(entry.at),
        via=entry.actor.via,
        actor_id=entry.actor.account_id,
        actor_name=entry.actor.name,
        key_prefix=entry.actor.key_prefix,
        action=entry.action.value,
        target_kind=entry.target.kind,
        target_id=entry.target.id,
        target_name=entry.target.name,
        account_id=entry.target.account_id,
        details=dict(entry.details),
    )


def _named(parts: Parts, job: Job) -> QueuedVideo:
    return _video(job, {account.id: account.name for account in parts.accounts.all()})


def _video(job: Job, names: dict[str, str]) -> QueuedVideo:
    return QueuedVideo(
        id=job.id,
        account_id=job.owner,
        account_name=names.get(job.owner, job.owner),
        key_id=job.key_id,
        model=job.model,
        status=job.state,
        priority=job.priority,
        progress=job.progress,
        step=job.step,
        steps=job.steps,
        attempt=job.attempt,
        worker=job.worker,
        created_at=int(job.created_at),
        started_at=None if job.started_at is None else int(job.started_at),
        finished_at=None if job.finished_at is None else int(job.finished_at),
        cancel_requested=job.cancel_requested,
        error_code=job.error_code,
    )


def _machine(folder: Path) -> list[MachineFinding]:
    return [MachineFinding(name=one.name, ok=one.ok, text=one.text) for one in machine.findings(folder)]
