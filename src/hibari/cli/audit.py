"""`hibari admin audit`: who did what to whom."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from hibari.cli.server import DataDir
from hibari.contracts import NotFound
from hibari.settings import ServerSettings


def audit(
    account: Annotated[
        str | None,
        typer.Option(
            help="An account's name, or its id where it was deleted: who acted, or whose it was.", metavar="A"
        ),
    ] = None,
    action: Annotated[
        str | None, typer.Option(help="As key.revoked, or what it begins with, as key.", metavar="WHAT")
    ] = None,
    before: Annotated[int | None, typer.Option(min=0, help="Only entries before that number.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 50,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say who did what to whom, the newest last; by the API and by this command line."""
    from hibari.accounts import Accounts
    from hibari.audit import AuditLog
    from hibari.db import Database, migrate

    database = Database(ServerSettings.from_environment(data_dir=data_dir).database)
    migrate(database)
    account_id = account
    if account is not None and not account.startswith("acct_"):
        found = Accounts(database).find(account)
        if found is None:
            raise NotFound(f"there is no account {account!r}")
        account_id = found.id
    entries, _ = AuditLog(database).page(after=before, limit=limit, action=action, account=account_id)
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in reversed(entries)]))
        return
    for entry in reversed(entries):
        at = datetime.fromtimestamp(entry.at, UTC)
        target = entry.target.name or entry.target.id or ""
        changed = ", ".join(f"{name}={value}" for name, value in entry.details.items())
        typer.echo(
            f"{entry.number:>6}  {at:%Y-%m-%d %H:%M:%S}  {entry.actor.via:<3} {entry.actor.name:<16} "
            f"{entry.action:<16} {target}" + (f"  {changed}" if changed else "")
        )
