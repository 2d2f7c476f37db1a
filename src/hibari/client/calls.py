"""Every call of the API: what it is told, what is sent, and how the answer is read. Each of these functions is a method
of both clients, which send what it returns."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Generic, Literal, TypedDict, TypeVar, Unpack
from urllib.parse import quote

from hibari.client.errors import UnexpectedAnswer
from hibari.client.records import (
    Card,
    Character,
    Forecast,
    Format,
    Json,
    Link,
    Model,
    Picture,
    Variant,
    Video,
)
from hibari.contracts import InputError

MOST_OF_A_PAGE = 100

Answer = TypeVar("Answer")
Param = str | int | Sequence[str]
"""A parameter of a URL; one of several values is given several times."""

Clip = Video | str | Path | bytes
"""A clip: a video of the server or its id, a file of this machine, or the bytes of one (MP4, WebM)."""


class Options(TypedDict, total=False):
    """What every way to make a video can be told; docs/api.md says what each means."""

    model: str
    negative_prompt: str
    steps: int
    guidance_scale: float
    guidance_low: float
    guidance_high: float
    seed: int
    sampler: str
    preset: str
    given_noise: float
    reuse: float
    deterministic: bool
    fps: int
    n: int
    idempotency_key: str
    """The same key with the same request makes no second video, by whichever client; one is drawn if none is given."""


class CreateOptions(Options, total=False):
    """Of a video from a prompt. `size` is "WIDTHxHEIGHT" in px."""

    seconds: float
    size: str
    input_reference: Picture
    characters: Sequence[str]
    cards: Sequence[Card]
    transition_s: float


class StrengthOptions(Options, total=False):
    """Of a changed video. `strength` is above 0 to 1, or `subtle`, `mild` or `strong`."""

    strength: float | str


class EditOptions(StrengthOptions, total=False):
    """Of an edited video. `size` is "WIDTHxHEIGHT" in px."""

    size: str


class ConnectOptions(Options, total=False):
    """Of a video that gets further seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """A request, and how its answer is read.

    Attributes:
        path: below the base URL; the root of the server where `root` is true.
        body: as JSON; sent as a form if there are files.
        files: by the name of their field.
        repeatable: whether it can be sent again although the first one may have been carried out.
    """

    method: str
    path: str
    parse: Callable[[Any], Answer]
    params: Mapping[str, Param] = field(default_factory=dict[str, Param])
    body: Json | None = None
    files: Mapping[str, Path | bytes] = field(default_factory=dict[str, Path | bytes])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    repeatable: bool = True
    root: bool = False

    @contextmanager
    def sendable(self) -> Generator[dict[str, Any]]:
        """Arguments of httpx2 that say it; files are open inside.

        Raises:
            InputError: a file cannot be read.
        """
        said: dict[str, Any] = {"headers": dict(self.headers), "params": dict(self.params)}
        if not self.files:
            yield said if self.body is None else {**said, "json": self.body}
            return
        with ExitStack() as stack:
            files: dict[str, tuple[str, bytes | IO[bytes]]] = {}
            for name, content in self.files.items():
                # The file's own name tells the server nothing that it would use.
                files[name] = (
                    name,
                    content if isinstance(content, bytes) else stack.enter_context(_open(content)),
                )
            yield {
                **said,
                "data": {name: _field(value) for name, value in (self.body or {}).items()},
                "files": files,
            }

    def read(self, content: bytes) -> Answer:
        """The answer.

        Raises:
            UnexpectedAnswer: it is none of this call.
        """
        try:
            return self.parse(json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnexpectedAnswer(
                f"what answers {self.method} {self.path} is not this API; check the base URL"
            ) from error


def create(prompt: str = "", **options: Unpack[CreateOptions]) -> Call[Video]:
    """Ask for a video of a prompt, a first picture (`input_reference`) or a storyboard (`cards`)."""
    return _make("/videos", *_wish(prompt, **options))


def forecast(prompt: str = "", **options: Unpack[CreateOptions]) -> Call[Forecast]:
    """What `create` would make of the same, and how long it would take; nothing is made."""
    values, files = _wish(prompt, **options)
    values.pop("idempotency_key", None)
    return Call("POST", "/videos/forecast", Forecast.from_json, body=values, files=files)


def edit(clip: Clip, prompt: str, **options: Unpack[EditOptions]) -> Call[Video]:
    """Change a clip by a prompt."""
    return _of_clip("/videos/edits", clip, {**options, "prompt": prompt})


def extend(
    clip: Clip, prompt: str, seconds: float, *, backward: bool = False, **options: Unpack[Options]
) -> Call[Video]:
    """Go on with a clip for so many seconds, or lead up to it; the new video has both."""
    values: dict[str, Any] = {**options, "prompt": prompt, "seconds": seconds, "backward": backward}
    return _of_clip("/videos/extensions", clip, values)


def loop(clip: Clip, prompt: str = "", **options: Unpack[ConnectOptions]) -> Call[Video]:
    """Lead a clip's end back to its beginning. One of one's own needs a prompt that says what it shows."""
    return _of_clip("/videos/loops", clip, {**options, "prompt": prompt})


def connect(
    first: Video | str, second: Video | str, prompt: str = "", **options: Unpack[ConnectOptions]
) -> Call[Video]:
    """Join two videos by new seconds between them."""
    return _make("/videos/connections", {**options, "prompt": prompt, "videos": _ids(first, second)})


def blend(
    first: Video | str,
    second: Video | str,
    prompt: str = "",
    *,
    curve: Literal["linear", "smooth", "step"] = "smooth",
    **options: Unpack[StrengthOptions],
) -> Call[Video]:
    """Make one video of two, the first turning into the second."""
    values: dict[str, Any] = {**options, "prompt": prompt, "curve": curve, "videos": _ids(first, second)}
    return _make("/videos/blends", values)


def remix(video: Video | str, prompt: str, **options: Unpack[StrengthOptions]) -> Call[Video]:
    """Make a video again from its own noise, with another prompt."""
    return _make(f"{path_of(video)}/remix", {**options, "prompt": prompt})


def trim(
    video: Video | str, first_frame: int, last_frame: int, *, idempotency_key: str | None = None
) -> Call[Video]:
    """Cut a video to the frames from `first_frame` to `last_frame`, counted from 0; a new video."""
    values = {"first_frame": first_frame, "last_frame": last_frame, "idempotency_key": idempotency_key}
    return _make(f"{path_of(video)}/trim", values)


def again(video: Video | str, *, idempotency_key: str | None = None) -> Call[Video]:
    """Make a video once more from all that it was made from, as after a failure."""
    return _make(f"{path_of(video)}/again", {"idempotency_key": idempotency_key})


def retrieve(video: Video | str) -> Call[Video]:
    """A video as it is now."""
    return Call("GET", path_of(video), Video.from_json)


def delete(video: Video | str) -> Call[None]:
    """Delete a video, whatever state it is in."""
    return Call("DELETE", path_of(video), deleted)


def cancel(video: Video | str) -> Call[Video]:
    """Stop a video and keep its record."""
    return Call("POST", f"{path_of(video)}/cancel", Video.from_json)


def link(video: Video | str, *, variant: Variant = "video", seconds: int = 300) -> Call[Link]:
    """A URL of one file of a finished video that needs no key, for so many seconds: 1 to 3600."""
    return Call("GET", f"{path_of(video)}/link", Link.from_json, {"variant": variant, "seconds": seconds})


def events(video: Video | str) -> Call[None]:
    """GET /videos/{id}/events, a stream."""
    return Call("GET", f"{path_of(video)}/events", nothing)


def all_events() -> Call[None]:
    """GET /events, a stream."""
    return Call("GET", "/events", nothing)


def content(video: Video | str, variant: Format) -> Call[None]:
    """GET /videos/{id}/content, a stream."""
    return Call("GET", f"{path_of(video)}/content", nothing, {"variant": variant})


def create_character(name: str, clip: Clip) -> Call[Character]:
    """Keep a character: a name, and a clip that shows it."""
    body, files = _clip(clip)
    return Call(
        "POST",
        "/videos/characters",
        Character.from_json,
        body={"name": name, **body},
        files=files,
        repeatable=False,
    )


def character(character_id: str) -> Call[Character]:
    """A character that was kept."""
    return Call("GET", f"/videos/characters/{quote(character_id, safe='')}", Character.from_json)


def models() -> Call[tuple[Model, ...]]:
    """What can be asked for."""
    return Call("GET", "/models", lambda values: tuple(Model.from_json(model) for model in values["data"]))


def model(name: str) -> Call[Model]:
    """A model, or a name that stands for one."""
    return Call("GET", f"/models/{quote(name, safe='')}", Model.from_json)


def healthz() -> Call[str]:
    """GET /healthz: the version."""
    return Call("GET", "/healthz", lambda values: str(values["version"]), root=True)


def readyz() -> Call[bool]:
    """GET /readyz; a server that is not ready refuses with a 503."""
    return Call("GET", "/readyz", lambda values: values["status"] == "ok", root=True)


def id_of(video: Video | str) -> str:
    """A video's id."""
    return video if isinstance(video, str) else video.id


def _wish(prompt: str, **options: Unpack[CreateOptions]) -> tuple[dict[str, Any], dict[str, Path | bytes]]:
    """Fields and files of a video from a prompt."""
    values: dict[str, Any] = {**options, "prompt": prompt}
    files: dict[str, Path | bytes] = {}
    reference = values.pop("input_reference", None)
    if isinstance(reference, str):
        values["input_reference"] = {"image_url": reference}
    elif reference is not None:
        files["input_reference"] = reference
    if "cards" in values:
        values["cards"] = [_card(card) for card in values["cards"]]
    if "characters" in values:
        values["characters"] = [{"id": name} for name in values["characters"]]
    return values, files


def _make(path: str, values: dict[str, Any], files: Mapping[str, Path | bytes] | None = None) -> Call[Video]:
    """A call that makes a video: with an idempotency key, so that it can be sent again."""
    key = values.pop("idempotency_key", None) or secrets.token_hex(16)
    return Call(
        "POST", path, Video.from_json, body=values, files=files or {}, headers={"Idempotency-Key": key}
    )


def _of_clip(path: str, clip: Clip, values: dict[str, Any]) -> Call[Video]:
    body, files = _clip(clip)
    return _make(path, {**values, **body}, files)


def _clip(clip: Clip) -> tuple[dict[str, Any], dict[str, Path | bytes]]:
    """Fields and files that say which clip is meant."""
    if isinstance(clip, bytes | Path):
        return {}, {"video": clip}
    return {"video": {"id": id_of(clip)}}, {}


def _card(card: Card) -> dict[str, Any]:
    try:
        return card.to_json()
    except OSError as error:
        raise InputError(f"cannot read {card.image}: {error.strerror}") from error


def _ids(*videos: Video | str) -> list[dict[str, str]]:
    return [{"id": id_of(video)} for video in videos]


def path_of(video: Video | str) -> str:
    """Where a video is."""
    return f"/videos/{quote(id_of(video), safe='')}"


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _field(value: Any) -> str:
    """A value of JSON as a form has it: what has a structure stays JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def page_of(after: str | None, limit: int) -> dict[str, Param]:
    """Parameters of a page of a list."""
    return {"limit": limit} if after is None else {"limit": limit, "after": after}


def deleted(values: Any) -> None:
    """Reads that something was deleted; raises ValueError for another answer."""
    if values["deleted"] is not True:
        raise ValueError("not deleted")


def nothing(_values: Any) -> None:
    """Reads what is read elsewhere, or is of no interest."""
