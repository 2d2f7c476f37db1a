"""The frozen nouns that cross a boundary between rooms, and the error tree.

Standard library only: the server, the command line and the worker all read this file, and none of them
should pay for anything by doing so.

    HibariError
    ├── InvalidRequest      what was asked for cannot be made; says what would be possible   (exit code 2)
    │   ├── UnknownModel    no model of that name; lists the known ones                      (exit code 2)
    │   └── InvalidUrl      a URL is none, or gives nothing that can be used                 (exit code 2)
    │       └── PrivateAddress  it leads into a network that is not public                   (exit code 2)
    ├── WeightsError        weights are missing, damaged or of another shape                 (exit code 2)
    ├── InputError          a file that was given cannot be read as what it should be        (exit code 2)
    ├── OutOfMemory         a generation needs more memory than there is; says what would fit (exit code 2)
    ├── ProcessLost         a process that shares the work has ended                         (exit code 2)
    ├── OutputError         the result cannot be written where it was wanted                 (exit code 2)
    ├── MissingPart         an optional part (font, package) is absent; says how to get it   (exit code 2)
    ├── DatabaseError       the database cannot be reached, or is of another version         (exit code 2)
    ├── NotFound            no such job, account or key, or not for the one who asks         (exit code 2)
    ├── Conflict            what is there already, or its state, forbids it                  (exit code 2)
    ├── LimitReached        an owner has as much of something as they may have               (exit code 2)
    │   └── QuotaReached    their files take as much room as they may                        (exit code 2)
    ├── KeyRefused          an API key is wrong, expired or revoked                          (exit code 2)
    └── ClaimLost           a job is not, or no longer, this worker's to go on with          (exit code 2)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite, log
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

MAX_PROMPT_CHARS = 2000
MAX_OUTPUT_WIDTH_PX, MAX_OUTPUT_HEIGHT_PX = 1920, 1920
MIN_OUTPUT_PX = 16
MAX_OUTPUT_FPS = 30
MAX_SEED = 2**63 - 1
MAX_CARDS = 24
DEFAULT_TRANSITION_S = 1.0

Precision = Literal["float32", "bfloat16"]
SamplerName = Literal["euler", "adams-bashforth", "dpm", "lcm"]
SAMPLERS: tuple[SamplerName, ...] = ("euler", "adams-bashforth", "dpm", "lcm")
NoiseOrder = Literal["by-frame", "channels-first", "frames-first", "channels-last"]

Tool = Literal["remix", "edit", "extend", "extend_back", "loop", "connect", "blend", "trim"]
Kind = Literal["prompt", "picture", "storyboard", Tool]
"""What a clip is made of: a prompt alone, pictures, a storyboard, or clips and a tool."""
KINDS: tuple[Kind, ...] = (
    "prompt", "picture", "storyboard", "remix", "edit", "extend", "extend_back", "loop", "connect", "blend",
)  # fmt: skip
"""All in which a model takes part: a trim needs none."""


class HibariError(Exception):
    """Base of every error that is about the user's world and not about a bug of ours."""

    exit_code = 2


class InvalidRequest(HibariError):
    """A request that cannot be carried out. `field` names the part that is wrong."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class UnknownModel(InvalidRequest):
    """No model of that name is in the catalog."""


class InvalidUrl(InvalidRequest):
    """A URL that is none, that nobody answers, or whose answer cannot be used."""


class PrivateAddress(InvalidUrl):
    """A URL that leads into a network that is not public, where the server's owner has not allowed that."""


class WeightsError(HibariError):
    """Weights are missing, damaged, or do not fit the network."""


class InputError(HibariError):
    """A given file is not what it should be."""


class OutOfMemory(HibariError):
    """A generation needs more memory than the engine may use."""


class ProcessLost(HibariError):
    """One of the processes that compute a generation together has ended."""


class OutputError(HibariError):
    """The result cannot be written."""


class MissingPart(HibariError):
    """An optional part is not installed."""


class DatabaseError(HibariError):
    """The database cannot be reached, or is not of this version."""


class NotFound(HibariError):
    """There is no such thing, or none that the one who asks may know of."""


class Conflict(HibariError):
    """What is there already, or the state that it is in, does not allow it."""


class LimitReached(HibariError):
    """An owner has as much of something as they may have; it is possible again once some of it has gone."""


class QuotaReached(LimitReached):
    """An owner's files take as much room as they may; there is room again once some are deleted."""


class KeyRefused(HibariError):
    """An API key that does not open anything."""


class ClaimLost(HibariError):
    """A job that a worker takes for its own is someone else's, finished or gone. Drop it, and what it left."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A published way to run a model, which says what is done at each step.

    Attributes:
        name: what `--preset` takes.
        summary: what it does, in a line.
        steps: updates in all.
        guidance_scale: the highest of its steps.
        fixed: whether it holds for these steps and this guidance scale only.
        sampler: the solver; None for the model's own.
        skips: whether some steps take a third prediction, for which blocks of the network are skipped.
        first_pass: of a clip that is made twice, small and then at twice that size: the small sides by those that
            were asked for. 0 where it is made once.
        missing: why this model cannot be run so, as it lies here; "" where it can.
    """

    name: str
    summary: str
    steps: int
    guidance_scale: float
    fixed: bool = True
    sampler: SamplerName | None = None
    skips: bool = False
    first_pass: float = 0.0
    missing: str = ""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What the outside needs to know of a model, known without loading it.

    Attributes:
        name: what `--model` takes.
        summary: one line for a list of models.
        sizes: native (width, height) in px, the default first.
        fps: native frames a second.
        time_factor: pixel frames a latent frame; F latent frames are 1 + time_factor * (F - 1) pixel frames.
        space_factor: px a latent cell, in each direction.
        latent_channels: channels of a latent.
        window_frames: latent frames that the network was trained on; longer clips are made window by window.
        window_overlap: latent frames that a window takes over from the one before it, as given frames.
        max_seconds: the longest clip.
        default_seconds, default_steps, default_guidance: the shipped preset.
        guidance_interval: sigmas (low, high) between which guidance is applied.
        sigma_shift: s of the schedule sigma -> s sigma / (1 + (s - 1) sigma); 1 is uniform.
        licence: of the weights.
        weights: the weights file's name, or None for a model without weights.
        size_step: where it is not 0, every size whose sides are multiples of it is native, too.
        noise: how a seed becomes noise. "by-frame": each latent frame's own, whatever the clip's length. The others
            draw the whole clip from a CPU generator with that seed, as [C, F, H, W], [F, C, H, W] or [F, H, W, C], so
            that seeds of the model's first implementation carry over.
        default_sampler: the solver that is used if none is named.
        given: what becomes of given frames. "clean": they stay in the clip at noise level 0. "beside": every frame
            starts from noise, and the network is shown the given ones beside it.
        given_noise: the default of the request's; None where given frames always stay clean.
        keyframes: how many latent frames of a picture or a clip that comes later than a clip's beginning are shown to
            the network beside the clip, at their own pixel frames. 0: all lie in the clip, and a picture stands still
            for a latent frame.
        latent_step: a clip has 1 latent frame and a multiple of so many.
        lead_frames: latent frames that are made in front of those and not shown.
        noise_first: where noise is drawn from one generator, whether the clip's comes before what the encoder draws
            for given pictures.
        noise_moves: whether frames that follow given pictures take the clip's noise from its beginning.
        presets: published ways to run it.
        kinds: what it can make a clip of; "prompt" is missing where it wants a picture, too.
        quantised: what its weights were turned into, "int8" or "fp8"; "" is nothing.
        precision: what its networks compute in, as loaded here.
        software: packages whose versions a recipe should tell, besides Hibari's own.
        reference_step_s: seconds a step of a default clip, with all that comes after the steps, where it was measured;
            a first guess for machines that have not made one yet.
    """

    name: str
    summary: str
    sizes: tuple[tuple[int, int], ...]
    fps: int
    time_factor: int
    space_factor: int
    latent_channels: int
    window_frames: int
    window_overlap: int
    max_seconds: float
    default_seconds: float
    default_steps: int
    default_guidance: float
    guidance_interval: tuple[float, float]
    sigma_shift: float
    licence: str
    weights: str | None
    size_step: int = 0
    noise: NoiseOrder = "by-frame"
    default_sampler: SamplerName = "euler"
    given: Literal["clean", "beside"] = "clean"
    given_noise: float | None = None
    keyframes: int = 0
    latent_step: int = 1
    lead_frames: int = 0
    noise_first: bool = False
    noise_moves: bool = False
    presets: tuple[Preset, ...] = ()
    kinds: tuple[Kind, ...] = KINDS
    quantised: str = ""
    precision: Precision = "float32"
    software: tuple[str, ...] = ()
    reference_step_s: float | None = None

    def preset(self, name: str) -> Preset | None:
        """The preset of that name; None for "".

        Raises:
            InvalidRequest: it has none of that name.
        """
        if not name:
            return None
        for preset in self.presets:
            if preset.name == name:
                return preset
        known = ", ".join(preset.name for preset in self.presets) or "none"
        raise InvalidRequest(f"{self.name} has no preset {name!r}; it has: {known}", field="preset")

    def latent_frames(self, frames: int) -> int:
        """Latent frames that hold at least `frames` pixel frames, with those that lead."""
        steps = -(-(frames - 1) // (self.time_factor * self.latent_step))
        return self.lead_frames + 1 + steps * self.latent_step

    def native_size(self, width: int, height: int) -> tuple[int, int]:
        """The native (width, height) that is nearest to the wanted one: in both sides where every multiple of a step
        is native, else in shape."""
        if step := self.size_step:
            return max(step, round(width / step) * step), max(step, round(height / step) * step)
        return min(self.sizes, key=lambda size: abs(_log_aspect(size) - _log_aspect((width, height))))


def _log_aspect(size: tuple[int, int]) -> float:
    return log(size[0] / size[1])


@dataclass(frozen=True, slots=True)
class Card:
    """A card of a storyboard: from `at_s` seconds on, the clip shows `prompt`. `transition_s` is how long the card
    before it takes to become it, centred on `at_s`; None is the request's."""

    at_s: float
    prompt: str
    transition_s: float | None = None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One wish, complete: every default has been filled in, and every value checked, by `resolve`.

    Attributes:
        prompt: 1 to MAX_PROMPT_CHARS characters, not blank.
        model: a name of the catalog.
        negative_prompt: replaces the empty prompt in the unconditional branch, which guidance 1 does without.
        width, height: px of the finished clip.
        fps: frames a second of the finished clip.
        seconds: length asked for. The clip has `round(seconds * fps)` frames, at least one.
        native_width, native_height: px at which the model works; resized to width x height afterwards.
        native_frames: pixel frames at the model's own rate that cover the length.
        steps: sampler steps, 1 to 200.
        guidance_scale: w in uncond + w (cond - uncond); 1 is no guidance. 1 to 30.
        seed: 0 to MAX_SEED.
        cards: a storyboard, in order of time, the first at 0; empty where the prompt holds for the whole clip.
        transition_s: how long one card takes to become the next, centred on the next one's time.
        strength: noise level from which frames start that have something to start from (editing, blending); 1 is
            from noise alone.
        sampler: solver of the steps.
        guidance_interval: noise levels (low, high) between which guidance is applied.
        reuse: where the velocity changed by less than this share at the last step, the next one takes it over and costs
            nothing; 0 is never. Faster, and a little off.
        deterministic: never computed in one batch with other requests, which rounds differently.
        preset: a name of the spec's presets, which then says what is done at each step; "" is none.
        given_noise: noise that given pictures and clips get at each step, times the square of its noise level, 0 to 1:
            a little makes them move.
    """

    prompt: str
    model: str
    negative_prompt: str
    width: int
    height: int
    fps: int
    seconds: float
    native_width: int
    native_height: int
    native_frames: int
    steps: int
    guidance_scale: float
    seed: int
    cards: tuple[Card, ...] = ()
    transition_s: float = DEFAULT_TRANSITION_S
    strength: float = 1.0
    sampler: SamplerName = "euler"
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    reuse: float = 0.0
    deterministic: bool = False
    preset: str = ""
    given_noise: float = 0.0

    @property
    def frames(self) -> int:
        """Frames of the finished clip."""
        return max(1, round(self.seconds * self.fps))

    @classmethod
    def resolve(
        cls,
        spec: ModelSpec,
        prompt: str,
        *,
        negative_prompt: str = "",
        size: tuple[int, int] | None = None,
        seconds: float | None = None,
        fps: int | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int,
        cards: Sequence[Card] = (),
        transition_s: float = DEFAULT_TRANSITION_S,
        strength: float = 1.0,
        sampler: str | None = None,
        guidance_interval: tuple[float, float] | None = None,
        reuse: float = 0.0,
        deterministic: bool = False,
        preset: str = "",
        given_noise: float | None = None,
    ) -> GenerationRequest:
        """Fill in the model's defaults and check everything.

        Raises:
            InvalidRequest: with the field, what came, and what is possible.
        """
        if cards and not prompt.strip():
            prompt = "; ".join(card.prompt.strip() for card in cards)[:MAX_PROMPT_CHARS]
        _check_text(prompt, "prompt", required=True)
        _check_text(negative_prompt, "negative_prompt", required=False)
        width, height = size or spec.sizes[0]
        if not (
            MIN_OUTPUT_PX <= width <= MAX_OUTPUT_WIDTH_PX and MIN_OUTPUT_PX <= height <= MAX_OUTPUT_HEIGHT_PX
        ):
            raise InvalidRequest(
                f"size is {width}x{height}; each side must be {MIN_OUTPUT_PX} to {MAX_OUTPUT_WIDTH_PX} px",
                field="size",
            )
        if width % 2 or height % 2:
            raise InvalidRequest(
                f"size is {width}x{height}; both sides must be even (video is stored with halved colour)",
                field="size",
            )
        if not 1 / 4 <= width / height <= 4:
            raise InvalidRequest(
                f"size is {width}x{height}; the longer side can be at most 4 times the shorter", field="size"
            )
        fps = spec.fps if fps is None else fps
        if not 1 <= fps <= MAX_OUTPUT_FPS:
            raise InvalidRequest(f"fps is {fps}; must be 1 to {MAX_OUTPUT_FPS}", field="fps")
        seconds = spec.default_seconds if seconds is None else seconds
        if not 0 <= seconds <= spec.max_seconds:  # also refuses NaN
            raise InvalidRequest(
                f"seconds is {seconds:g}; {spec.name} makes 0 (one frame) to {spec.max_seconds:g} seconds",
                field="seconds",
            )
        chosen = spec.preset(preset)
        if chosen:
            if chosen.missing:
                raise InvalidRequest(
                    f"{spec.name} cannot be run with the preset {preset}: {chosen.missing}", field="preset"
                )
            steps = chosen.steps if steps is None else steps
            guidance_scale = chosen.guidance_scale if guidance_scale is None else guidance_scale
            sampler = chosen.sampler if sampler is None else sampler
            if chosen.fixed and (steps, guidance_scale) != (chosen.steps, chosen.guidance_scale):
                raise InvalidRequest(
                    f"the preset {preset} has its own {chosen.steps} steps and guidance; leave steps and guidance out",
                    field="preset",
                )
        steps = spec.default_steps if steps is None else steps
        if not 1 <= steps <= 200:
            raise InvalidRequest(f"steps is {steps}; must be 1 to 200", field="steps")
        guidance_scale = spec.default_guidance if guidance_scale is None else guidance_scale
        if not 1 <= guidance_scale <= 30:
            raise InvalidRequest(
                f"guidance is {guidance_scale:g}; must be 1 (none) to 30", field="guidance_scale"
            )
        if not 0 <= seed <= MAX_SEED:
            raise InvalidRequest(f"seed is {seed}; must be 0 to {MAX_SEED}", field="seed")
        _check_cards(cards, seconds)
        if not (isfinite(transition_s) and transition_s >= 0):
            raise InvalidRequest(
                f"transition is {transition_s:g} s; must be 0 (a cut) or longer", field="transition_s"
            )
        if not 0 < strength <= 1:
            raise InvalidRequest(
                f"strength is {strength:g}; must be above 0 (nothing changes) and at most 1 (everything may)",
                field="strength",
            )
        sampler = spec.default_sampler if sampler is None else sampler
        if sampler not in SAMPLERS:
            raise InvalidRequest(
                f"there is no sampler {sampler!r}; known are {', '.join(SAMPLERS)}", field="sampler"
            )
        interval = spec.guidance_interval if guidance_interval is None else guidance_interval
        if not 0 <= interval[0] <= interval[1] <= 1:
            raise InvalidRequest(
                f"guidance interval is {interval[0]:g} to {interval[1]:g}; must rise, within 0 to 1",
                field="guidance_interval",
            )
        if not 0 <= reuse < 1:
            raise InvalidRequest(f"reuse is {reuse:g}; must be 0 (never) to below 1", field="reuse")
        if given_noise and spec.given_noise is None:
            raise InvalidRequest(
                f"{spec.name} leaves what is given as it is; leave given_noise out", field="given_noise"
            )
        given_noise = (spec.given_noise or 0.0) if given_noise is None else given_noise
        if not 0 <= given_noise <= 1:
            raise InvalidRequest(
                f"given_noise is {given_noise:g}; must be 0 (none) to 1", field="given_noise"
            )
        native_width, native_height = spec.native_size(width, height)
        if chosen and chosen.first_pass:
            native_width, native_height = (
                2 * spec.space_factor * max(1, int(side * chosen.first_pass) // spec.space_factor)
                for side in (native_width, native_height)
            )
        frames = max(1, round(seconds * fps))
        # The last finished frame is shown at (frames - 1) / fps; the native clip must reach that moment.
        native_frames = 1 + -(-(frames - 1) * spec.fps // fps)
        return cls(
            prompt=prompt.strip(),
            model=spec.name,
            negative_prompt=negative_prompt.strip(),
            width=width,
            height=height,
            fps=fps,
            seconds=seconds,
            native_width=native_width,
            native_height=native_height,
            native_frames=native_frames,
            steps=steps,
            guidance_scale=guidance_scale,
            seed=seed,
            cards=tuple(replace(card, prompt=card.prompt.strip()) for card in cards),
            transition_s=transition_s,
            strength=strength,
            sampler=sampler,
            guidance_interval=interval,
            reuse=reuse,
            deterministic=deterministic,
            preset=preset,
            given_noise=given_noise,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationRequest:
        """A request out of a recipe or a checkpoint, as `dataclasses.asdict` and JSON left it.

        Raises:
            InputError: a field is missing, unknown or of another kind.
        """
        try:
            cards = tuple(Card(**card) for card in values.get("cards", ()))
            low, high = values.get("guidance_interval", (0.0, 1.0))
            fields: dict[str, Any] = {**values, "cards": cards, "guidance_interval": (low, high)}
            return cls(**fields)
        except (TypeError, ValueError) as error:
            raise InputError(f"this is no request of a generation: {error}") from error


def _check_cards(cards: Sequence[Card], seconds: float) -> None:
    """A storyboard's cards: in order, the first at 0, all inside the clip."""
    if len(cards) > MAX_CARDS:
        raise InvalidRequest(f"there are {len(cards)} cards; at most {MAX_CARDS} can be shown", field="cards")
    for number, card in enumerate(cards, 1):
        _check_text(card.prompt, f"prompt of card {number}", required=True)
        width = card.transition_s
        if width is not None and not (isfinite(width) and width >= 0):
            raise InvalidRequest(
                f"card {number} has a transition of {width:g} s; must be 0 (a cut) or longer", field="cards"
            )
        if not 0 <= card.at_s <= seconds:  # also refuses NaN
            raise InvalidRequest(
                f"card {number} is at {card.at_s:g} s; the clip has 0 to {seconds:g} s", field="cards"
            )
    times = [card.at_s for card in cards]
    if times != sorted(set(times)):
        raise InvalidRequest(f"the cards' times {times} must rise from card to card", field="cards")
    if times and times[0] != 0:
        raise InvalidRequest(
            f"the first card is at {times[0]:g} s; one must be at 0, for the clip to begin with",
            field="cards",
        )


def _check_text(text: str, name: str, *, required: bool) -> None:
    if required and not text.strip():
        raise InvalidRequest(f"the {name} is empty; say in a sentence what the video should show", field=name)
    if len(text) > MAX_PROMPT_CHARS:
        raise InvalidRequest(
            f"the {name} has {len(text):,} characters; at most {MAX_PROMPT_CHARS:,} are read", field=name
        )
    # Half a surrogate pair: what Python makes of a command line that is not UTF-8. No file could store it.
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidRequest(f"the {name} is not valid Unicode text; write it as UTF-8", field=name)


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that is needed to make a clip again; stored inside the file and printed by `hibari show`.

    `postprocess` says in words what happened after the model ("resized 128x128 -> 1280x720, ..."), and
    `versions` names the software whose change could change the pixels.
    """

    request: GenerationRequest
    weights_sha256: str | None
    versions: Mapping[str, str]
    postprocess: tuple[str, ...] = ()
    generator: str = "hibari"
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def to_json(self) -> str:
        """One line of JSON with sorted keys: the same recipe gives the same bytes."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """A recipe out of a file, as `to_json` wrote it.

        Raises:
            InputError: a field is missing, unknown or of another kind.
        """
        try:
            request = GenerationRequest.from_dict(values["request"])
            done = tuple(values["postprocess"])
            fields: dict[str, Any] = {**values, "request": request, "postprocess": done}
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise InputError(f"this is no recipe: {error}") from error


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Finished pixels.

    Attributes:
        frames: uint8 [frames, height, width, 3], RGB.
        fps: frames a second.
        recipe: how it was made.
        latent_CFHW: float32, what the frames were decoded from, at the model's own size and rate; None where the
            frames were resized in time or cut, so that they no longer stand for it.
    """

    frames: np.ndarray
    fps: int
    recipe: Recipe
    latent_CFHW: Any = None


@dataclass(frozen=True, slots=True)
class ClipStream:
    """Pixels as a stream.

    Attributes:
        frames: yields uint8 arrays [height, width, 3], RGB, one a frame; can be walked once.
        width, height: px.
        fps: frames a second.
        frame_count: how many frames the stream yields.
        recipe: how it was made.
    """

    frames: Iterator[Any]
    width: int
    height: int
    fps: int
    frame_count: int
    recipe: Recipe
