"""Writing a backup."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from hibari.backup.archive import FILES, ROWS, Contents, Writer
from hibari.backup.snapshot import revision, rows, snapshot
from hibari.contracts import Conflict, InputError, OutputError
from hibari.db import Database
from hibari.jobs import State
from hibari.media.storage import Storage

MAX_LOOKS = 5  # at the rows, while videos among them are deleted before their files could be copied


def write_backup(database: Database, storage: Storage, path: Path) -> Contents:
    """Write all that a server has into a new file, while it runs. Only its owner can read it: it holds prompts, and
    the secrets of webhooks.

    Raises:
        Conflict: there is such a file, or the database is empty.
        OutputError: it cannot be written, or the storage cannot be reached.
        DatabaseError: the database cannot be reached, or is of another version.
    """
    with _new(path) as file, tempfile.TemporaryDirectory(prefix="hibari-backup-") as folder:
        writer = Writer(file)
        copying = _Copying(storage, writer, Path(folder) / "file")
        copying.copy_new()
        lines = Path(folder) / ROWS
        seen = _look(database, copying, lines)
        for _ in range(MAX_LOOKS - 1):
            if not seen.missing:
                break
            seen = _look(database, copying, lines)
        contents = Contents(
            version=metadata.version("hibari"),
            revision=seen.revision,
            created_at=seen.at,
            rows=dict(seen.counts),
            rows_sha256=writer.add(ROWS, lines),
            files=seen.files,
            begin_again=tuple(seen.begin_again),
            without_files=tuple(seen.missing),
        )
        writer.finish(contents)
    return contents


class _Copying:
    """Files on their way into the archive."""

    def __init__(self, storage: Storage, writer: Writer, through: Path) -> None:
        self._storage = storage
        self._writer = writer
        self._through = through
        self._copied: dict[str, str] = {}

    def copy_new(self) -> dict[str, str]:
        """Copy what is there and was not copied yet; SHA-256 by key of all that is there now."""
        there: dict[str, str] = {}
        for key in self._storage.keys(""):
            if key not in self._copied:
                try:
                    self._storage.copy_to(key, self._through)
                except InputError:
                    continue  # it has gone since the list was made
                self._copied[key] = self._writer.add(FILES + key, self._through)
            there[key] = self._copied[key]
        return there


@dataclass(slots=True)
class _Seen:
    """The rows as of one moment, and what came to light about their files."""

    at: float
    revision: str
    files: Mapping[str, str]
    counts: Counter[str] = field(default_factory=Counter[str])
    missing: list[str] = field(default_factory=list[str])
    begin_again: list[str] = field(default_factory=list[str])


def _look(database: Database, copying: _Copying, path: Path) -> _Seen:
    """Write the rows to a file, and copy the files that they can speak of."""
    with snapshot(database) as connection:
        seen = _Seen(time.time(), revision(connection) or "", copying.copy_new())
        with path.open("w") as lines:
            for table, row in rows(connection):
                seen.counts[table] += 1
                if table == "jobs" and row["deleted_at"] is None:
                    _compare(row, seen)
                lines.write(json.dumps([table, row]) + "\n")
    return seen


def _compare(row: dict[str, Any], seen: _Seen) -> None:
    """Compare a job with the files that there are."""
    if row["state"] == State.COMPLETED and any(key not in seen.files for key in _results(row)):
        seen.missing.append(row["id"])
    if row["checkpoint"] is not None and row["checkpoint"] not in seen.files:
        # A worker has stored a later one since, and removed this. It begins again instead.
        row["checkpoint"] = None
        seen.begin_again.append(row["id"])


def _results(row: Mapping[str, Any]) -> list[str]:
    """Keys of what a finished job has made."""
    result: Mapping[str, Any] = row["result"] or {}
    return [result[name] for name in ("video", "thumbnail", "spritesheet") if name in result]


@contextmanager
def _new(path: Path) -> Generator[IO[bytes]]:
    """A file that is there whole or not at all, and takes nobody's place."""
    part = path.parent / f".hibari-{secrets.token_hex(8)}.part"
    try:
        _check_free(path)
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _check_free(path)
        part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _check_free(path: Path) -> None:
    if path.exists():
        raise Conflict(f"there is a file {path} already; choose another name")
