"""What the API answers, as frozen values. Fields that a newer server adds are left out."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

Item = TypeVar("Item")
Json = Mapping[str, Any]
Status = Literal["queued", "in_progress", "completed", "failed"]
Variant = Literal["video", "thumbnail", "spritesheet"]
Format = Literal[Variant, "gif", "webp"]
"""What a video can be fetched as."""

Picture = Path | bytes | str
"""A picture: a file of this machine, its bytes, or a URL that the server fetches (`https:`, `http:`, `data:`)."""


@dataclass(frozen=True, slots=True)
class Card:
    """A card of a storyboard: from `at_s` seconds on the video shows `prompt`, at that moment the picture, or from then
    on the first `seconds` of another video (its id), all of it if they are None. `transition_s` is how long what was
    before a prompt takes to become it."""

    at_s: float
    prompt: str = ""
    image: Picture | None = None
    video: str | None = None
    seconds: float | None = None
    transition_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As the API takes it: a picture of this machine becomes a data: URL.

        Raises:
            OSError: the picture cannot be read.
        """
        if self.video is not None:
            return {"at_s": self.at_s, "video": {"id": self.video}, "seconds": self.seconds}
        if self.image is None:
            return {"at_s": self.at_s, "prompt": self.prompt, "transition_s": self.transition_s}
        if isinstance(self.image, str):
            return {"at_s": self.at_s, "image_url": self.image}
        content = self.image if isinstance(self.image, bytes) else self.image.read_bytes()
        return {"at_s": self.at_s, "image_url": f"data:image/*;base64,{base64.b64encode(content).decode()}"}


@dataclass(frozen=True, slots=True)
class VideoError:
    """Why a video was not made."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Details:
    """What was really done.

    Attributes:
        model: the model behind the name that was asked for.
        tool: of a video made of videos, such as `extend`.
        seed: of its noise.
        step, steps: how far it is.
        fps, frames, native_size, postprocess: known once it is finished.
        attempt: how often workers have begun it.
        queue_position, seconds_left: of one that is not finished, where the server knows.
        sources: ids of the videos that it was made of.
        kind: how it was made, in a word; as what can be looked for.
        folder: id of the one that it lies in.
        sample: it was made for a newcomer to look at.
        variations: ids of all videos of one request; only in its answer.
    """

    model: str
    tool: str | None
    seed: int | None
    step: int
    steps: int | None
    fps: int | None
    frames: int | None
    native_size: str | None
    postprocess: tuple[str, ...]
    attempt: int
    queue_position: int | None
    seconds_left: float | None
    sources: tuple[str, ...]
    kind: str
    folder: str | None
    favourite: bool
    sample: bool
    variations: tuple[str, ...]

    @classmethod
    def from_json(cls, values: Json) -> Details:
        """Raises KeyError or TypeError for what is none."""
        return cls(
            model=values["model"],
            tool=values["tool"],
            seed=values["seed"],
            step=values["step"],
            steps=values["steps"],
            fps=values["fps"],
            frames=values["frames"],
            native_size=values["native_size"],
            postprocess=tuple(values["postprocess"]),
            attempt=values["attempt"],
            queue_position=values.get("queue_position"),
            seconds_left=values.get("seconds_left"),
            sources=tuple(values["sources"]),
            kind=values["kind"],
            folder=values["folder"],
            favourite=values["favourite"],
            sample=values["sample"],
            variations=tuple(values.get("variations") or ()),
        )


@dataclass(frozen=True, slots=True)
class Video:
    """A video, from the moment that it was asked for. Moments are Unix seconds.

    Attributes:
        progress: percent; moves with the steps.
        size: "WIDTHxHEIGHT" in px.
        expires_at: when it will be deleted; None is never.
    """

    id: str
    model: str
    status: Status
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    error: VideoError | None
    prompt: str
    remixed_from_video_id: str | None
    seconds: float
    size: str
    details: Details

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to it, except that it may be deleted."""
        return self.status in ("completed", "failed")

    @classmethod
    def from_json(cls, values: Json) -> Video:
        """Raises KeyError, TypeError or ValueError for what is none."""
        error = values["error"]
        return cls(
            id=values["id"],
            model=values["model"],
            status=values["status"],
            progress=values["progress"],
            created_at=values["created_at"],
            completed_at=values["completed_at"],
            expires_at=values["expires_at"],
            error=None if error is None else VideoError(error["code"], error["message"]),
            prompt=values["prompt"],
            remixed_from_video_id=values["remixed_from_video_id"],
            seconds=float(values["seconds"]),
            size=values["size"],
            details=Details.from_json(values["hibari"]),
        )


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a video would be, and when it would be there.

    Attributes:
        size, native_size: "WIDTHxHEIGHT" in px, of the file and of what the model makes.
        queue_position: videos that are likely to begin before it.
        seconds: until it would be finished; None where none of its kind was made yet.
    """

    model: str
    size: str
    native_size: str
    frames: int
    fps: int
    steps: int
    queue_position: int
    seconds: float | None

    @classmethod
    def from_json(cls, values: Json) -> Forecast:
        """Raises KeyError or TypeError for what is none."""
        return cls(
            model=values["model"],
            size=values["size"],
            native_size=values["native_size"],
            frames=values["frames"],
            fps=values["fps"],
            steps=values["steps"],
            queue_position=values["queue_position"],
            seconds=values["seconds"],
        )


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A part of a list. `last_id` is where the next one begins."""

    items: tuple[Item, ...]
    last_id: str | None
    has_more: bool


def paged(read: Callable[[Json], Item]) -> Callable[[Json], Page[Item]]:
    """What reads a page of what `read` reads; raises KeyError or TypeError for what is none, and what `read` raises."""
    return lambda values: Page(tuple(map(read, values["data"])), values["last_id"], values["has_more"])


@dataclass(frozen=True, slots=True)
class Progress:
    """Something that happened to a video.

    Attributes:
        number: of the event; `with_progress(after=number)` goes on behind it.
        kind: `created`, `claimed`, `progress`, `released`, `retried`, `completed`, `failed` or `cancelled`.
        at: Unix seconds.
        video: as it was when this was told.
        step, steps: how far it is; None where the event says nothing of it.
        preview: a WebP picture of what is coming, where there is a new one.
        code, message: of a failure.
    """

    number: int
    kind: str
    at: float
    video: Video
    step: int | None
    steps: int | None
    preview: bytes | None
    code: str | None
    message: str | None

    @classmethod
    def from_json(cls, number: int, kind: str, values: Json) -> Progress:
        """Raises KeyError, TypeError or ValueError for what is none."""
        preview = values.get("preview")
        return cls(
            number=number,
            kind=kind,
            at=values["at"],
            video=Video.from_json(values["video"]),
            step=values.get("step"),
            steps=values.get("steps"),
            preview=None if preview is None else base64.b64decode(preview.partition(",")[2]),
            code=values.get("code"),
            message=values.get("message"),
        )


@dataclass(frozen=True, slots=True)
class Link:
    """A URL that needs no key; `expires_at` is in Unix seconds. Whoever has it can read the file."""

    url: str
    expires_at: int

    @classmethod
    def from_json(cls, values: Json) -> Link:
        """Raises KeyError or TypeError for what is none."""
        return cls(values["url"], values["expires_at"])


@dataclass(frozen=True, slots=True)
class Character:
    """A character that was kept."""

    id: str
    created_at: int
    name: str

    @classmethod
    def from_json(cls, values: Json) -> Character:
        """Raises KeyError or TypeError for what is none."""
        return cls(values["id"], values["created_at"], values["name"])


@dataclass(frozen=True, slots=True)
class ModelPreset:
    """A published way to run a model. `missing` says why this server cannot, None if it can."""

    name: str
    summary: str
    steps: int
    guidance_scale: float
    missing: str | None

    @classmethod
    def from_json(cls, values: Json) -> ModelPreset:
        """Raises KeyError or TypeError for what is none."""
        return cls(
            name=values["name"],
            summary=values["summary"],
            steps=values["steps"],
            guidance_scale=values["guidance_scale"],
            missing=values["missing"],
        )


@dataclass(frozen=True, slots=True)
class Model:
    """A model, or a name that stands for one.

    Attributes:
        sizes: native ones, as "WIDTHxHEIGHT" in px.
        kinds: what it can make a video of, such as `prompt`, `picture` and `extend`.
    """

    id: str
    summary: str
    sizes: tuple[str, ...]
    fps: int
    max_seconds: float
    licence: str
    kinds: tuple[str, ...]
    presets: tuple[ModelPreset, ...]

    @classmethod
    def from_json(cls, values: Json) -> Model:
        """Raises KeyError or TypeError for what is none."""
        return cls(
            id=values["id"],
            summary=values["summary"],
            sizes=tuple(values["sizes"]),
            fps=values["fps"],
            max_seconds=values["max_seconds"],
            licence=values["licence"],
            kinds=tuple(values["kinds"]),
            presets=tuple(map(ModelPreset.from_json, values["presets"])),
        )


@dataclass(frozen=True, slots=True)
class Health:
    """A server that answers; `ready` also says that its database and its storage do."""

    version: str
    ready: bool
