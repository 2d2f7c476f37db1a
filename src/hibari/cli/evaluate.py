"""`hibari evaluate`: does a model's clip show what its prompt asked for?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hibari import catalog
from hibari.cli import progress
from hibari.contracts import SAMPLERS
from hibari.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from hibari.models.protocol import Model
    from hibari.training.evaluate import Case


def evaluate(
    model: Annotated[
        str | None, typer.Option(help="A name that `hibari models` lists.", metavar="NAME")
    ] = None,
    suite: Annotated[
        str, typer.Option(help="Which prompts: held-out, or relation for two subjects.", metavar="NAME")
    ] = "held-out",
    limit: Annotated[
        int | None, typer.Option(help="Only the first N prompts; the whole suite has 240.", metavar="N")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Sampler steps; else the model's own.", metavar="N")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; else the model's own.", metavar="G")
    ] = None,
    guidance_interval: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Noise levels between which guidance works; else the model's own.", metavar="LOW HIGH"
        ),
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help=f"{' or '.join(SAMPLERS)}; else {SAMPLERS[0]}.", metavar="NAME")
    ] = None,
    reuse: Annotated[
        float | None,
        typer.Option(
            help="Skip a step where the last one changed less than this share; 0 is never.", metavar="X"
        ),
    ] = None,
    training_clips: Annotated[
        int, typer.Option(min=0, help="Training clips to look through for copies; 0: none.", metavar="N")
    ] = 2000,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write the tables for a model card.", metavar="FILE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Say from the pixels how often subject, colour, motion, background, camera and look are right."""
    settings = Settings.from_environment()
    spec = catalog.spec(model or settings.model)

    from hibari.engine.runtime import prepare_torch
    from hibari.training.evaluate import clips_of, run_suite

    device = prepare_torch(settings)
    loaded = catalog.load(spec.name, device=device)

    wanted = {
        "steps": steps,
        "guidance_scale": guidance,
        "guidance_interval": guidance_interval,
        "sampler": sampler,
        "reuse": reuse,
    }
    options = {name: value for name, value in wanted.items() if value is not None}

    def generator(which: Model, **options: Any) -> Callable[[Sequence[Case]], Iterator[np.ndarray]]:
        return lambda asked: clips_of(which, asked, **options)

    # The same network without what it learned, where the family can make one; noise stands in for others. It has
    # nothing to refine, so one step is enough.
    make_untrained = getattr(loaded, "untrained", None)
    with progress.choose(quiet=quiet or as_json) as shown:
        report = run_suite(
            generator(loaded, **options),
            suite=suite,
            limit=limit,
            untrained=generator(make_untrained(), steps=1) if make_untrained else None,
            training_clips=training_clips,
            on_progress=lambda what, done, total: (
                shown.phase(f"{what} {done}/{total}") if done == 1 or done % 20 == 0 else None
            ),
        )
    if markdown:
        markdown.write_text(report.to_markdown())
    typer.echo(report.to_json() if as_json else report.to_markdown())
