"""What a job asks of its worker, as it is stored with the job: the one agreement between `api` and `worker`.

The API writes it without knowing a model, the worker reads it with one. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hibari.contracts import InputError, Kind, Tool

TWO_CLIPS: frozenset[Tool] = frozenset({"connect", "blend"})

VIDEO, THUMBNAIL, SPRITESHEET = "video.mp4", "thumbnail.webp", "spritesheet.jpg"
LATENT = f"{VIDEO}.latent"


@dataclass(frozen=True, slots=True)
class Source:
    """A picture or clip that a job starts from: `key` in the storage. Of a clip that a job made, `latent` is the key of
    what it was decoded from, if that was kept."""

    key: str
    latent: str | None = None


@dataclass(frozen=True, slots=True)
class StoredCard:
    """A card of a storyboard, with a prompt, a picture or a clip.

    Attributes:
        at_s: when it begins.
        seconds: of a clip, how much of it is shown; None is all.
        transition_s: of a prompt, how long what was before it takes to become it; None is the request's.
        video: id of the video whose clip it is.
    """

    at_s: float
    prompt: str = ""
    image: Source | None = None
    clip: Source | None = None
    seconds: float | None = None
    transition_s: float | None = None
    video: str | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that a worker needs to know.

    Attributes:
        prompt: may be empty where a clip with a recipe, or cards, are given.
        tool: what to do with `clips`; None is a clip from a prompt, pictures or cards.
        clips: what the tool works on: two for TWO_CLIPS, one for the others.
        image, last_image: the first and the last frame.
        cards: a storyboard.
        strength: of edit, remix and blend; see `tools.Wish`.
        curve: of blend.
        kept: of trim, the numbers of the first and the last frame that stay, from 0.
        options: of `GenerationRequest.resolve`, the seed among them.
    """

    prompt: str
    tool: Tool | None = None
    clips: tuple[Source, ...] = ()
    image: Source | None = None
    last_image: Source | None = None
    cards: tuple[StoredCard, ...] = ()
    strength: float | str | None = None
    curve: str = "smooth"
    kept: tuple[int, int] | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def kind(self) -> Kind:
        """How the clip is made, in a word: the tool, or `prompt`, `picture`, `storyboard`."""
        if self.tool is not None:
            return self.tool
        return "storyboard" if self.cards else "picture" if self.image is not None else "prompt"

    def sources(self) -> list[Source]:
        """Everything in the storage that it starts from."""
        of_cards = (source for card in self.cards for source in (card.image, card.clip))
        given = [self.image, self.last_image, *of_cards]
        return [*self.clips, *(source for source in given if source is not None)]

    def to_json(self) -> dict[str, Any]:
        """As JSON can say it."""
        return {**asdict(self), "options": dict(self.options)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Assignment:
        """Back from JSON.

        Raises:
            InputError: it is none, as after a change of version.
        """
        try:
            pictures = {name: _source(values[name]) for name in ("image", "last_image")}
            cards = tuple(
                StoredCard(**dict(card, image=_source(card["image"]), clip=_source(card.get("clip"))))
                for card in values["cards"]
            )
            clips = tuple(Source(**clip) for clip in values["clips"])
            kept = values.get("kept")  # older jobs know no trim
            options = dict(values["options"])
            if options.get("size"):
                options["size"] = tuple(options["size"])
            if options.get("guidance_interval"):
                options["guidance_interval"] = tuple(options["guidance_interval"])
            fields: dict[str, Any] = {
                **values,
                **pictures,
                "cards": cards,
                "clips": clips,
                "kept": None if kept is None else (kept[0], kept[1]),
                "options": options,
            }
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is no assignment that this version knows: {error}") from error


def preview_name(moments_s: Sequence[float]) -> str:
    """The file of a preview: it says which moments the picture shows side by side, where it shows several."""
    return f"preview_{'_'.join(f'{moment:g}' for moment in moments_s)}.webp" if moments_s else "preview.webp"


def moments_of(key: str) -> list[float]:
    """The moments (s) that the preview of that key shows; empty where it is one picture of the whole."""
    _, *moments = key.rsplit("/", 1)[-1].removesuffix(".webp").split("_")
    return [float(moment) for moment in moments]


def _source(values: Mapping[str, Any] | None) -> Source | None:
    return None if values is None else Source(**values)
