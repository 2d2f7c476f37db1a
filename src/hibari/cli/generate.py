"""`hibari generate`: a sentence becomes a file."""

from __future__ import annotations

import json
import re
import secrets
import unicodedata
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from hibari import catalog
from hibari.cli import progress, stop
from hibari.cli.sizes import parse_size
from hibari.contracts import GenerationRequest
from hibari.settings import Settings

if TYPE_CHECKING:
    from hibari.engine import Event

_SLUG_CHARS = 48
_RANDOM_SEEDS = 2**31  # short enough to be read out to somebody


def generate(
    prompt: Annotated[
        str, typer.Argument(help="What the video should show, in a sentence.", metavar="PROMPT")
    ],
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
        str | None, typer.Option(help="A name that `hibari models` lists.", metavar="NAME")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Length; 0 is one frame.", metavar="S")] = None,
    size: Annotated[
        str | None,
        typer.Option(help="As 512x512, 720p, 1080p, square, landscape, portrait.", metavar="WxH"),
    ] = None,
    fps: Annotated[int | None, typer.Option(help="Frames a second, 1 to 30.", metavar="N")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampler steps; more is slower.", metavar="N")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How strictly the prompt is followed; 1 is not at all.", metavar="G")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The same seed makes the same video again.", metavar="N")
    ] = None,
    negative: Annotated[str, typer.Option(help="What the video should not show.", metavar="TEXT")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the file's path.")] = False,
) -> None:
    """Make a video of a sentence."""
    settings = Settings.from_environment()
    spec = catalog.spec(model or settings.model)
    request = GenerationRequest.resolve(
        spec,
        prompt,
        negative_prompt=negative,
        size=parse_size(size, spec) if size is not None else None,
        seconds=seconds,
        fps=fps,
        steps=steps,
        guidance_scale=guidance,
        seed=secrets.randbelow(_RANDOM_SEEDS) if seed is None else seed,
    )
    path = output if output is not None else _free_path(request)
    from hibari import media  # numpy, PyAV and Pillow: not before the request is known to be sound

    media.check_writable(path, frames=request.frames)

    with progress.choose(quiet=quiet or as_json) as shown:
        shown.phase(f"loading {spec.name}")
        began_s = perf_counter()
        from hibari.cli.runtime import prepare_torch
        from hibari.engine import StepDone
        from hibari.engine import generate as run

        loaded_model = catalog.load(spec.name, device=prepare_torch(settings))
        loaded_s = perf_counter()

        def show_step(event: Event) -> None:
            stop.check()
            if isinstance(event, StepDone):
                shown.step(event.step, event.total, event.seconds_left, event.preview)

        shown.phase(
            f"making {_length(request.frames, request.fps)} in {request.steps} steps, seed {request.seed}"
        )
        native = run(loaded_model, request, on_event=show_step)
        generated_s = perf_counter()

        shown.phase(f"writing {path.name}")
        clip = media.fit(
            native, width=request.width, height=request.height, fps=request.fps, frames=request.frames
        )

        def show_frame(done: int) -> None:
            stop.check()
            shown.frame(done, clip.frame_count)

        media.write_clip(clip, path, on_frame=show_frame)
        written_s = perf_counter()

    timings = {
        "load_s": loaded_s - began_s,
        "generate_s": generated_s - loaded_s,
        "write_s": written_s - generated_s,
    }
    if as_json:
        recipe = json.loads(clip.recipe.to_json())
        typer.echo(json.dumps({"path": str(path), "recipe": recipe, "timings": timings}, ensure_ascii=False))
    elif quiet:
        typer.echo(path)
    else:
        typer.echo(
            f"{path}  ({clip.width}x{clip.height}, {_length(clip.frame_count, clip.fps)}, seed {request.seed}, "
            f"made in {timings['generate_s'] + timings['write_s']:.1f} s)"
        )


def _length(frames: int, fps: int) -> str:
    return "one frame" if frames == 1 else f"{frames / fps:.3g} s ({frames} frames)"


def _free_path(request: GenerationRequest) -> Path:
    """A name of the prompt and the seed, in this folder, that is not taken."""
    text = unicodedata.normalize("NFKC", request.prompt).lower()
    slug = re.sub(r"[\W_]+", "-", text).strip("-")[:_SLUG_CHARS].rstrip("-") or "video"
    suffix = ".png" if request.frames == 1 else ".mp4"
    candidates = (Path(f"{slug}-{request.seed}{f'-{n}' if n > 1 else ''}{suffix}") for n in count(1))
    return next(path for path in candidates if not path.exists())
