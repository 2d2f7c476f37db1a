"""The shapes that go over the wire, and how a job becomes one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from hibari.assignment import Assignment
from hibari.contracts import Kind
from hibari.jobs import Estimate, Job, State

Status = Literal["queued", "in_progress", "completed", "failed"]
PROBLEM = "the request was refused; `error.code` says why"


class JobError(BaseModel):
    """Why a video was not made."""

    code: str
    message: str


class RecipeCard(BaseModel):
    """A card of a storyboard: a prompt, a picture, or the first `seconds` of `video`. Null in `transition_s` is the
    storyboard's own."""

    at_s: float
    prompt: str
    picture: bool
    video: str | None
    seconds: float | None
    transition_s: float | None


class Recipe(BaseModel):
    """What was asked for beyond what the video says by itself; null is the model's own way.

    `added_s` is what an extension or a loop adds, `picture` whether a first frame was given, `kept` the numbers of the
    first and the last frame that a trim kept.
    """

    negative_prompt: str | None
    guidance_scale: float | None
    sampler: str | None
    preset: str | None
    given_noise: float | None
    strength: str | None
    curve: str | None
    added_s: float | None
    transition_s: float | None
    picture: bool
    kept: tuple[int, int] | None
    cards: list[RecipeCard]


class Details(BaseModel):
    """What Hibari knows beyond the Videos API.

    `model` is what really made it, `native_size` the size it was made at, `size` is reached by resizing.
    `queue_position` counts the videos that are likely to begin before it; like `seconds_left` it is null where nothing
    is known, and for a video that is over.
    """

    model: str
    tool: str | None
    seed: int | None
    steps: int | None
    step: int
    fps: int | None
    frames: int | None
    native_size: str | None
    postprocess: list[str]
    attempt: int
    queue_position: int | None
    seconds_left: float | None
    sources: list[str]
    kind: Kind
    folder: str | None = Field(description="Id of the folder that it lies in.")
    favourite: bool
    sample: bool = Field(description="It was made for a newcomer to look at, and counts against no limit.")
    recipe: Recipe
    variations: list[str] | None = Field(
        default=None, description="Ids of all videos that one request made; only in its answer."
    )


class Video(BaseModel):
    """A video, from the moment that it was asked for."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Status
    progress: int = Field(ge=0, le=100, description="Percent; moves with the steps.")
    created_at: int
    completed_at: int | None
    expires_at: int | None
    error: JobError | None
    prompt: str
    remixed_from_video_id: str | None
    seconds: str
    size: str
    hibari: Details


class VideoList(BaseModel):
    """A page of videos."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Forecast(BaseModel):
    """What a video would be, and when it would be there. Where none of its kind was made here yet, `measured` is false,
    and `seconds` is a guess from others or null."""

    model: str
    size: str
    native_size: str
    frames: int
    fps: int
    steps: int
    queue_position: int
    seconds: float | None
    measured: bool


class Lineage(BaseModel):
    """A video, first, with all that it was made of and all that was made of it: `hibari.sources` of each says how they
    hang together. `missing` are sources that have been deleted; with `has_more` there are more relatives than these."""

    object: Literal["list"] = "list"
    data: list[Video]
    missing: list[str]
    has_more: bool


class Folder(BaseModel):
    """Where videos lie; each in one folder or in none."""

    id: str
    object: Literal["folder"] = "folder"
    name: str
    created_at: int
    videos: int


class FolderList(BaseModel):
    """All folders, by name."""

    object: Literal["list"] = "list"
    data: list[Folder]


class DeletedFolder(BaseModel):
    """A folder that is gone; what lay in it is not."""

    id: str
    deleted: Literal[True] = True
    object: Literal["folder.deleted"] = "folder.deleted"


class Deleted(BaseModel):
    """A video that is gone."""

    id: str
    deleted: Literal[True] = True
    object: Literal["video.deleted"] = "video.deleted"


class DeletedList(BaseModel):
    """Videos that are gone."""

    object: Literal["list"] = "list"
    data: list[Deleted]


class Character(BaseModel):
    """A character that was stored."""

    id: str
    created_at: int
    name: str


class ModelPreset(BaseModel):
    """A published way to run a model. Where it is `fixed`, steps and guidance are its own and cannot be changed."""

    name: str
    summary: str
    steps: int
    guidance_scale: float = Field(description="The highest of its steps.")
    sampler: str | None
    fixed: bool
    missing: str | None = Field(description="Why it cannot be used as the model lies on this server.")


class Model(BaseModel):
    """A model, or a name that stands for one."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "hibari"
    summary: str
    stands_for: str | None = Field(description="The model behind a name of Sora's.")
    is_default: bool = Field(description="It is taken where no model is named.")
    sizes: list[str]
    fps: int
    default_seconds: float
    default_steps: int
    default_guidance_scale: float
    max_seconds: float
    licence: str
    kinds: list[Kind] = Field(
        description="What it can make a video of. Without `prompt`, a prompt alone is not enough."
    )
    presets: list[ModelPreset]


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model]


class ErrorDetail(BaseModel):
    """What was wrong."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorAnswer(BaseModel):
    """Every refusal."""

    error: ErrorDetail


def video_of(job: Job, estimate: Estimate | None = None, variations: list[str] | None = None) -> Video:
    """A job as the wire shows it. It is `queued` until its first step begins."""
    shown: dict[str, Any] = job.request["shown"]
    options: dict[str, Any] = job.request["assignment"]["options"]
    result = job.result or {}
    error = None
    if job.error_code is not None and job.state in (State.FAILED, State.CANCELLED):
        error = JobError(code=job.error_code, message=job.error_message or "")
    return Video(
        id=job.id,
        model=shown["model"],
        status=_status(job),
        progress=job.progress,
        created_at=int(job.created_at),
        completed_at=_whole(job.finished_at) if job.state is State.COMPLETED else None,
        expires_at=_whole(job.expires_at),
        error=error,
        prompt=shown["prompt"],
        remixed_from_video_id=job.remixed_from,
        seconds=shown["seconds"],
        size=shown["size"],
        hibari=Details(
            model=job.model,
            tool=job.request["assignment"]["tool"],
            seed=options.get("seed"),
            steps=job.steps,
            step=job.step,
            fps=result.get("fps"),
            frames=result.get("frames"),
            native_size=result.get("native_size"),
            postprocess=result.get("postprocess", []),
            attempt=job.attempt,
            queue_position=estimate.position if estimate and job.started_at is None else None,
            seconds_left=estimate.seconds_left if estimate else None,
            sources=list(job.sources),
            kind=Assignment.from_json(job.request["assignment"]).kind,
            folder=job.folder,
            favourite=job.favourite,
            sample=job.sample,
            recipe=_recipe(job.request["assignment"]),
            variations=variations,
        ),
    )


def _recipe(assignment: Mapping[str, Any]) -> Recipe:
    tool: str | None = assignment["tool"]
    options: Mapping[str, Any] = assignment["options"]
    strength = assignment["strength"]
    return Recipe(
        negative_prompt=options.get("negative_prompt"),
        guidance_scale=options.get("guidance_scale"),
        sampler=options.get("sampler"),
        preset=options.get("preset"),
        given_noise=options.get("given_noise"),
        strength=None if strength is None else str(strength),
        curve=assignment["curve"] if tool == "blend" else None,
        added_s=None if tool is None else options.get("seconds"),
        transition_s=options.get("transition_s"),
        picture=assignment["image"] is not None,
        kept=assignment.get("kept"),
        cards=[
            RecipeCard(
                at_s=card["at_s"],
                prompt=card["prompt"],
                picture=card["image"] is not None,
                video=card.get("video"),
                seconds=card.get("seconds"),
                transition_s=card.get("transition_s"),
            )
            for card in assignment["cards"]
        ],
    )


def poll_after_ms(estimate: Estimate | None) -> int:
    """How long a client should wait before it asks again: a tenth of what is left, 0.2 to 10 seconds; a second where
    nothing is known."""
    if estimate is None or estimate.seconds_left is None:
        return 1000
    return round(min(10.0, max(0.2, estimate.seconds_left / 10)) * 1000)


def _status(job: Job) -> Status:
    match job.state:
        case State.QUEUED:
            return "queued"
        case State.RUNNING:
            return "queued" if job.started_at is None else "in_progress"
        case State.COMPLETED:
            return "completed"
        case State.FAILED | State.CANCELLED:
            return "failed"


def _whole(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
