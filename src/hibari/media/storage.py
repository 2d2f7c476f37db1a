"""Where finished files lie: a folder, or S3 and what speaks like it, behind the same few words.

Keys are paths with slashes, `video_abc/video.mp4`. A file is there whole or not at all, and is never changed: a key is
written once. Only this module knows the library.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore, ObjectStore, from_url

from hibari.contracts import HibariError, InputError, OutputError

CHUNK_BYTES = 256 * 1024


class AlreadyStored(HibariError):
    """A key has a file already."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that is there.

    Attributes:
        key: its path.
        size_bytes: its length.
        etag: changes when the file does; with quotes, as HTTP wants it.
    """

    key: str
    size_bytes: int
    etag: str


class Storage:
    """Files by key."""

    def __init__(self, place: str | Path) -> None:
        """`place` is a folder, which is made if it is not there, or a URL such as s3://bucket/prefix, whose credentials
        come from the environment as obstore reads it.

        Raises:
            InputError: the URL names no storage that is known.
            OutputError: the folder cannot be made.
        """
        text = str(place)
        try:
            self._store: ObjectStore = (
                from_url(text) if "://" in text else LocalStore(Path(text).resolve(), mkdir=True)
            )
        except OSError as error:
            raise OutputError(f"cannot use the storage {text}: {error}") from error
        except Exception as error:
            raise InputError(f"{text} is no storage; wanted a folder or a URL as s3://bucket") from error

    def put(self, key: str, content: Path | bytes) -> Stored:
        """Store a file under a key that is free.

        Raises:
            AlreadyStored: the key is taken.
            OutputError: it cannot be written.
        """
        try:
            with_mode = obstore.put(self._store, key, content, mode="create", use_multipart=False)
        except AlreadyExistsError as error:
            raise AlreadyStored(f"{key} is stored already") from error
        except Exception as error:
            raise OutputError(f"cannot store {key}: {_short(error)}") from error
        size_bytes = len(content) if isinstance(content, bytes) else content.stat().st_size
        return Stored(key, size_bytes, with_mode["e_tag"] or "")

    def find(self, key: str) -> Stored | None:
        """A file's size and tag, or None if there is none."""
        try:
            meta = obstore.head(self._store, key)
        except FileNotFoundError:
            return None
        return Stored(key, meta["size"], meta["e_tag"] or "")

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """A file's bytes from `start` up to and without `end`, in pieces.

        Raises:
            InputError: there is none of that key.
        """
        try:
            if start == 0 and end is None:
                found = obstore.get(self._store, key)
            else:
                end = end if end is not None else obstore.head(self._store, key)["size"]
                found = obstore.get(self._store, key, options={"range": (start, end)})
        except FileNotFoundError as error:
            raise InputError(f"there is no {key} in the storage") from error
        for piece in found.stream(min_chunk_size=CHUNK_BYTES):
            yield bytes(piece)

    def copy_to(self, key: str, path: Path) -> None:
        """Bring a file onto this machine.

        Raises:
            InputError: there is none of that key.
            OutputError: it cannot be written here.
        """
        try:
            with path.open("wb") as file:
                for piece in self.read(key):
                    file.write(piece)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from error

    def keys(self, prefix: str) -> list[str]:
        """All keys below a prefix."""
        batches = obstore.list(self._store, prefix)  # pyright: ignore[reportUnknownMemberType]
        return [meta["path"] for batch in batches for meta in batch]

    def remove(self, prefix: str) -> int:
        """Remove all files below a prefix, and say how many there were. What is gone already is no error."""
        keys = self.keys(prefix)
        for key in keys:
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                continue
        return len(keys)


def _short(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
