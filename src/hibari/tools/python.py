"""`hibari.generate` and `hibari.stream`: what a Python program calls."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import numpy as np

from hibari import catalog
from hibari.contracts import Clip, InvalidRequest
from hibari.engine import Engine, Event, TextCache
from hibari.engine.runtime import prepare_torch
from hibari.models.protocol import Model
from hibari.settings import Settings
from hibari.tools.make import make
from hibari.tools.wish import Job, Wish, plan_job

RANDOM_SEEDS = 2**31  # short enough to be read out to somebody
MAX_VARIATIONS = 16
_WISHES = {one.name for one in fields(Wish)} - {"prompt", "options"}


def generate(
    prompt: str = "",
    *,
    model: str | None = None,
    num_frames: int | None = None,
    variations: int = 1,
    seed: int | None = None,
    quantise: str = "",
    on_event: Callable[[Event], None] | None = None,
    **wishes: Any,
) -> Clip | list[Clip]:
    """Make a clip, or several.

    Args:
        prompt: what the video should show.
        model: a name of the catalog, or what was pulled, or a checkpoint's path; by default the setting HIBARI_MODEL.
        num_frames: length in frames of the finished clip, instead of `seconds`.
        variations: how many, with seeds that follow each other.
        seed: by default a random one, which the recipe tells.
        quantise: "int8" or "fp8" for an open model's weights: less memory, a little off.
        on_event: is told what the engine does; what it raises ends everything.
        wishes: pictures, clips and tools as in `tools.Wish` (image, last_image, extend, extend_back, loop, connect,
            blend, edit, remix, strength, cards, curve) and options as in `GenerationRequest.resolve` (seconds, size,
            fps, steps, guidance_scale, negative_prompt, transition_s, sampler, guidance_interval, reuse,
            deterministic, preset, given_noise).

    Returns:
        The clip; a list where `variations` is more than 1.

    Raises:
        HibariError: see `contracts` for the kinds.
    """
    loaded, jobs = _jobs(prompt, model, num_frames, variations, seed, quantise, wishes)
    settings = Settings.from_environment()
    made = make(
        loaded, jobs, on_event=on_event, text_cache=text_cache(settings), memory_bytes=settings.memory_bytes
    )
    clips = [
        Clip(np.stack(list(one.stream.frames)), one.stream.fps, one.stream.recipe, one.latent_CFHW)
        for one in made
    ]
    return clips if variations > 1 else clips[0]


def stream(
    prompt: str = "",
    *,
    model: str | None = None,
    num_frames: int | None = None,
    variations: int = 1,
    seed: int | None = None,
    quantise: str = "",
    **wishes: Any,
) -> Iterator[Event]:
    """What the engine tells while it makes what `generate` would: steps with previews, then frames at the model's own
    size and rate. Walking it is what makes it work; leaving it ends the work.

    Raises:
        HibariError: see `contracts` for the kinds; before the first event. Later ones are told as `Failed`.
    """
    loaded, jobs = _jobs(prompt, model, num_frames, variations, seed, quantise, wishes)
    settings = Settings.from_environment()
    engine = Engine(lambda _: loaded, text_cache=text_cache(settings), memory_bytes=settings.memory_bytes)
    engine.adopt(loaded)
    for job in jobs:
        engine.submit(job.request, start=job.start, extra=job.extra)
    return engine.events()


def text_cache(settings: Settings) -> TextCache:
    """The cache of prompts that processes share."""
    return TextCache(settings.cache / "text")


def seeds(seed: int | None, variations: int) -> range:
    """Seeds of so many variations, from `seed` on or from a random one.

    Raises:
        InvalidRequest: there are too many, or none.
    """
    if not 1 <= variations <= MAX_VARIATIONS:
        raise InvalidRequest(f"variations is {variations}; must be 1 to {MAX_VARIATIONS}", field="variations")
    first = secrets.randbelow(RANDOM_SEEDS) if seed is None else seed
    return range(first, first + variations)


def _jobs(
    prompt: str,
    model: str | None,
    num_frames: int | None,
    variations: int,
    seed: int | None,
    quantise: str,
    wishes: dict[str, Any],
) -> tuple[Model, list[Job]]:
    settings = Settings.from_environment()
    spec = catalog.find(model or settings.model, settings.models)
    options = {name: value for name, value in wishes.items() if name not in _WISHES}
    if num_frames is not None:
        if "seconds" in options:
            raise InvalidRequest("give num_frames or seconds, not both", field="num_frames")
        options["seconds"] = num_frames / (options.get("fps") or spec.fps)
    loaded = _loaded(model or settings.model, quantise, settings)
    wish = {name: value for name, value in wishes.items() if name in _WISHES}
    return loaded, jobs_of(loaded, Wish(prompt=prompt, options=options, **wish), seeds(seed, variations))


def jobs_of(model: Model, wish: Wish, of_seeds: Sequence[int]) -> list[Job]:
    """A job a seed. What is given is read once a seed only where it must be: the rest of the job does not depend on it.

    Raises:
        HibariError: as `plan_job`.
    """
    first = plan_job(model, replace(wish, options={**wish.options, "seed": of_seeds[0]}))
    if len(of_seeds) > 1 and wish.tool == "remix":
        raise InvalidRequest(
            "a remix keeps its clip's own noise, so there are no variations of it", field="variations"
        )
    if first.start and first.start.generator is not None:  # what is given was drawn with the seed
        return [first, *(jobs_of(model, wish, of_seeds[n : n + 1])[0] for n in range(1, len(of_seeds)))]
    return [first, *(replace(first, request=replace(first.request, seed=seed)) for seed in of_seeds[1:])]


@lru_cache(maxsize=1)
def _loaded(name: str, quantise: str, settings: Settings) -> Model:
    return catalog.load(name, device=prepare_torch(settings), models=settings.models, quantise=quantise)
