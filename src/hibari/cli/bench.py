"""`hibari bench`: what a model costs on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from hibari import catalog
from hibari.cli import progress
from hibari.cli.sizes import parse_size
from hibari.contracts import InvalidRequest
from hibari.settings import Settings

AGAINST = "diffusers"


def bench(
    model: Annotated[
        str | None,
        typer.Option(help="A name that `hibari models` lists, or a folder of an open model.", metavar="NAME"),
    ] = None,
    random: Annotated[
        str | None,
        typer.Option(
            help="Instead of a model: one with random weights, of a size for a processor. "
            "ltx_video, cogvideox or mochi; pyramid_flow has its own gains measured, each against the plain way.",
            metavar="FAMILY",
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help=f"Measure a reference in turn with it: {AGAINST}.", metavar="NAME")
    ] = None,
    size: Annotated[str | None, typer.Option(help="As 512x512, or as in generate.", metavar="WxH")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Length of the clip.", metavar="N")] = None,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps that are measured, after one that is not.", metavar="N")
    ] = 2,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; 1 has one row a step.", metavar="G")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Processes of each side.", metavar="N")] = 2,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table for a page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure seconds a step, seconds to decode, peak memory and counted work, on this machine."""
    if model is not None and random is not None:
        raise InvalidRequest("give --model or --random, not both", field="random")
    if against not in (None, AGAINST):
        raise InvalidRequest(
            f"against is {against!r}; a model can be measured against {AGAINST}", field="against"
        )
    from hibari.bench import pyramid
    from hibari.bench.compare import compare
    from hibari.bench.measure import Wish, request_of
    from hibari.bench.reference import check

    if random is not None and random in pyramid.SIZES:
        if against:
            raise InvalidRequest(
                "no package has Pyramid Flow; leave out --against: its gains are measured against the plain ways",
                field="against",
            )
        with progress.choose(quiet=as_json or markdown) as shown:
            gains = pyramid.measure(random, repeat=repeat, told=shown.phase)
        typer.echo(json.dumps(gains.as_dict()) if as_json else gains.markdown())
        return

    with TemporaryDirectory(prefix="hibari-") as folder, progress.choose(quiet=as_json or markdown) as shown:
        settings = Settings.from_environment()
        name = model or settings.model
        name = str(catalog.where(name, settings.models) or name)
        if random is not None:
            from hibari.bench.random import RANDOM, write

            if random not in RANDOM:
                known = ", ".join(one for one in (*RANDOM, *pyramid.SIZES) if "-" not in one)
                raise InvalidRequest(f"random is {random!r}; there are {known}", field="random")
            name = str(Path(folder) / random)
            shown.phase(f"making a random {random}")
            write(random, Path(name))
            sizes = RANDOM[random]
            frames = frames or sizes.frames
            size = size or f"{sizes.size[0]}x{sizes.size[1]}"
        if against:
            check(name)
        spec = catalog.find(name)
        wish = Wish(
            model=name,
            size=parse_size(size, spec) if size else spec.sizes[0],
            frames=frames or round(spec.default_seconds * spec.fps),
            steps=steps,
            guidance=spec.default_guidance if guidance is None else guidance,
        )
        request_of(wish)  # what cannot be made is said before anything is measured
        report = compare(wish, against, repeat=repeat, told=shown.phase)
    typer.echo(json.dumps(report.as_dict()) if as_json else report.markdown())
