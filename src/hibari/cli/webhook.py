"""`hibari admin webhook ...`: who is told of the end of videos."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from hibari.cli.server import DataDir
from hibari.contracts import NotFound
from hibari.settings import ServerSettings

if TYPE_CHECKING:
    from hibari.db import Database
    from hibari.webhooks import Endpoint, Webhooks

app = typer.Typer(help="Tell other servers of the end of videos.", rich_markup_mode=None)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AccountOption = Annotated[
    str | None,
    typer.Option(
        "--account", help="Whose: an account's name; by default the one user of a server without keys."
    ),
]
IdArgument = Annotated[str, typer.Argument(help="The endpoint's id.")]


@app.command("create")
def create(
    url: Annotated[str, typer.Argument(help="Where to.")],
    account: AccountOption = None,
    name: Annotated[str, typer.Option(help="For people.")] = "webhook",
    data_dir: DataDir = None,
    as_json: JsonOption = False,
) -> None:
    """Register an endpoint and print its signing secret."""
    from hibari.accounts import Accounts
    from hibari.audit import OPERATOR

    webhooks, database = _webhooks(data_dir)
    accounts = Accounts(database)
    owner = accounts.local().account if account is None else accounts.find(account)
    if owner is None:
        raise NotFound(f"there is no account {account!r}")
    made = webhooks.create(owner.id, url, name=name, by=OPERATOR)
    if as_json:
        typer.echo(json.dumps({**asdict(made.endpoint), "signing_secret": made.secret}))
    else:
        typer.echo(f"{made.endpoint.id}\n{made.secret}")


@app.command("list")
def list_endpoints(data_dir: DataDir = None, as_json: JsonOption = False) -> None:
    """List everybody's endpoints, without their secrets."""
    from hibari.accounts import Accounts

    webhooks, database = _webhooks(data_dir)
    names = {account.id: account.name for account in Accounts(database).all()}
    found = webhooks.all()
    if as_json:
        typer.echo(json.dumps([asdict(endpoint) for endpoint in found]))
        return
    for endpoint in found:
        state = "enabled" if endpoint.disabled_at is None else "disabled"
        typer.echo(f"{endpoint.id}  {names[endpoint.account_id]:<20} {state:<9} {endpoint.url}")


@app.command("delete")
def delete(endpoint: IdArgument, data_dir: DataDir = None) -> None:
    """Forget an endpoint, with its log."""
    from hibari.audit import OPERATOR

    webhooks, _ = _webhooks(data_dir)
    webhooks.delete(_found(webhooks, endpoint).account_id, endpoint, by=OPERATOR)
    typer.echo(f"{endpoint} is deleted")


@app.command("log")
def log(endpoint: IdArgument, data_dir: DataDir = None) -> None:
    """Show what an endpoint was told last, and what it answered."""
    webhooks, _ = _webhooks(data_dir)
    found, _ = webhooks.deliveries(_found(webhooks, endpoint).account_id, endpoint, limit=100)
    for delivery in reversed(found):
        at = datetime.fromtimestamp(delivery.created_at, UTC)
        answers = ", ".join(str(one.status_code or one.error) for one in delivery.attempts) or "not tried yet"
        typer.echo(
            f"{at:%Y-%m-%d %H:%M:%S}  {delivery.event_id}  {delivery.event_type:<15} {delivery.state:<9} {answers}"
        )


@app.command("replay")
def replay(
    endpoint: IdArgument,
    event: Annotated[str, typer.Argument(help="The event's id.")],
    data_dir: DataDir = None,
) -> None:
    """Send an event again; the server does, when it runs."""
    from hibari.audit import OPERATOR

    webhooks, _ = _webhooks(data_dir)
    webhooks.replay(_found(webhooks, endpoint).account_id, endpoint, event, by=OPERATOR)
    typer.echo(f"{event} is sent again")


def _webhooks(data_dir: DataDir) -> tuple[Webhooks, Database]:
    from hibari.db import Database, migrate
    from hibari.webhooks import Webhooks

    settings = ServerSettings.from_environment(data_dir=data_dir)
    database = Database(settings.database)
    migrate(database)
    return Webhooks(database, private_urls=settings.private_urls), database


def _found(webhooks: Webhooks, endpoint_id: str) -> Endpoint:
    found = next((one for one in webhooks.all() if one.id == endpoint_id), None)
    if found is None:
        raise NotFound(f"there is no webhook endpoint {endpoint_id!r}")
    return found
