"""`hibari models`: what can be asked for."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from hibari import catalog


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List the models."""
    specs = [catalog.spec(name) for name in catalog.names()]
    if as_json:
        typer.echo(json.dumps([asdict(spec) for spec in specs]))
        return
    for spec in specs:
        sizes = ", ".join(f"{width}x{height}" for width, height in spec.sizes)
        typer.echo(f"{spec.name:<10}{spec.summary}")
        typer.echo(
            f"{'':<10}native {sizes} at {spec.fps} fps, up to {spec.max_seconds:g} s; "
            f"{spec.default_steps} steps; weights: {spec.licence if spec.weights else 'none'}"
        )
    typer.echo("\nFrom a published folder, with --model FOLDER (docs/models.md):")
    for family in catalog.FAMILIES:
        typer.echo(f"{family.name:<15}{family.summary}")
        typer.echo(f"{'':<15}needs {family.needs}")
