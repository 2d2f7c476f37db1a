"""What can be asked for, field by field: the same in a form, where every value is a string, and in JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from hibari.accounts import Role
from hibari.contracts import MAX_CARDS
from hibari.jobs import MAX_AT_ONCE
from hibari.webhooks import EVENT_TYPES, EventType

ShortText = Annotated[
    str, StringConstraints(max_length=100_000)
]  # the contract's own check names the right limit
Name = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
Size = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,5}x[0-9]{1,5}$")]
Seconds = Annotated[float, Field(description='Usually a string, as in `"4"`.')]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    @field_validator("*", mode="after")
    @classmethod
    def _storable(cls, value: object) -> object:
        """Not every database can store a NUL."""
        if isinstance(value, str) and "\0" in value:
            raise ValueError("the text holds a NUL character")
        return value


class PictureReference(_Asked):
    """A picture that is somewhere else: a URL (`https:` or `data:`)."""

    image_url: str | None = None
    file_id: str | None = None


class VideoReference(_Asked):
    """A finished video of this server."""

    id: str


class CharacterReference(_Asked):
    """A character that was stored."""

    id: str


class AskedCard(_Asked):
    """A card of a storyboard: from `at_s` on the video shows `prompt`, at that moment the picture, or from then on the
    first `seconds` of another video, all of it without them. `transition_s` is how long what was before a prompt takes
    to become it, centred on `at_s`."""

    at_s: float
    prompt: ShortText = ""
    image_url: str | None = None
    video: VideoReference | None = None
    seconds: float | None = Field(default=None, gt=0)
    transition_s: float | None = None


class Options(_Asked):
    """What every way to make a video can be told beside its prompt. These are ours, beyond the Videos API."""

    negative_prompt: ShortText | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    guidance_low: float | None = Field(
        default=None, description="Noise level below which guidance is left out."
    )
    guidance_high: float | None = Field(default=None, description="Noise level above which it is left out.")
    seed: int | None = None
    sampler: str | None = None
    preset: str | None = Field(
        default=None, description="A published way to run the model: one of its `presets`."
    )
    given_noise: float | None = Field(
        default=None, description="Noise that given pictures and clips get at each step, 0 to 1."
    )
    reuse: float | None = None
    deterministic: bool | None = None
    fps: int | None = None
    n: int = Field(default=1, ge=1, le=16, description="How many, with seeds that follow each other.")
    model: str | None = None


class Create(Options):
    """POST /videos."""

    prompt: ShortText = ""
    seconds: Seconds | None = None
    size: Size | None = None
    input_reference: PictureReference | None = None
    characters: list[CharacterReference] = Field(default_factory=list[CharacterReference], max_length=10)
    cards: list[AskedCard] = Field(default_factory=list[AskedCard], max_length=MAX_CARDS)
    transition_s: float | None = None


class Edit(Options):
    """POST /videos/edits."""

    prompt: ShortText
    video: VideoReference | None = None
    strength: str | None = None
    size: Size | None = None


class Extend(Options):
    """POST /videos/extensions."""

    prompt: ShortText
    seconds: Seconds
    video: VideoReference | None = None
    backward: bool = Field(default=False, description="Lead up to the video instead of going on.")


class Remix(Options):
    """POST /videos/{id}/remix."""

    prompt: ShortText
    strength: str | None = None


class Trim(_Asked):
    """POST /videos/{id}/trim: the numbers of the first and the last frame that stay, counted from 0."""

    first_frame: Annotated[int, Field(ge=0)]
    last_frame: Annotated[int, Field(ge=0)]


class Loop(Options):
    """POST /videos/loops."""

    video: VideoReference | None = None
    prompt: ShortText = ""
    seconds: Seconds = 1.0


class Connect(Options):
    """POST /videos/connections."""

    videos: list[VideoReference] = Field(min_length=2, max_length=2)
    prompt: ShortText = ""
    seconds: Seconds = 1.0


class Blend(Options):
    """POST /videos/blends."""

    videos: list[VideoReference] = Field(min_length=2, max_length=2)
    prompt: ShortText = ""
    strength: str | None = None
    curve: Literal["linear", "smooth", "step"] = "smooth"


Ids = Annotated[list[str], Field(min_length=1, max_length=MAX_AT_ONCE, description="Ids of videos.")]


class Change(_Asked):
    """POST /videos/change: what is not given stays."""

    ids: Ids
    favourite: bool | None = None
    folder: str | None = Field(
        default=None,
        description="Id of the folder to lay them into; the empty string takes them out of theirs.",
    )


class AskedFolder(_Asked):
    """POST /folders, and POST /folders/{id}."""

    name: Name


class AskedCharacter(_Asked):
    """POST /videos/characters."""

    name: Name
    video: VideoReference | None = None


EventTypes = Annotated[list[EventType], Field(min_length=1)]


class NewEndpoint(_Asked):
    """POST /webhook_endpoints."""

    url: str
    name: Name = "webhook"
    event_types: EventTypes = Field(default_factory=lambda: list(EVENT_TYPES))


class ChangedEndpoint(_Asked):
    """POST /webhook_endpoints/{id}: what is not given stays."""

    url: str | None = None
    name: Name | None = None
    event_types: EventTypes | None = None
    enabled: bool | None = None


class NewEndpointSecret(_Asked):
    """POST /webhook_endpoints/{id}/rotate_secret."""

    keep_old_secret_active_for_24_hours: bool = False


class EndpointTest(_Asked):
    """POST /webhook_endpoints/{id}/test."""

    event_type: EventType


MAX_MOMENT = 2**53  # Unix seconds that JSON numbers hold exactly
Limit = Annotated[int | None, Field(ge=0, le=2**31 - 1, description="null is the server's own.")]
Bytes = Annotated[int | None, Field(ge=0, le=2**62, description="null is the server's own.")]


class NewKey(_Asked):
    """POST /account/keys."""

    name: Name
    scopes: list[str] | None = Field(
        default=None, max_length=20, description="At most those of the key that asks; all of them by default."
    )
    expires_at: int | None = Field(default=None, ge=0, le=MAX_MOMENT, description="Unix seconds.")


class NewKeyOf(NewKey):
    """POST /admin/accounts/{id}/keys."""

    role: Role = Role.MEMBER
    requests_per_minute: int | None = Field(default=None, ge=1, le=2**31 - 1)


class NewAccount(_Asked):
    """POST /admin/accounts."""

    name: Name
    max_running: Limit = None
    max_queued: Limit = None
    max_stored_bytes: Bytes = None


class ChangedAccount(_Asked):
    """POST /admin/accounts/{id}: what is not given stays."""

    role: Role | None = Field(default=None, description="Of all its keys.")
    max_running: Limit = None
    max_queued: Limit = None
    max_stored_bytes: Bytes = None


class ChangedVideo(_Asked):
    """POST /admin/videos/{id}."""

    priority: int = Field(ge=-1000, le=1000, description="Higher comes first, whoever waits.")
