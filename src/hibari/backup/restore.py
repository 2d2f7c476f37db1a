"""Putting a backup back."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hibari.backup.archive import CHUNK_BYTES, FILES, ROWS, Contents, opened, read_contents
from hibari.backup.snapshot import is_empty, replace_all, revision
from hibari.contracts import Conflict, DatabaseError
from hibari.db import Database, migrate
from hibari.db.migrate import revisions
from hibari.media.storage import AlreadyStored, Storage


def restore_backup(database: Database, storage: Storage, path: Path, *, force: bool = False) -> Contents:
    """Put a backup's rows and files where they belong. No server or worker may use them meanwhile.

    Nothing is touched before every hash was compared. Files come first and the rows in one transaction: until that
    ends, what was there is still what counts.

    Args:
        database: an empty one, of any kind.
        storage: an empty one, of any kind.
        path: the backup.
        force: take the place of what is there, of which nothing is left then.

    Raises:
        InputError: it is no backup, or damaged.
        Conflict: there is something already.
        DatabaseError: the database cannot be reached, or the backup is from a newer Hibari.
        OutputError: the storage takes no more.
    """
    contents = read_contents(path)
    if contents.revision not in revisions():
        raise DatabaseError(
            f"the backup is of revision {contents.revision}, which this Hibari does not know; use {contents.version}"
        )
    _check_target(database, storage, contents, force=force)
    migrate(database, contents.revision)
    before = set(storage.keys(""))
    with opened(path) as tar, tempfile.TemporaryDirectory(prefix="hibari-restore-") as folder:
        through = Path(folder) / "file"
        lines = Path(folder) / ROWS
        for info in tar:
            key = info.name.removeprefix(FILES)
            if info.name != ROWS and key not in contents.files:
                continue  # the manifest, and what was deleted while the backup was written
            source = tar.extractfile(info)
            assert source is not None
            with (lines if info.name == ROWS else through).open("wb") as file:
                while chunk := source.read(CHUNK_BYTES):
                    file.write(chunk)
            if info.name != ROWS:
                _put(storage, key, through)
        with database.write() as connection:
            replace_all(connection, _rows(lines))
    migrate(database)
    for folder_of_old in {key.split("/")[0] for key in before} - {
        key.split("/")[0] for key in contents.files
    }:
        storage.remove(folder_of_old)
    return contents


def _check_target(database: Database, storage: Storage, contents: Contents, *, force: bool) -> None:
    with database.read() as connection:
        there = revision(connection)
        empty = there is None or is_empty(connection)
    known = revisions()
    older = known[: known.index(contents.revision)]
    if there not in (None, contents.revision) and not (empty and there in older):
        raise Conflict(
            f"the database {database.name} is of revision {there} and the backup of {contents.revision}; "
            "restore into a new database, which is brought up to date afterwards"
        )
    if force:
        return
    if not empty:
        raise Conflict(f"the database {database.name} is not empty; --force puts the backup in its place")
    if storage.keys(""):
        raise Conflict("the storage is not empty; --force puts the backup in its place")


def _put(storage: Storage, key: str, path: Path) -> None:
    """A key is written once, so what has it already is this file."""
    try:
        storage.put(key, path)
    except AlreadyStored as error:
        stored = storage.find(key)
        if stored is None or stored.size_bytes != path.stat().st_size:
            raise Conflict(f"the storage has another file {key}") from error


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open() as lines:
        for line in lines:
            table, row = json.loads(line)
            yield table, row
