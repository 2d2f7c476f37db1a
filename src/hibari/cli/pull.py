"""`hibari pull`: a published model, from a hub onto this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hibari import catalog
from hibari.cli import stop
from hibari.contracts import InvalidRequest
from hibari.settings import Settings

if TYPE_CHECKING:
    from hibari.models.hub import File, Offer


def pull(
    name: Annotated[str, typer.Argument(help="A name that `hibari models` lists, or OWNER/NAME on the hub.")],
    to: Annotated[
        Path | None,
        typer.Option(help="Folder for it; by default its name in HIBARI_MODELS.", metavar="FOLDER"),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            help="A single file of the model that is wanted, too, and is then used.", metavar="FILE"
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Accept the licence without being asked.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Fetch a published model. What broke off goes on with the same command; --model NAME uses it afterwards."""
    hosted = next((each for each in catalog.HOSTED if each.name == name), None)
    repo = hosted.repo if hosted else name
    if "/" not in repo:
        known = ", ".join(each.name for each in catalog.HOSTED)
        raise InvalidRequest(
            f"there is nothing to pull of the name {name!r}; known are {known}, or say OWNER/NAME as the hub has it",
            field="name",
        )
    short = hosted.name if hosted else repo.rpartition("/")[2].lower()
    settings = Settings.from_environment()
    folder = to or settings.models / short
    from huggingface_hub.utils import disable_progress_bars

    from hibari.models import hub

    quiet = as_json or not sys.stderr.isatty()
    if quiet:
        disable_progress_bars()
    place = hub.Hub(settings.hub, settings.hub_token)
    offer = place.offer(repo, [file] if file else [])
    if not offer.files:
        raise InvalidRequest(
            f"{repo} has none of the files that a model of Hibari's is made of", field="name"
        )
    if hub.accepted(folder) != offer.licence:
        _ask(offer, yes=yes, as_json=as_json)
    model = file or (hosted.model if hosted else "")
    hub.note(folder, offer, model, complete=False)

    def show(each: File, number: int) -> None:
        stop.check()
        if not as_json:
            line = f"{number} of {len(offer.files)}: {each.path} ({each.nbytes / 1e6:,.1f} MB)"
            typer.echo(line, err=True)

    place.fetch(offer, folder, show)
    hub.note(folder, offer, model, complete=True)
    use = short if to is None else str(folder / model)
    if as_json:
        said = {
            "name": use,
            "path": str(folder),
            "repo": repo,
            "revision": offer.revision,
            "licence": offer.licence,
            "bytes": offer.nbytes,
        }
        typer.echo(json.dumps(said))
    else:
        typer.echo(f"{folder}  ({offer.nbytes / 1e9:.1f} GB; use it with --model {use})")


def _ask(offer: Offer, *, yes: bool, as_json: bool) -> None:
    if not as_json:
        typer.echo(
            f"{offer.repo} at {offer.revision[:12]}: {len(offer.files)} files, {offer.nbytes / 1e9:.1f} GB",
            err=True,
        )
        if offer.licence_text:
            typer.echo(offer.licence_text, err=True)
        typer.echo(f"Licence: {offer.licence}", err=True)
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise InvalidRequest(
            f"{offer.repo} is under the licence {offer.licence}, and nobody can be asked here; read it, and say --yes",
            field="yes",
        )
    if not typer.confirm("Do you accept it?", err=True):
        raise InvalidRequest("the licence was not accepted; nothing was fetched", field="yes")
