"""`hibari admin account ...`: what accounts may have, and what they have."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hibari.cli.server import DataDir
from hibari.contracts import InvalidRequest, NotFound
from hibari.settings import ServerSettings

if TYPE_CHECKING:
    from hibari.accounts import Account, Accounts

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
    from hibari.audit import OPERATOR

    accounts, found = _found(name, data_dir)
    before = (None, None, None) if reset else (found.max_running, found.max_queued, found.max_stored_bytes)
    given = running, queued, None if stored_mb is None else stored_mb * _MB
    most_running, most_queued, most_bytes = (
        old if new is None else new for old, new in zip(before, given, strict=True)
    )
    accounts.set_limits(
        found.id,
        max_running=most_running,
        max_queued=most_queued,
        max_stored_bytes=most_bytes,
        by=OPERATOR,
    )
    typer.echo(f"the limits of {name} are changed")


@app.command("role")
def role(
    name: Annotated[str, typer.Argument(help="The account's name.")],
    role: Annotated[str, typer.Argument(help="admin, reviewer or member.")],
    data_dir: DataDir = None,
) -> None:
    """Give all keys of an account a role, from the next request on."""
    from hibari.accounts import Role
    from hibari.audit import OPERATOR

    if role not in list(Role):
        raise InvalidRequest(f"role is {role!r}; must be one of {', '.join(Role)}", field="role")
    accounts, found = _found(name, data_dir)
    changed = accounts.set_role(found.id, Role(role), by=OPERATOR)
    typer.echo(f"{len(changed)} keys of {name} are those of a {role}")


@app.command("delete")
def delete(
    name: Annotated[str, typer.Argument(help="The account's name.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Delete an account with its keys, videos and files; a worker that runs removes the files."""
    from hibari.audit import OPERATOR

    accounts, found = _found(name, data_dir)
    if not yes:
        typer.confirm(f"Delete {name} and all that it has?", abort=True)
    accounts.delete(found.id, by=OPERATOR)
    typer.echo(f"{name} is deleted")


def _found(name: str, data_dir: Path | None) -> tuple[Accounts, Account]:
    from hibari.accounts import Accounts
    from hibari.db import Database, migrate

    database = Database(ServerSettings.from_environment(data_dir=data_dir).database)
    migrate(database)
    accounts = Accounts(database)
    found = accounts.find(name)
    if found is None:
        raise NotFound(f"there is no account {name!r}")
    return accounts, found


def _shown(most: int | None) -> str:
    return "-" if most is None else str(most)
