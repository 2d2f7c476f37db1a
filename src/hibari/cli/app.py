"""Which commands there are, and how they end.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a bug of ours (with its traceback), or `doctor` found that the default model cannot run |
| 2 | something about the request, a file or this machine: one line on stderr says what |
| 130 | stopped with Ctrl-C (143: by a termination signal) |
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import takewhile
from typing import Annotated

import typer
from typer.exceptions import TyperException

from hibari import __version__
from hibari.cli import (
    admin,
    backup,
    bench,
    cluster,
    doctor,
    evaluate,
    generate,
    models,
    prompt,
    pull,
    server,
    show,
    stop,
    train,
)
from hibari.contracts import HibariError, InvalidRequest

app = typer.Typer(
    name="hibari",
    help="A sentence becomes a video, on your own machine.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("generate")(generate.generate)
app.command("prompt")(prompt.prompt)
app.command("show")(show.show)
app.command("models")(models.models)
app.command("pull")(pull.pull)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)
app.command("evaluate")(evaluate.evaluate)
app.command("serve")(server.serve)
app.command("worker")(server.worker)
app.command("cluster")(cluster.cluster)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.add_typer(train.app, name="train")
app.add_typer(admin.app, name="admin")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hibari {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A sentence becomes a video, on your own machine."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. `arguments` are without the program's name."""
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    as_json = "--json" in takewhile(lambda argument: argument != "--", arguments)
    stop.listen()
    try:
        code = app(arguments, prog_name="hibari", standalone_mode=False)
    except HibariError as error:
        field = error.field if isinstance(error, InvalidRequest) else None
        return _fail(type(error).__name__, str(error), error.exit_code, field, as_json=as_json)
    except TyperException as error:  # an option that does not exist, a number that is none
        return _fail("UsageError", error.format_message(), 2, None, as_json=as_json)
    except stop.Terminated:
        return _fail("Stopped", "stopped by a termination signal", 143, None, as_json=as_json)
    if code == 130:
        return _fail("Stopped", "stopped; no file was written", 130, None, as_json=as_json)
    return code if isinstance(code, int) else 0


def _fail(kind: str, message: str, code: int, field: str | None, *, as_json: bool) -> int:
    """One line on stderr, and with --json the same as an object on stdout."""
    line = " ".join(message.split())
    if line:
        print(f"hibari: error: {line}", file=sys.stderr)  # noqa: T201
    if as_json:
        print(json.dumps({"error": {"type": kind, "message": line, "field": field}}))  # noqa: T201
    return code
