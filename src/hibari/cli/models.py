"""`hibari models`: what can be asked for."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from hibari import catalog
from hibari.contracts import HibariError, ModelSpec
from hibari.settings import Settings


def models(
    name: Annotated[
        str | None, typer.Argument(help="A model, or a checkpoint's path: what it can do, and its presets.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON array, or an object of the one named.")
    ] = False,
) -> None:
    """List the models, or say of one what it can do."""
    settings = Settings.from_environment()
    if name is not None:
        spec = catalog.find(name, settings.models)
        typer.echo(json.dumps(asdict(spec)) if as_json else "\n".join((*_lines(spec), *_more(spec))))
        return
    found: list[ModelSpec] = []
    unusable: list[str] = []
    for known in catalog.names(settings.models):
        try:
            found.append(catalog.spec(known, settings.models))
        except HibariError as error:
            unusable.append(f"{known} cannot be used: {error}")
    if as_json:
        typer.echo(json.dumps([asdict(spec) for spec in found]))
        return
    for spec in found:
        typer.echo("\n".join(_lines(spec)))
    for line in unusable:
        typer.echo(line)
    typer.echo("\nAs published, with --model PATH (docs/models.md):")
    for family in catalog.FAMILIES:
        typer.echo(f"{family.name:<15}{family.summary}")
        typer.echo(f"{'':<15}needs {family.needs}")
    typer.echo("\nFrom a hub, with hibari pull NAME or OWNER/NAME:")
    typer.echo("\n".join(f"{hosted.name:<31}{hosted.repo}" for hosted in catalog.HOSTED))


def _lines(spec: ModelSpec) -> list[str]:
    sizes = ", ".join(f"{width}x{height}" for width, height in spec.sizes)
    return [
        f"{spec.name:<10}{'' if len(spec.name) < 10 else ' '}{spec.summary}",
        f"{'':<10}native {sizes} at {spec.fps} fps, up to {spec.max_seconds:g} s; {spec.default_steps} steps; weights: "
        + (spec.licence if spec.weights else "none"),
    ]


def _more(spec: ModelSpec) -> list[str]:
    """What the list leaves out."""
    lines = [f"{'':<10}makes videos of: {', '.join(spec.kinds)}"]
    if spec.size_step:
        lines.append(f"{'':<10}native, too: every size whose sides are multiples of {spec.size_step} px")
    if spec.presets:
        lines.append("\nPresets, with --preset NAME:")
    for preset in spec.presets:
        lines.append(f"{preset.name:<26}{preset.summary}")
        if preset.missing:
            lines.append(f"{'':<26}not here: {preset.missing}")
    return lines
