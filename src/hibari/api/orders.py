"""From what was asked to jobs: everything is checked here that can be without a model."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hibari.accounts import Identity
from hibari.api.asked import Create, Options
from hibari.api.errors import Refused
from hibari.api.parts import Parts, is_sora
from hibari.api.room import check_disk
from hibari.assignment import Assignment, Source, StoredCard
from hibari.contracts import (
    MAX_OUTPUT_HEIGHT_PX,
    MAX_OUTPUT_WIDTH_PX,
    MIN_OUTPUT_PX,
    Card,
    GenerationRequest,
    InvalidRequest,
    Kind,
    ModelSpec,
    Tool,
)
from hibari.jobs import Created, Job, NewJob, State

RANDOM_SEEDS = 2**31
BITS_PER_PIXEL = 0.5
SAMPLE_PRIORITY = -1  # whatever somebody asks for comes first
SORA_SIZE, SORA_SECONDS, SORA_FPS = (720, 1280), 4.0, 24  # what Sora's code gets if it says nothing


@dataclass(frozen=True, slots=True)
class Given:
    """A clip that a job starts from. `job` is None for one that was uploaded."""

    source: Source
    width: int
    height: int
    seconds: float
    fps: int | None
    job: Job | None


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and what makes a repetition of the request known.

    Attributes:
        idempotency_key: as it came; None without one.
        fingerprint: of the whole request as it came.
    """

    identity: Identity
    idempotency_key: str | None
    fingerprint: str

    def stored_key(self, index: int = 0) -> str | None:
        """The idempotency key of the request's job number `index`: one key for one request, so its variations have keys
        of their own made of it."""
        key = self.idempotency_key
        return None if key is None else hashlib.sha256(f"{index} {key}".encode()).hexdigest()


def fingerprint(route: str, values: dict[str, Any], files: dict[str, str]) -> str:
    """What must be the same for the same idempotency key."""
    return hashlib.sha256(json.dumps([route, values, files], sort_keys=True).encode()).hexdigest()


def given_video(parts: Parts, identity: Identity, video_id: str) -> Given:
    """A finished video of the one who asks.

    Raises:
        NotFound: there is none.
        Refused: it is not finished.
    """
    job = finished(parts, identity, video_id)
    result = job.result or {}
    fps, frames = int(result["fps"]), int(result["frames"])
    source = Source(result["video"], result.get("latent"))
    return Given(source, int(result["width"]), int(result["height"]), frames / fps, fps, job)


def finished(parts: Parts, identity: Identity, video_id: str) -> Job:
    """A job whose clip is there.

    Raises:
        NotFound: there is none of that id.
        Refused: 409, it is not finished, or has failed.
    """
    job = parts.jobs.get(video_id, owner=identity.account.id)
    if job.state is State.COMPLETED:
        return job
    if job.is_final:
        raise Refused(409, "video_failed", f"the video {job.id} was not made: {job.error_message}")
    raise Refused(
        409,
        "video_not_ready",
        f"the video {job.id} is not finished ({job.progress} %); ask again when its status is completed",
    )


def from_prompt(
    parts: Parts,
    asker: Asker,
    asked: Create,
    image: Source | None,
    cards: Sequence[StoredCard],
    *,
    sample: bool = False,
) -> list[Created]:
    """Jobs of a prompt or a storyboard, with a picture or without.

    Raises:
        InvalidRequest: it cannot be made; says what can.
    """
    spec, options, request = resolved(parts, asked, image, cards)
    assignment = Assignment(asked.prompt, image=image, cards=tuple(cards), options=options)
    videos = tuple(dict.fromkeys(card.video for card in cards if card.video is not None))
    return _create(parts, asker, asked, spec, assignment, request, sources=videos, sample=sample)


def resolved(
    parts: Parts, asked: Create, image: Source | None, cards: Sequence[StoredCard]
) -> tuple[ModelSpec, dict[str, Any], GenerationRequest]:
    """What a prompt or a storyboard comes to: the model, the options that were given, and the complete request.

    Raises:
        InvalidRequest: it cannot be made; says what can.
    """
    spec = parts.spec(asked.model)
    options = _options(asked)
    if asked.transition_s is not None:
        options["transition_s"] = asked.transition_s
    sora = asked.model is not None and is_sora(asked.model)
    size = _size(asked.size) if asked.size else (SORA_SIZE if sora else None)
    seconds = asked.seconds if asked.seconds is not None else (SORA_SECONDS if sora else None)
    if sora:
        options.setdefault("fps", SORA_FPS)
    options |= {"size": size, "seconds": seconds}
    texts = [Card(card.at_s, card.prompt, card.transition_s) for card in cards if card.prompt]
    if texts and asked.prompt.strip() and texts[0].at_s > 0:
        texts.insert(0, Card(0.0, asked.prompt))  # as `tools` does
    prompt = "" if texts else asked.prompt
    checked: dict[str, Any] = {**options, "cards": texts, "seed": asked.seed or 0}
    request = GenerationRequest.resolve(spec, prompt, **checked)
    for card in cards:
        if not 0 <= card.at_s <= request.seconds:
            raise InvalidRequest(
                f"a card is at {card.at_s:g} s; the clip has 0 to {request.seconds:g} s", field="cards"
            )
    clips_s = sum(card.seconds or 0 for card in cards)
    if clips_s and clips_s >= request.seconds:
        raise InvalidRequest(
            f"the clips fill the whole video of {request.seconds:g} s; make it longer, or the clips shorter",
            field="seconds",
        )
    pictures = sum(card.image is not None for card in cards) + (image is not None)
    if pictures and pictures >= spec.latent_frames(request.native_frames):
        raise InvalidRequest(
            f"{pictures} pictures fill the whole clip of {request.seconds:g} s; make it longer",
            field="seconds",
        )
    return spec, options, request


def again(parts: Parts, asker: Asker, video_id: str) -> Created:
    """The same job once more, its seed included.

    Raises:
        NotFound: there is no such video.
        Refused: 409, something that it was made from has been deleted.
    """
    job = parts.jobs.get(video_id, owner=asker.identity.account.id)
    expected_bytes = int(job.request.get("expected_bytes", 0))
    check_disk(parts, expected_bytes)
    for source in Assignment.from_json(job.request["assignment"]).sources():
        if parts.storage.find(source.key) is None:
            raise Refused(
                409,
                "source_deleted",
                f"what {job.id} was made from is no longer here; ask for a new video, and send it again",
            )
    new = NewJob(
        owner=asker.identity.account.id,
        key_id=asker.identity.key.id if asker.identity.key else None,
        model=job.model,
        request=job.request,
        steps=job.steps,
        pace=job.pace,
        keep_s=parts.settings.keep_s,
        sources=job.sources,
        expected_bytes=expected_bytes,
        remixed_from=job.remixed_from,
        idempotency_key=asker.stored_key(),
        fingerprint=asker.fingerprint,
        prompt=job.request["shown"]["prompt"],
        kind=job.kind,
    )
    return parts.jobs.create(new)


def trimmed(parts: Parts, asker: Asker, clip: Given, first: int, last: int) -> Created:
    """The job that keeps the frames `first` to `last` of a video. It has one step, and no model takes part in it.

    Raises:
        InvalidRequest: there are no such frames, or fewer than two of them.
    """
    job = clip.job
    assert job is not None
    frames, fps = int((job.result or {})["frames"]), int((job.result or {})["fps"])
    if not first < last < frames:
        raise InvalidRequest(
            f"frames {first} to {last} cannot be kept; the video has the frames 0 to {frames - 1}, and two at least "
            "must stay",
            field="first_frame" if first >= last else "last_frame",
        )
    kept = last - first + 1
    expected_bytes = _expected_bytes(clip.width, clip.height, kept)
    check_disk(parts, expected_bytes)
    options = {"seed": job.request["assignment"]["options"].get("seed")}
    assignment = Assignment("", tool="trim", clips=(clip.source,), kept=(first, last), options=options)
    new = NewJob(
        owner=asker.identity.account.id,
        key_id=asker.identity.key.id if asker.identity.key else None,
        model=job.model,
        request={
            "assignment": assignment.to_json(),
            "shown": {**job.request["shown"], "seconds": f"{round(kept / fps, 3):g}"},
            "expected_bytes": expected_bytes,
        },
        steps=1,
        pace=f"trim:{clip.width}x{clip.height}x{kept}",
        prompt=job.request["shown"]["prompt"],
        kind=assignment.kind,
        keep_s=parts.settings.keep_s,
        sources=(job.id,),
        expected_bytes=expected_bytes,
        idempotency_key=asker.stored_key(),
        fingerprint=asker.fingerprint,
    )
    return parts.jobs.create(new)


def _expected_bytes(width: int, height: int, frames: float) -> int:
    """What the files of a video are likely to take, until they are there: clips of the rendered world, 128x128 px, took
    0.26 to 0.73 bits a pixel (three measured)."""
    return round(width * height * frames * BITS_PER_PIXEL / 8)


def pace_of(spec: ModelSpec, request: GenerationRequest) -> str:
    """What videos have in common that take about as long a step."""
    return f"{_manner(spec, request)}:{request.native_width}x{request.native_height}x{request.native_frames}"


def _manner(spec: ModelSpec, request: GenerationRequest) -> str:
    """The model, and the preset, which may take half the pixels or twice the work in some steps."""
    return f"{spec.name} {request.preset}" if request.preset else spec.name


def guess_s(parts: Parts, spec: ModelSpec, request: GenerationRequest) -> float | None:
    """What a video is likely to take where none of its pace was made: of the model's measured paces the nearest in
    size, else what its spec says, each in proportion to the pixels. None where nothing is known."""
    volume = request.native_width * request.native_height * request.native_frames
    known: dict[int, float] = {}
    for name, step_s in parts.jobs.paces().items():
        model, _, shape = name.rpartition(":")
        if model == _manner(spec, request):
            known[math.prod(int(side) for side in shape.split("x"))] = step_s
    if not known and spec.reference_step_s is not None:
        width, height = spec.sizes[0]
        known[width * height * round(spec.default_seconds * spec.fps)] = spec.reference_step_s
    if not known:
        return None
    nearest = min(known, key=lambda one: abs(math.log(one / volume)))
    return request.steps * known[nearest] * volume / nearest


def from_clips(
    parts: Parts,
    asker: Asker,
    asked: Options,
    tool: Tool,
    clips: Sequence[Given],
    *,
    prompt: str,
    size: str | None = None,
    seconds: float | None = None,
    strength: str | None = None,
    curve: str = "smooth",
) -> list[Created]:
    """Jobs of a tool that works on clips. `seconds` is what is added, for tools that add.

    Raises:
        InvalidRequest: it cannot be made; says what can.
    """
    first = clips[0]
    model = asked.model
    if model is None and first.job is not None:
        model = first.job.model
    spec = parts.spec(model)
    if not prompt.strip():
        # The clip's own recipe says what it shows, if it is one of ours.
        if first.job is None:
            raise InvalidRequest("the prompt is empty; say what the clip shows", field="prompt")
        prompt = str(first.job.request["shown"]["prompt"])
    options = _options(asked)
    if first.fps is not None:
        options.setdefault("fps", min(first.fps, 30))
    if size is not None:
        options["size"] = _size(size)
    total_s = _total_s(tool, clips, seconds)
    shape = options.get("size") or _own_size(first, spec)
    checked: dict[str, Any] = {**options, "size": shape, "seconds": total_s, "seed": asked.seed or 0}
    request = GenerationRequest.resolve(spec, prompt, **checked)
    if seconds is not None:
        if not 0 < seconds <= spec.max_seconds:
            raise InvalidRequest(
                f"seconds is {seconds:g}; above 0 to {spec.max_seconds:g} seconds can be added",
                field="seconds",
            )
        options["seconds"] = seconds
    if tool == "remix" and asked.n > 1:
        raise InvalidRequest(
            "a remix keeps its video's own noise, so there are no variations of it", field="n"
        )
    assignment = Assignment(
        prompt,
        tool=tool,
        clips=tuple(clip.source for clip in clips),
        strength=_strength(strength),
        curve=curve,
        options=options,
    )
    sources = tuple(clip.job.id for clip in clips if clip.job is not None)
    remixed = first.job.id if tool == "remix" and first.job is not None else None
    return _create(parts, asker, asked, spec, assignment, request, sources=sources, remixed_from=remixed)


def _create(
    parts: Parts,
    asker: Asker,
    asked: Options,
    spec: ModelSpec,
    assignment: Assignment,
    request: GenerationRequest,
    *,
    sources: tuple[str, ...] = (),
    remixed_from: str | None = None,
    sample: bool = False,
) -> list[Created]:
    """The jobs, as many as variations were asked for. `request` is what was checked, and what is shown.

    Raises:
        InvalidRequest: the model cannot make a video of this.
    """
    _check_kind(spec, assignment)
    expected_bytes = _expected_bytes(request.width, request.height, request.frames)
    check_disk(parts, expected_bytes * asked.n)
    seed = secrets.randbelow(RANDOM_SEEDS) if asked.seed is None else asked.seed
    created: list[Created] = []
    for index in range(asked.n):
        options = {**assignment.options, "seed": seed + index}
        new = NewJob(
            owner=asker.identity.account.id,
            key_id=asker.identity.key.id if asker.identity.key else None,
            model=spec.name,
            request={
                "assignment": replace(assignment, options=options).to_json(),
                "shown": {
                    "model": asked.model or spec.name,
                    "prompt": request.prompt,
                    "seconds": f"{round(request.seconds, 3):g}",
                    "size": f"{request.width}x{request.height}",
                },
                "expected_bytes": expected_bytes,
            },
            steps=request.steps,
            pace=pace_of(spec, request),
            keep_s=parts.settings.keep_s,
            sources=sources,
            expected_bytes=expected_bytes,
            remixed_from=remixed_from,
            idempotency_key=asker.stored_key(index),
            fingerprint=asker.fingerprint,
            prompt=request.prompt,
            kind=assignment.kind,
            sample=sample,
            priority=SAMPLE_PRIORITY if sample else 0,
        )
        created.append(parts.jobs.create(new))
    return created


def _check_kind(spec: ModelSpec, assignment: Assignment) -> None:
    kinds: list[Kind] = [assignment.kind]
    if assignment.tool is None:
        kinds.append("picture" if assignment.sources() else "prompt")
    for kind in kinds:
        if kind not in spec.kinds:
            raise InvalidRequest(
                f"{spec.name} makes no video of kind {kind!r}; it makes: {', '.join(spec.kinds)}",
                field="model",
            )


def _options(asked: Options) -> dict[str, Any]:
    """Options of `GenerationRequest.resolve` that were given; without the seed, which may still be drawn."""
    names = (
        "negative_prompt", "steps", "guidance_scale", "sampler", "preset", "given_noise", "reuse",
        "deterministic", "fps",
    )  # fmt: skip
    options = {name: value for name in names if (value := getattr(asked, name)) is not None}
    if asked.guidance_low is not None or asked.guidance_high is not None:
        low = 0.0 if asked.guidance_low is None else asked.guidance_low
        options["guidance_interval"] = low, 1.0 if asked.guidance_high is None else asked.guidance_high
    return options


def _size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


def _own_size(clip: Given, spec: ModelSpec) -> tuple[int, int]:
    """The size in which a clip came, or the model's own where that cannot be made; as `tools` does."""
    width, height = clip.width // 2 * 2, clip.height // 2 * 2
    possible = MIN_OUTPUT_PX <= min(width, height) and width <= MAX_OUTPUT_WIDTH_PX
    return (width, height) if possible and height <= MAX_OUTPUT_HEIGHT_PX else spec.native_size(width, height)


def _total_s(tool: Tool, clips: Sequence[Given], added_s: float | None) -> float:
    match tool:
        case "extend" | "extend_back" | "loop":
            return clips[0].seconds + (added_s or 0)
        case "connect":
            return clips[0].seconds + clips[1].seconds + (added_s or 0)
        case "blend":
            return min(clips[0].seconds, clips[1].seconds)
        case "remix" | "edit" | "trim":
            return clips[0].seconds


def _strength(text: str | None) -> float | str | None:
    if text is None or text in ("subtle", "mild", "strong"):
        return text
    try:
        strength = float(text)
    except ValueError:
        strength = 0.0
    if not 0 < strength <= 1:
        raise InvalidRequest(
            f"strength is {text[:60]!r}; wanted subtle, mild, strong or a number above 0 to 1",
            field="strength",
        )
    return strength
