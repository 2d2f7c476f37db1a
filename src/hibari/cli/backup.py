"""`hibari backup` and `hibari restore`: all that a server has, in one file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hibari.cli.server import DataDir
from hibari.settings import ServerSettings

if TYPE_CHECKING:
    from hibari.db import Database
    from hibari.media.storage import Storage

FileArgument = Annotated[Path, typer.Argument(help="The backup.", metavar="FILE")]


def backup(file: FileArgument, data_dir: DataDir = None) -> None:
    """Write database and files into a new FILE, while the server runs."""
    from hibari.backup import write_backup

    contents = write_backup(*_places(data_dir), file)
    typer.echo(f"{file} has {contents.rows.get('jobs', 0)} videos and {len(contents.files)} files")
    for name in contents.begin_again:
        typer.echo(f"{name} was being made; after a restore it begins again", err=True)
    for name in contents.without_files:
        typer.echo(f"{name} has no files in the storage, and so it has none in the backup", err=True)


def restore(
    file: FileArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Also where there is something, in place of all of it.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Put FILE back. Stop the server and its workers first."""
    from hibari.backup import restore_backup

    contents = restore_backup(*_places(data_dir), file, force=force)
    typer.echo(f"{contents.rows.get('jobs', 0)} videos and {len(contents.files)} files are back")


def _places(data_dir: Path | None) -> tuple[Database, Storage]:
    from hibari.db import Database
    from hibari.media.storage import Storage

    settings = ServerSettings.from_environment(data_dir=data_dir)
    return Database(settings.database), Storage(settings.storage)
