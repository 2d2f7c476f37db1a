"""`hibari show`: how a file was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def show(
    file: Annotated[Path, typer.Argument(help="A file that Hibari made.", metavar="FILE")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the recipe as one JSON object.")] = False,
) -> None:
    """Print the recipe that a file carries."""
    from hibari.media import read_recipe

    recipe = read_recipe(file)
    if as_json:
        typer.echo(json.dumps(recipe, ensure_ascii=False))
        return
    request = recipe["request"]
    lines = {name: request.get(name) for name in ("prompt", "negative_prompt", "model", "seed")}
    lines |= request
    lines |= {name: value for name, value in recipe.items() if name != "request"}
    for name, value in lines.items():
        typer.echo(f"{name:<16}  {_readable(value)}")


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items()) or "-"
    if isinstance(value, list):
        return "; ".join(str(item) for item in value) or "-"
    return "-" if value in (None, "") else str(value)
