"""The archive's form: what is in it, and whether that is undamaged."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from hibari.contracts import InputError

FORMAT = 1
ROWS, MANIFEST, FILES = "database.jsonl", "manifest.json", "files/"
CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Contents:
    """The manifest.

    Attributes:
        version: of the Hibari that wrote it.
        revision: of the database's schema.
        created_at: the moment that the rows are of, in Unix seconds.
        rows: by table.
        rows_sha256: of the entry with the rows.
        files: SHA-256 by key, of the files that belong to it.
        begin_again: ids of unfinished videos whose checkpoint was replaced while the archive was written.
        without_files: ids of finished videos whose files the storage did not have, as after a disk was damaged.
    """

    version: str
    revision: str
    created_at: float
    rows: Mapping[str, int]
    rows_sha256: str
    files: Mapping[str, str]
    begin_again: tuple[str, ...] = ()
    without_files: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """As it is stored."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Contents:
        """Raises InputError for what is none, or of a later format."""
        try:
            values: dict[str, Any] = json.loads(content)
            kind = values.pop("format")
            for name in ("begin_again", "without_files"):
                values[name] = tuple(values[name])
            if kind != FORMAT:
                raise InputError(
                    f"the backup is of format {kind}; this Hibari reads {FORMAT}; use a newer one"
                )
            return cls(**values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError("the backup's manifest is damaged") from error


class Writer:
    """Writes entries and remembers their hashes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed by `finish`

    def add(self, name: str, path: Path) -> str:
        """Add a file of this machine; its SHA-256."""
        info = tarfile.TarInfo(name)
        info.size = path.stat().st_size
        info.mode = 0o600
        with path.open("rb") as file:
            hashing = _Hashing(file)
            self._tar.addfile(info, hashing)
        return hashing.digest.hexdigest()

    def finish(self, contents: Contents) -> None:
        """Add the manifest, and end the archive."""
        content = contents.to_json()
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(content)
        info.mode = 0o600
        self._tar.addfile(info, BytesIO(content))
        self._tar.close()


class _Hashing:
    """Reads a file and hashes what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(count)
        self.digest.update(data)
        return data


def opened(path: Path) -> tarfile.TarFile:
    """An archive to read.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        return tarfile.open(path, "r:")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except tarfile.TarError as error:
        raise InputError(f"{path} is no backup of Hibari") from error


def read_contents(path: Path) -> Contents:
    """What a backup has, after every entry was read and its hash compared.

    Raises:
        InputError: it is none, or damaged.
    """
    with opened(path) as tar:
        found: dict[str, str] = {}
        manifest: bytes | None = None
        try:
            for info in tar:
                file = tar.extractfile(info) if info.isreg() else None
                if file is None:  # a folder or a link: nothing that `Writer` makes
                    raise InputError(f"{path} is no backup of Hibari: it has {info.name!r}")
                if info.name == MANIFEST:
                    manifest = file.read()
                    continue
                digest = hashlib.sha256()
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
                found[info.name] = digest.hexdigest()
        except (tarfile.TarError, OSError) as error:
            raise InputError(f"the backup {path} is damaged: {error}") from error
    if manifest is None:
        raise InputError(f"the backup {path} has no manifest: it is no backup of Hibari, or was cut off")
    contents = Contents.from_json(manifest)
    wanted = {
        ROWS: contents.rows_sha256,
        **{f"{FILES}{key}": sha256 for key, sha256 in contents.files.items()},
    }
    for name, sha256 in wanted.items():
        if found.get(name) != sha256:
            raise InputError(f"the backup {path} is damaged: {name} is missing or not what was written")
    return contents
