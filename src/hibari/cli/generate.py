"""`hibari generate`: a sentence becomes a file, or several; so do pictures and clips, with the creative tools."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hibari import catalog
from hibari.cli import progress, stop
from hibari.cli.sizes import parse_size
from hibari.contracts import (
    SAMPLERS,
    ClipStream,
    GenerationRequest,
    InputError,
    InvalidRequest,
)
from hibari.settings import Settings

if TYPE_CHECKING:
    from hibari.engine import Event
    from hibari.tools import Job, Made

_SLUG_CHARS = 48


def generate(
    prompt: Annotated[
        str,
        typer.Argument(
            help="What the video should show, in a sentence. A clip of Hibari's that is given brings its own.",
            metavar="[PROMPT]",
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write: .mp4, .webm, .gif, .webp, or .png for one frame.",
            metavar="FILE",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A name that `hibari models` lists, or the path of an open model.", metavar="NAME"),
    ] = None,
    quantise: Annotated[
        str | None,
        typer.Option(
            help="Weights of an open model in 8 bits: int8 or fp8. Less memory, a little off.", metavar="KIND"
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            help="Length; 0 is one frame. With extend, loop and connect: of what is added.", metavar="S"
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="As 512x512, 720p, 1080p, square, landscape, portrait.", metavar="WxH"),
    ] = None,
    fps: Annotated[int | None, typer.Option(help="Frames a second, 1 to 30.", metavar="N")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampler steps; more is slower.", metavar="N")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How strictly the prompt is followed; 1 is not at all.", metavar="G")
    ] = None,
    guidance_interval: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Noise levels, 0 to 1, between which guidance works.", metavar="LOW HIGH"),
    ] = None,
    sampler: Annotated[str | None, typer.Option(help=f"{' or '.join(SAMPLERS)}.", metavar="NAME")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="A published way to run the model, which says what each step does.", metavar="NAME"
        ),
    ] = None,
    given_noise: Annotated[
        float | None,
        typer.Option(
            help="Noise, 0 to 1, that given pictures and clips get at each step: a little makes them move.",
            metavar="X",
        ),
    ] = None,
    reuse: Annotated[
        float | None,
        typer.Option(
            help="Skip a step where the last one changed less than this share; 0 is never.", metavar="X"
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The same seed makes the same video again.", metavar="N")
    ] = None,
    variations: Annotated[
        int, typer.Option(help="How many videos, with seeds that follow each other.", metavar="N")
    ] = 1,
    negative: Annotated[
        str | None,
        typer.Option(help="What the video should not show; needs guidance above 1.", metavar="TEXT"),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="A picture that becomes the first frame.", metavar="FILE")
    ] = None,
    last_image: Annotated[
        Path | None, typer.Option(help="A picture that becomes the last frame.", metavar="FILE")
    ] = None,
    card: Annotated[
        list[str] | None,
        typer.Option(
            help="Storyboard, given once a card: at second S the clip turns to the PROMPT, or shows the picture @FILE.",
            metavar="S:PROMPT|S:@FILE",
        ),
    ] = None,
    transition: Annotated[
        float | None,
        typer.Option(help="Seconds that one card takes to become the next; 0 is a cut.", metavar="S"),
    ] = None,
    extend: Annotated[
        Path | None, typer.Option(help="A clip to go on with, for --seconds.", metavar="FILE")
    ] = None,
    extend_back: Annotated[
        Path | None, typer.Option(help="A clip to lead up to, for --seconds.", metavar="FILE")
    ] = None,
    loop: Annotated[
        Path | None,
        typer.Option(help="A clip whose end is led back to its beginning, in --seconds.", metavar="FILE"),
    ] = None,
    connect: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Two clips; what leads from one to the other takes --seconds.", metavar="A B"),
    ] = None,
    blend: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Two clips that become one: the first turns into the second.", metavar="A B"),
    ] = None,
    curve: Annotated[
        str, typer.Option(help="How a blend goes over: linear, smooth or step.", metavar="NAME")
    ] = "smooth",
    edit: Annotated[Path | None, typer.Option(help="A clip that the PROMPT changes.", metavar="FILE")] = None,
    remix: Annotated[
        Path | None,
        typer.Option(
            help="A clip of Hibari's, made again from its own noise with the PROMPT.", metavar="FILE"
        ),
    ] = None,
    strength: Annotated[
        str | None,
        typer.Option(
            help="How far edit, remix and blend may go: subtle, mild, strong, or a number above 0 to 1.",
            metavar="X",
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Compute with so many processes, on GPUs one on each: rows of guidance apart, then a row's tokens.",
            metavar="N",
        ),
    ] = 1,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Compute variations apart, so that each is as if alone.")
    ] = False,
    keep_latent: Annotated[
        bool,
        typer.Option(
            "--keep-latent",
            help="Also write FILE.latent: tools that are given FILE go on from it without loss.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a video and nothing else.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the file's path.")] = False,
) -> None:
    """Make a video of a sentence; or change, extend, join and loop clips."""
    settings = Settings.from_environment()
    spec = catalog.find(model or settings.model, settings.models)
    wanted: dict[str, Any] = {
        "negative_prompt": negative,
        "size": parse_size(size, spec) if size is not None else None,
        "seconds": seconds,
        "fps": fps,
        "steps": steps,
        "guidance_scale": guidance,
        "guidance_interval": guidance_interval,
        "sampler": sampler,
        "preset": preset,
        "given_noise": given_noise,
        "reuse": reuse,
        "transition_s": transition,
        "deterministic": deterministic or None,
    }
    options = {name: value for name, value in wanted.items() if value is not None}
    given = {
        "image": image,
        "last_image": last_image,
        "extend": extend,
        "extend_back": extend_back,
        "loop": loop,
        "connect": connect,
        "blend": blend,
        "edit": edit,
        "remix": remix,
    }
    for files in given.values():
        for path in files if isinstance(files, tuple) else (files,):
            _check_there(path)
    # Before torch is imported, which takes seconds, everything is checked that can be.
    clips = any(given[name] for name in given if name not in ("image", "last_image"))
    stands_in = "clip" if card or clips else ""
    early = GenerationRequest.resolve(spec, prompt or stands_in, seed=seed or 0, **options)
    cards = [_card(text) for text in card or []]
    from hibari import media  # numpy, PyAV and Pillow

    media.check_writable(output or _free_path(early), frames=None if clips else early.frames)

    with progress.choose(quiet=quiet or as_json) as shown, ExitStack() as stack:
        shown.phase(f"loading {spec.name}")
        began_s = perf_counter()
        from hibari import tools
        from hibari.engine import StepDone
        from hibari.engine.processes import spread
        from hibari.engine.runtime import prepare_torch

        load = partial(catalog.load, model or settings.model, models=settings.models, quantise=quantise or "")
        loaded_model = stack.enter_context(
            spread(
                load,
                processes=processes,
                rows=variations * (1 if early.guidance_scale == 1 else 2),
                threads=settings.threads,
                device=prepare_torch(settings),
            )
        )
        loaded_s = perf_counter()

        wish = tools.Wish(
            prompt=prompt,
            cards=[tools.StoryCard(*each) for each in cards],
            curve=curve,
            strength=strength,
            options=options,
            **given,
        )
        jobs = tools.jobs_of(loaded_model, wish, tools.seeds(seed, variations))
        if processes > 1:  # the clip is another one, to rounding
            jobs = [replace(job, extra={**job.extra, "processes": processes}) for job in jobs]
        if keep_latent and jobs[0].cut:
            raise InvalidRequest(
                f"frames are cut out of this {wish.tool}, so no latent stands for it; leave out --keep-latent",
                field="keep_latent",
            )
        paths = _paths(output, jobs)
        for path, job in zip(paths, jobs, strict=True):
            media.check_writable(path, frames=job.request.frames)

        request = jobs[0].request
        what = _length(request.frames, request.fps)
        many = f"{variations} videos of " if variations > 1 else ""
        seeds = f"seeds {request.seed} to {jobs[-1].request.seed}" if many else f"seed {request.seed}"
        shown.phase(f"making {many}{what} in {request.steps} steps, {seeds}")
        steps_of: dict[str, tuple[int, int]] = {}

        def show_step(event: Event) -> None:
            stop.check()
            if isinstance(event, StepDone):
                steps_of[event.id] = event.step, event.total
                done = sum(step for step, _ in steps_of.values())
                total = event.total * (len(jobs) - len(steps_of)) + sum(n for _, n in steps_of.values())
                first = event.id == next(iter(steps_of))  # one preview, not a flicker of several
                shown.step(done, total, event.seconds_left, event.preview if first else None)

        made = tools.make(
            loaded_model,
            jobs,
            on_event=show_step,
            text_cache=tools.text_cache(settings),
            memory_bytes=settings.memory_bytes,
        )
        generated_s = perf_counter()
        results: list[tuple[Path, ClipStream, float]] = []
        for path, one in zip(paths, made, strict=True):
            before_s = perf_counter()
            _write(one, path, shown, keep_latent=keep_latent)
            results.append((path, one.stream, perf_counter() - before_s))

    for path, clip, write_s in results:
        timings = {"load_s": loaded_s - began_s, "generate_s": generated_s - loaded_s, "write_s": write_s}
        if as_json:
            recipe = json.loads(clip.recipe.to_json())
            typer.echo(
                json.dumps({"path": str(path), "recipe": recipe, "timings": timings}, ensure_ascii=False)
            )
        elif quiet:
            typer.echo(path)
        else:
            typer.echo(
                f"{path}  ({clip.width}x{clip.height}, {_length(clip.frame_count, clip.fps)}, seed "
                f"{clip.recipe.request.seed}, made in {timings['generate_s'] + write_s:.1f} s)"
            )


def _write(made: Made, path: Path, shown: progress.Progress, *, keep_latent: bool) -> None:
    """The clip's file, and its latent's."""
    from hibari import media, tools

    clip = made.stream
    shown.phase(f"writing {path.name}")

    def show_frame(done: int) -> None:
        stop.check()
        shown.frame(done, clip.frame_count)

    media.write_clip(clip, path, on_frame=show_frame)
    if keep_latent and made.latent_CFHW is not None:
        tools.keep_latent(path, made.latent_CFHW, clip.recipe)


def _check_there(path: Path | None) -> None:
    if path is not None and not path.is_file():
        raise InputError(
            f"cannot read {path}: {'it is no file' if path.exists() else 'there is no such file'}"
        )


def _card(text: str) -> tuple[float, str, Path | None]:
    """Time, prompt and picture of a card out of "S:PROMPT" or "S:@FILE"."""
    at, colon, what = text.partition(":")
    try:
        at_s = float(at)
    except ValueError:
        at_s = -1.0
    if not colon or not what.strip() or not at_s >= 0:
        raise InvalidRequest(
            f"card is {text!r}; wanted SECONDS:PROMPT as in '2:a cat jumps', or SECONDS:@FILE for a picture",
            field="cards",
        )
    if not what.startswith("@"):
        return at_s, what, None
    _check_there(Path(what[1:]))
    return at_s, "", Path(what[1:])


def _length(frames: int, fps: int) -> str:
    return "one frame" if frames == 1 else f"{frames / fps:.3g} s ({frames} frames)"


def _paths(output: Path | None, jobs: Sequence[Job]) -> list[Path]:
    """Where each clip goes: variations have their seed in the name."""
    if output is None:
        return [_free_path(job.request) for job in jobs]
    if len(jobs) == 1:
        return [output]
    return [output.with_stem(f"{output.stem}-{job.request.seed}") for job in jobs]


def _free_path(request: GenerationRequest) -> Path:
    """A name of the prompt and the seed, in this folder, that is not taken."""
    text = unicodedata.normalize("NFKC", request.prompt).lower()
    slug = re.sub(r"[\W_]+", "-", text).strip("-")[:_SLUG_CHARS].rstrip("-") or "video"
    suffix = ".png" if request.frames == 1 else ".mp4"
    candidates = (Path(f"{slug}-{request.seed}{f'-{n}' if n > 1 else ''}{suffix}") for n in count(1))
    return next(path for path in candidates if not path.exists())
