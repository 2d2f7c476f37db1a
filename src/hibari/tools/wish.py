"""What somebody wants of a clip, in terms of the engine: a request, what it starts from, and what is cut from the
result.

All tools are one idea: noise levels are per latent frame, and a frame whose level is 0 is given. A still picture given
at the front is image-to-video; a clip given at the front is extended, at the back extended backwards; with clips given
at both ends, two are connected or one meets its own beginning. Frames that start from a mixture of latent and noise are
edited (SDEdit: Meng et al. 2021), remixed or blended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from hibari.contracts import (
    MAX_OUTPUT_HEIGHT_PX,
    MAX_OUTPUT_WIDTH_PX,
    MIN_OUTPUT_PX,
    Card,
    GenerationRequest,
    InvalidRequest,
    ModelSpec,
)
from hibari.engine import Start
from hibari.engine.start import first_shape, latent_shape
from hibari.models.protocol import Model
from hibari.tools.pictures import Shown, decoded_frames, placed, with_keyframes
from hibari.tools.sources import Given, Source, encode_inside, read_clip, still_inside

STRENGTHS: Mapping[str, float] = {"subtle": 0.4, "mild": 0.65, "strong": 0.85}
DEFAULT_JOIN_S = 1.0  # of what is made between two clips, and of a loop's way back
Curve = Literal["linear", "smooth", "step"]
CURVES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda t: t,
    "smooth": lambda t: t * t * (3 - 2 * t),
    "step": lambda t: (t >= 0.5).float(),
}


@dataclass(frozen=True, slots=True, eq=False)
class StoryCard:
    """A card of a storyboard: from `at_s` seconds on the clip shows the prompt, at that moment the picture, or from
    then on the first `seconds` of another clip, all of it if they are None. `transition_s` is how long what was before
    a prompt takes to become it; None is the request's."""

    at_s: float
    prompt: str = ""
    image: Source | None = None
    clip: Source | None = None
    seconds: float | None = None
    transition_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Wish:
    """What is wanted. At most one of `extend`, `extend_back`, `loop`, `connect`, `blend`, `edit`, `remix`, and none of
    them beside pictures or cards.

    Attributes:
        prompt: may be empty where a clip with a recipe is given, whose prompt then goes on.
        image, last_image: the first and the last frame.
        extend, extend_back: a clip that goes on for `seconds`, or is led up to for `seconds`.
        loop: a clip whose end shall lead back to its beginning within `seconds`.
        connect: two clips, and `seconds` that lead from one to the other.
        blend: two clips that become one, the first turning into the second along `curve`.
        edit: a clip to be changed by the prompt.
        remix: a clip of Hibari's, made again from its own noise and settings with another prompt.
        strength: of `edit`, `remix` and `blend`: a name of STRENGTHS, or a number above 0 (nothing changes) to 1
            (everything may).
        cards: a storyboard.
        curve: of `blend`, a name of CURVES.
        options: of `GenerationRequest.resolve`: seconds, size, fps, steps, seed, ...
    """

    prompt: str = ""
    image: Source | None = None
    last_image: Source | None = None
    extend: Source | None = None
    extend_back: Source | None = None
    loop: Source | None = None
    connect: tuple[Source, Source] | None = None
    blend: tuple[Source, Source] | None = None
    edit: Source | None = None
    remix: Source | None = None
    strength: float | str | None = None
    cards: Sequence[StoryCard] = ()
    curve: str = "smooth"
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def tool(self) -> str | None:
        """The one tool that is wanted, or None.

        Raises:
            InvalidRequest: more than one is, or something is given that the tool has no use for.
        """
        names = ("extend", "extend_back", "loop", "connect", "blend", "edit", "remix")
        wanted = [name for name in names if getattr(self, name) is not None]
        pictures = [name for name in ("image", "last_image", "cards") if _is_given(getattr(self, name))]
        if len(wanted) > 1 or (wanted and pictures):
            both = " and ".join(name.replace("_", "-") for name in (*wanted, *pictures))
            raise InvalidRequest(
                f"{both} cannot go together; ask for one, and give its result to the next",
                field=wanted[1] if len(wanted) > 1 else pictures[0],
            )
        if self.strength is not None and not {"edit", "remix", "blend"} & {*wanted}:
            raise InvalidRequest("strength is for edit, remix and blend", field="strength")
        return wanted[0] if wanted else None


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What the engine is asked, and what becomes of its answer.

    Attributes:
        request: with the native frames that are decoded.
        start: what it starts from, if anything.
        cut: numbers of decoded frames that are not shown: repetitions that fill up a latent frame.
        extra: for the recipe.
    """

    request: GenerationRequest
    start: Start | None = None
    cut: frozenset[int] = frozenset()
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


def plan_job(model: Model, wish: Wish) -> Job:
    """From a wish to the engine's terms.

    Raises:
        InvalidRequest: something that was asked for cannot be.
        InputError: a file cannot be read.
    """
    tool = wish.tool
    if tool is not None:
        return _TOOLS[tool](model, wish)
    return _from_pictures(model, wish)


def _from_pictures(model: Model, wish: Wish) -> Job:
    """A prompt or a storyboard, with pictures and clips or without."""
    spec = model.spec
    showing = [card for card in wish.cards if card.image is not None or card.clip is not None]
    cards = [Card(card.at_s, card.prompt, card.transition_s) for card in wish.cards if card not in showing]
    if cards and wish.prompt.strip() and cards[0].at_s > 0:
        cards.insert(0, Card(0.0, wish.prompt))
    prompt = "" if cards else wish.prompt
    request = GenerationRequest.resolve(spec, prompt, cards=cards, **wish.options)
    shape = latent_shape(spec, request)
    frames = shape[1]
    pictures: dict[int, Shown] = {}
    for card in showing:
        if not 0 <= card.at_s <= request.seconds:
            raise InvalidRequest(
                f"a card is at {card.at_s:g} s; the clip has 0 to {request.seconds:g} s", field="cards"
            )
        at = min(round(card.at_s * spec.fps), request.native_frames - 1)
        place = min(frames - 1, -(-at // spec.time_factor))
        if card.image is not None:
            pictures[place] = Shown(card.image, at)
        elif card.clip is not None:
            most = request.native_frames if card.seconds is None else max(2, round(card.seconds * spec.fps))
            pictures[place] = Shown(card.clip, at, most)
    if wish.last_image is not None:
        pictures[frames - 1] = Shown(wish.last_image, request.native_frames - 1)
    if wish.image is not None:
        pictures[0] = Shown(wish.image, 0)
    if not pictures:
        return Job(request)
    beside = [shown for place, shown in sorted(pictures.items()) if spec.keyframes and place]
    inside = {place: shown for place, shown in pictures.items() if shown not in beside}
    generator, small = _generator(spec, request.seed), first_shape(spec, request)
    first = first_keyframes = None
    if small and generator:
        latent, given, noise = placed(model, inside, small, generator, draws=True)
        latent, given, first_keyframes, _ = with_keyframes(model, beside, latent, given, generator)
        assert noise is not None
        first = Start(latent, given).mixed_with(noise, 1.0)
    latent, given, noise = placed(model, inside, shape, generator, draws=spec.noise_first)
    latent, given, keyframes, keyframes_at = with_keyframes(model, beside, latent, given, generator)
    if all(given):
        raise InvalidRequest(
            f"what is given fills the whole clip of {request.seconds:g} s; make it longer", field="seconds"
        )
    if noise is not None and spec.noise_moves:
        noise = noise.roll(sum(given), dims=1)
    start = Start(
        latent,
        given,
        generator=generator.get_state() if generator else None,
        noise_CFHW=noise,
        first_CFHW=first,
        keyframes_CKHW=keyframes,
        first_keyframes_CKHW=first_keyframes,
        keyframes_at=keyframes_at,
    )
    return Job(request, start, extra={"given_pictures": sorted(pictures)})


def _generator(spec: ModelSpec, seed: int) -> torch.Generator | None:
    """Where all random numbers of a clip come from, the encoder's included; None where each frame has its own."""
    return None if spec.noise == "by-frame" else torch.Generator().manual_seed(seed)


def _extend(model: Model, wish: Wish) -> Job:
    assert wish.extend is not None
    clip = read_clip(model, wish.extend)
    new = _new_frames(model.spec, wish, model.spec.default_seconds / 2)
    return _joined(model, wish, "extend", clip, [_Part(clip.latent_CFHW, repeats_after=clip.padding), new])


def _extend_back(model: Model, wish: Wish) -> Job:
    assert wish.extend_back is not None
    clip = read_clip(model, wish.extend_back)
    new = _new_frames(model.spec, wish, model.spec.default_seconds / 2)
    return _joined(model, wish, "extend_back", clip, [new, _inside(model, clip)])


def _connect(model: Model, wish: Wish) -> Job:
    assert wish.connect is not None
    one = read_clip(model, wish.connect[0])
    two = read_clip(model, wish.connect[1], one.native)
    new = _new_frames(model.spec, wish, DEFAULT_JOIN_S)
    parts = [_Part(one.latent_CFHW, repeats_after=one.padding), new, _inside(model, two)]
    return _joined(model, wish, "connect", one, parts)


def _loop(model: Model, wish: Wish) -> Job:
    """The clip, the way back, and the clip's beginning once more, which is given and then cut."""
    assert wish.loop is not None
    spec = model.spec
    clip = read_clip(model, wish.loop)
    new = _new_frames(spec, wish, DEFAULT_JOIN_S)
    context = min(spec.window_overlap, clip.latent_CFHW.shape[1])
    count = spec.time_factor * context
    beginning = encode_inside(model, _decoded(model, clip.latent_CFHW[:, : context + 1], count))
    whole = _Part(clip.latent_CFHW, repeats_after=clip.padding)
    return _joined(model, wish, "loop", clip, [whole, new, _Part(beginning, repeats_after=count)])


def _edit(model: Model, wish: Wish) -> Job:
    assert wish.edit is not None
    generator = _generator(model.spec, wish.options["seed"])
    clip = read_clip(model, wish.edit, generator=generator)
    options = {**wish.options, "strength": _strength(wish, "mild")}
    job = _changed(model, wish.prompt, clip, clip.latent_CFHW, options, "edit")
    if generator is None or job.start is None:
        return job
    return replace(job, start=replace(job.start, generator=generator.get_state()))


def _remix(model: Model, wish: Wish) -> Job:
    assert wish.remix is not None
    clip = read_clip(model, wish.remix)
    made = clip.recipe_request
    if made is None:
        raise InvalidRequest(
            f"{clip.name} carries no recipe, so its noise is not known; a clip of somebody else's can be edited (edit)",
            field="remix",
        )
    kept = {
        "negative_prompt": made.negative_prompt, "steps": made.steps, "guidance_scale": made.guidance_scale,
        "sampler": made.sampler, "guidance_interval": made.guidance_interval, "reuse": made.reuse, "fps": made.fps,
        "preset": made.preset if made.model == model.spec.name else "",
    }  # fmt: skip
    given = {name: value for name, value in wish.options.items() if value is not None}
    options = {**kept, **given, "seed": made.seed, "strength": _strength(wish, "mild")}
    return _changed(model, wish.prompt, clip, clip.latent_CFHW, options, "remix")


def _blend(model: Model, wish: Wish) -> Job:
    assert wish.blend is not None
    if wish.curve not in CURVES:
        raise InvalidRequest(
            f"there is no curve {wish.curve!r}; known are {', '.join(CURVES)}", field="curve"
        )
    one = read_clip(model, wish.blend[0])
    two = read_clip(model, wish.blend[1], one.native)
    frames = min(one.latent_CFHW.shape[1], two.latent_CFHW.shape[1])
    if frames < 2:
        raise InvalidRequest("a clip of one frame cannot be blended; give it as --image", field="blend")
    share = CURVES[wish.curve](torch.linspace(0, 1, frames))[:, None, None]
    latent = (1 - share) * one.latent_CFHW[:, :frames] + share * two.latent_CFHW[:, :frames]
    shown = min(one.frames, two.frames)
    seconds = shown / model.spec.fps
    options = {**wish.options, "strength": _strength(wish, "mild")}
    prompts = [_prompt(wish, one), _prompt(wish, two)]
    if prompts[0] != prompts[1]:
        options |= {
            "cards": [Card(0.0, prompts[0]), Card(seconds / 2, prompts[1])],
            "transition_s": 0.0 if wish.curve == "step" else seconds,
        }
    return _changed(model, prompts[0], replace(one, frames=shown), latent, options, "blend")


_TOOLS: Mapping[str, Callable[[Model, Wish], Job]] = {
    "extend": _extend,
    "extend_back": _extend_back,
    "loop": _loop,
    "connect": _connect,
    "blend": _blend,
    "edit": _edit,
    "remix": _remix,
}


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A piece of a clip that is given. Of its decoded frames the first `repeats_before` and the last `repeats_after`
    are not shown."""

    latent_CFHW: Tensor
    repeats_before: int = 0
    repeats_after: int = 0


def _joined(model: Model, wish: Wish, tool: str, clip: Given, parts: Sequence[_Part | int]) -> Job:
    """Given parts and numbers of new latent frames, one after the other, in the size of `clip`."""
    spec = model.spec
    channels, _, height, width = clip.latent_CFHW.shape
    latents: list[Tensor] = []
    given: list[bool] = []
    cut: set[int] = set()
    for part in parts:
        first = decoded_frames(spec, len(given))
        latents.append(
            torch.zeros(channels, part, height, width) if isinstance(part, int) else part.latent_CFHW
        )
        given += [not isinstance(part, int)] * latents[-1].shape[1]
        if isinstance(part, _Part):
            end = decoded_frames(spec, len(given))
            cut |= {*range(first, first + part.repeats_before), *range(end - part.repeats_after, end)}
    decoded = decoded_frames(spec, len(given))
    shown = decoded - len(cut)
    request = _resolved(spec, _prompt(wish, clip), clip, shown, shown, wish.options)
    return Job(
        replace(request, native_frames=decoded),
        Start(torch.cat(latents, 1), tuple(given)),
        frozenset(cut),
        {"tool": tool, "given_latent_frames": sum(given)},
    )


def _changed(
    model: Model, prompt: str, clip: Given, latent: Tensor, options: Mapping[str, Any], tool: str
) -> Job:
    """Every frame starts from a mixture."""
    decoded = decoded_frames(model.spec, latent.shape[1])
    latent = torch.cat([latent[:, :1]] * model.spec.lead_frames + [latent], 1)
    frames = latent.shape[1]
    request = _resolved(model.spec, prompt, clip, min(clip.frames, decoded), decoded, options)
    start = Start(latent, (False,) * frames, (True,) * frames)
    return Job(replace(request, native_frames=decoded), start, extra={"tool": tool})


def _resolved(
    spec: ModelSpec, prompt: str, clip: Given, shown: int, there: int, options: Mapping[str, Any]
) -> GenerationRequest:
    """A request whose finished clip is as long as `shown` native frames, of which `there` are made, in the size of the
    clip that was given."""
    values = {name: value for name, value in options.items() if value is not None}
    fps = values.get("fps") or spec.fps
    frames = min(round(shown * fps / spec.fps), 1 + (there - 1) * fps // spec.fps)
    size = values.pop("size", None) or _own_size(clip)
    request = GenerationRequest.resolve(spec, prompt, **{**values, "size": size, "seconds": frames / fps})
    native_width, native_height = clip.native
    return replace(request, native_width=native_width, native_height=native_height)


def _own_size(clip: Given) -> tuple[int, int]:
    """The size in which a clip came, or the model's own where that size cannot be made."""
    width, height = clip.size[0] // 2 * 2, clip.size[1] // 2 * 2
    possible = (
        MIN_OUTPUT_PX <= min(width, height)
        and width <= MAX_OUTPUT_WIDTH_PX
        and height <= MAX_OUTPUT_HEIGHT_PX
    )
    return (width, height) if possible else clip.native


def _new_frames(spec: ModelSpec, wish: Wish, default_s: float) -> int:
    """Latent frames that hold the seconds that are to be made."""
    seconds = wish.options.get("seconds")
    seconds = default_s if seconds is None else seconds
    if not 0 < seconds <= spec.max_seconds:
        raise InvalidRequest(
            f"seconds is {seconds:g}; above 0 to {spec.max_seconds:g} seconds can be added", field="seconds"
        )
    return max(1, round(seconds * spec.fps / spec.time_factor))


def _inside(model: Model, clip: Given) -> _Part:
    """The clip where it does not begin: its first frame, alone in its latent, becomes a full latent frame that repeats
    it."""
    latent = torch.cat([still_inside(model, clip.first), clip.latent_CFHW[:, 1:]], 1)
    return _Part(latent, repeats_before=model.spec.time_factor - 1, repeats_after=clip.padding)


@torch.inference_mode()
def _decoded(model: Model, latent_CFHW: Tensor, count: int) -> np.ndarray:
    """The first `count` frames of a latent."""
    chunks = [chunk.cpu().numpy() for chunk in model.decode(latent_CFHW.to(model.dtype))]
    frames = np.concatenate(chunks)[:count]
    missing = count - len(frames)
    return np.concatenate([frames, frames[-1:].repeat(missing, axis=0)]) if missing else frames


def _prompt(wish: Wish, clip: Given) -> str:
    """The prompt that was given, else the clip's own.

    Raises:
        InvalidRequest: there is neither.
    """
    if wish.prompt.strip():
        return wish.prompt
    if clip.recipe_request is not None:
        return clip.recipe_request.prompt
    raise InvalidRequest(
        f"{clip.name} does not say what it shows; say in a sentence what the video should show",
        field="prompt",
    )


def _strength(wish: Wish, default: str) -> float:
    strength = default if wish.strength is None else wish.strength
    if isinstance(strength, str):
        if strength in STRENGTHS:
            return STRENGTHS[strength]
        try:
            return float(strength)
        except ValueError:
            raise InvalidRequest(
                f"strength is {strength!r}; wanted {', '.join(STRENGTHS)} or a number above 0 to 1",
                field="strength",
            ) from None
    return strength


def _is_given(value: object) -> bool:
    return value is not None and not (isinstance(value, (tuple, list)) and not value)
