"""`hibari admin ...`: API keys, stopping one of them, an account, or everybody, ending links, accounts (`account`),
webhooks (`webhook`) and who did what (`audit`)."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hibari.cli import account, audit, webhook
from hibari.cli.server import DataDir
from hibari.contracts import InvalidRequest, NotFound
from hibari.settings import ServerSettings

if TYPE_CHECKING:
    from hibari.accounts import Key
    from hibari.db import Database
    from hibari.jobs import Jobs, PauseScope

app = typer.Typer(help="API keys, webhooks; pausing a key, an account, or everybody.", rich_markup_mode=None)
key_app = typer.Typer(help="Make, list and revoke API keys.", rich_markup_mode=None)
app.add_typer(key_app, name="key")
app.add_typer(account.app, name="account")
app.add_typer(webhook.app, name="webhook")
app.command("audit")(audit.audit)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="A key's id, prefix or name.", metavar="K")]
AccountOption = Annotated[str | None, typer.Option("--account", help="An account's name.", metavar="A")]
AllOption = Annotated[bool, typer.Option("--all", help="Everybody.")]


@key_app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="For people: whose key it is.")],
    account: Annotated[
        str | None,
        typer.Option(
            help="Name of the account that it stands for; by default one of the key's name.", metavar="A"
        ),
    ] = None,
    role: Annotated[str, typer.Option(help="admin, reviewer or member.", metavar="R")] = "member",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may do, as videos:read; can be given again. By default all that its role may.",
            metavar="S",
        ),
    ] = None,
    expires_days: Annotated[
        float | None, typer.Option(min=0.001, help="It opens nothing after so many days.", metavar="N")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Its limit.", metavar="N")] = None,
    data_dir: DataDir = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print its secret, which is shown this once and stored nowhere."""
    from hibari.accounts import Accounts, Role
    from hibari.audit import OPERATOR

    if role not in list(Role):
        raise InvalidRequest(f"role is {role!r}; must be one of {', '.join(Role)}", field="role")
    accounts = Accounts(_database(data_dir))
    owner = accounts.find(account or name) or accounts.create(account or name, by=OPERATOR)
    made = accounts.create_key(
        owner.id,
        name,
        role=Role(role),
        scopes=scope or None,
        expires_at=None if expires_days is None else time.time() + expires_days * 86400,
        requests_per_minute=requests_per_minute,
        by=OPERATOR,
    )
    if as_json:
        typer.echo(json.dumps({**_key_json(made.key), "account": owner.name, "secret": made.secret}))
    else:
        typer.echo(made.secret)


@key_app.command("list")
def list_keys(data_dir: DataDir = None, as_json: JsonOption = False) -> None:
    """List all keys, without their secrets."""
    from hibari.accounts import Accounts

    accounts = Accounts(_database(data_dir))
    names = {account.id: account.name for account in accounts.all()}
    keys = accounts.keys()
    if as_json:
        typer.echo(json.dumps([{**_key_json(key), "account": names.get(key.account_id)} for key in keys]))
        return
    for key in keys:
        owner = names.get(key.account_id, "(deleted)")
        typer.echo(f"{key.id}  {key.prefix}...  {key.name:<20} {owner:<20} {key.role:<9} {_state(key)}")


@key_app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, prefix or name.")],
    cancel: Annotated[bool, typer.Option("--cancel", help="Also cancel the videos that came by it.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Close a key for good, from the next request on."""
    from hibari.accounts import Accounts
    from hibari.audit import OPERATOR
    from hibari.jobs import Jobs, PauseScope

    database = _database(data_dir)
    accounts = Accounts(database)
    closed = accounts.revoke(accounts.find_key(key).id, by=OPERATOR)
    count = Jobs(database).cancel_all(PauseScope.key(closed.id), by=OPERATOR) if cancel else 0
    typer.echo(f"{closed.prefix}... is revoked" + (f"; {count} videos are cancelled" if cancel else ""))


@app.command("pause")
def pause(
    key: KeyOption = None,
    account: AccountOption = None,
    everybody: AllOption = False,
    data_dir: DataDir = None,
) -> None:
    """Stop the videos of a key, an account or everybody, running ones included; nothing is lost."""
    from hibari.audit import OPERATOR

    jobs, scope, name = _scope(data_dir, key, account, everybody)
    jobs.pause(scope, by=OPERATOR)
    typer.echo(f"{name} is paused")


@app.command("resume")
def resume(
    key: KeyOption = None,
    account: AccountOption = None,
    everybody: AllOption = False,
    data_dir: DataDir = None,
) -> None:
    """Let go on what `pause` with the same words has stopped."""
    from hibari.audit import OPERATOR

    jobs, scope, name = _scope(data_dir, key, account, everybody)
    jobs.resume(scope, by=OPERATOR)
    typer.echo(f"{name} goes on")


@app.command("rotate-links")
def rotate_links(data_dir: DataDir = None) -> None:
    """End all links to files that the server has signed, at once, by a new secret for the next ones. Links that S3
    has signed are not the server's: they end by themselves, within an hour."""
    from hibari.accounts import Accounts
    from hibari.audit import OPERATOR

    Accounts(_database(data_dir)).end_links(by=OPERATOR)
    typer.echo("all links that this server had signed are closed")


def _database(data_dir: Any) -> Database:
    from hibari.db import Database, migrate

    database = Database(ServerSettings.from_environment(data_dir=data_dir).database)
    migrate(database)
    return database


def _scope(
    data_dir: DataDir, key: str | None, account: str | None, everybody: bool
) -> tuple[Jobs, PauseScope, str]:
    """The queue, which of its jobs are meant, and what to call those."""
    from hibari.accounts import Accounts
    from hibari.jobs import Jobs, PauseScope

    if (key is not None) + (account is not None) + everybody != 1:
        raise InvalidRequest("say who: one of --key K, --account A and --all", field="key")
    database = _database(data_dir)
    jobs, accounts = Jobs(database), Accounts(database)
    if key is not None:
        found = accounts.find_key(key)
        return jobs, PauseScope.key(found.id), f"key {found.prefix}..."
    if account is not None:
        owner = accounts.find(account)
        if owner is None:
            raise NotFound(f"there is no account {account!r}")
        return jobs, PauseScope.owner(owner.id), f"account {owner.name}"
    return jobs, PauseScope.everything(), "everything"


def _key_json(key: Key) -> dict[str, Any]:
    return {**asdict(key), "scopes": sorted(key.scopes)}


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= time.time():
        return "expired"
    return "active" if key.paused_at is None else "paused"
