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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List the models."""
    settings = Settings.from_environment()
    specs = [catalog.spec(name) for name in catalog.names()]
    pulled: list[ModelSpec | str] = []
    for name in catalog.pulled(settings.models):
        try:
            pulled.append(catalog.find(name, settings.models))
        except HibariError as error:
            pulled.append(f"{name} cannot be used: {error}")
    usable = [*specs, *(spec for spec in pulled if isinstance(spec, ModelSpec))]
    if as_json:
        typer.echo(json.dumps([asdict(spec) for spec in usable]))
        return
    for spec in (*specs, *pulled):
        if isinstance(spec, str):
            typer.echo(spec)
            continue
        sizes = ", ".join(f"{width}x{height}" for width, height in spec.sizes)
        typer.echo(f"{spec.name:<10}{'' if len(spec.name) < 10 else ' '}{spec.summary}")
        typer.echo(
            f"{'':<10}native {sizes} at {spec.fps} fps, up to {spec.max_seconds:g} s; "
            f"{spec.default_steps} steps; weights: {spec.licence if spec.weights else 'none'}"
        )
    typer.echo("\nAs published, with --model PATH (docs/models.md):")
    for family in catalog.FAMILIES:
        typer.echo(f"{family.name:<15}{family.summary}")
        typer.echo(f"{'':<15}needs {family.needs}")
    typer.echo("\nFrom a hub, with hibari pull NAME or OWNER/NAME:")
    typer.echo("\n".join(f"{hosted.name:<31}{hosted.repo}" for hosted in catalog.HOSTED))
