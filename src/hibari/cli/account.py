"""`hibari admin account ...`: what accounts may have, and what they have."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from hibari.cli.server import DataDir
from hibari.contracts import NotFound
from hibari.settings import ServerSettings

app = typer.Typer(help="What accounts may have, and what they have.", rich_markup_mode=None)

_MB = 10**6


@app.command("list")
def list_accounts(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all accounts with their limits; - is the server's own."""
    from hibari.accounts import Accounts
    from hibari.db import Database, migrate
    from hibari.jobs import StoredFiles

    database = Database(ServerSettings.from_environment(data_dir=data_dir).database)
    migrate(database)
    stored = StoredFiles(database)
    found = [(one, stored.used_bytes(one.id)) for one in Accounts(database).all()]
    if as_json:
        typer.echo(json.dumps([{**asdict(one), "stored_bytes": used} for one, used in found]))
        return
    for one, used in found:
        most = "-" if one.max_stored_bytes is None else f"{one.max_stored_bytes / _MB:,.0f} MB"
        limits = f"running {_shown(one.max_running)}, queued {_shown(one.max_queued)}"
        typer.echo(f"{one.name:<20} {used / _MB:,.1f} MB of {most}, {limits}")


@app.command("limit")
def limit(
    name: Annotated[str, typer.Argument(help="The account's name.")],
    stored_mb: Annotated[
        int | None, typer.Option(min=0, help="What its files may take, in millions of bytes.")
    ] = None,
    queued: Annotated[int | None, typer.Option(min=0, help="Videos that may wait.")] = None,
    running: Annotated[int | None, typer.Option(min=0, help="Videos that may be made at a time.")] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="What is not given here is the server's own again.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Change what an account may have; what is not given stays. What it has already stays, too."""
    from hibari.accounts import Accounts
    from hibari.db import Database, migrate

    database = Database(ServerSettings.from_environment(data_dir=data_dir).database)
    migrate(database)
    accounts = Accounts(database)
    found = accounts.find(name)
    if found is None:
        raise NotFound(f"there is no account {name!r}")
    before = (None, None, None) if reset else (found.max_running, found.max_queued, found.max_stored_bytes)
    given = running, queued, None if stored_mb is None else stored_mb * _MB
    most_running, most_queued, most_bytes = (
        old if new is None else new for old, new in zip(before, given, strict=True)
    )
    accounts.set_limits(
        found.id, max_running=most_running, max_queued=most_queued, max_stored_bytes=most_bytes
    )
    typer.echo(f"the limits of {name} are changed")


def _shown(most: int | None) -> str:
    return "-" if most is None else str(most)
