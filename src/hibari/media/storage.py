"""Where finished files lie: a folder, or S3 and what speaks like it, behind the same few words.

Keys are paths with slashes, `video_abc/video.mp4`. A file is there whole or not at all, and is never changed: a key is
written once. Only this module knows the library.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store, from_url

from hibari.contracts import HibariError, InputError, OutputError

if TYPE_CHECKING:
    from obstore import Attributes
    from obstore.store import RetryConfig

logger = logging.getLogger(__name__)

CHUNK_BYTES = 256 * 1024
MEDIA_TYPES = {".mp4": "video/mp4", ".webp": "image/webp", ".jpg": "image/jpeg", ".png": "image/png"}
# A storage that is away is not waited for long.
RETRY: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}


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
        self._folder = None if "://" in text else Path(text).resolve()
        try:
            self._store: ObjectStore = (
                LocalStore(self._folder, mkdir=True) if self._folder else from_url(text, retry_config=RETRY)
            )
        except OSError as error:
            raise OutputError(f"cannot use the storage {text}: {error}") from error
        except Exception as error:
            raise InputError(f"{text} is no storage; wanted a folder or a URL as s3://bucket") from error

    def _attributes(self, key: str) -> Attributes | None:
        """What a browser must know that comes by a link."""
        media_type = MEDIA_TYPES.get(Path(key).suffix)
        return {"Content-Type": media_type} if media_type and self._folder is None else None

    def free_bytes(self) -> int | None:
        """What can still be stored; None where that has no end, as in S3."""
        return None if self._folder is None else shutil.disk_usage(self._folder).free

    def put(self, key: str, content: Path | bytes) -> Stored:
        """Store a file under a key that is free.

        Raises:
            AlreadyStored: the key is taken.
            OutputError: it cannot be written.
        """
        try:
            with_mode = obstore.put(
                self._store,
                key,
                content,
                mode="create",
                use_multipart=False,
                attributes=self._attributes(key),
            )
        except AlreadyExistsError as error:
            raise AlreadyStored(f"{key} is stored already") from error
        except Exception as error:
            raise OutputError(f"cannot store {key}: {_reason(error)}") from error
        size_bytes = len(content) if isinstance(content, bytes) else content.stat().st_size
        return Stored(key, size_bytes, with_mode["e_tag"] or "")

    def find(self, key: str) -> Stored | None:
        """A file's size and tag, or None if there is none.

        Raises:
            OutputError: the storage cannot be reached.
        """
        try:
            with _explained():
                meta = obstore.head(self._store, key)
        except FileNotFoundError:
            return None
        return Stored(key, meta["size"], meta["e_tag"] or "")

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """A file's bytes from `start` up to and without `end`, in pieces.

        Raises:
            InputError: there is none of that key.
            OutputError: the storage cannot be reached.
        """
        try:
            with _explained():
                if start == 0 and end is None:
                    found = obstore.get(self._store, key)
                else:
                    end = end if end is not None else obstore.head(self._store, key)["size"]
                    found = obstore.get(self._store, key, options={"range": (start, end)})
        except FileNotFoundError as error:
            raise InputError(f"there is no {key} in the storage") from error
        pieces = iter(found.stream(min_chunk_size=CHUNK_BYTES))
        while True:
            with _explained():
                piece = next(pieces, None)
            if piece is None:
                return
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

    def link(self, key: str, seconds: int) -> str | None:
        """A URL by which anybody can read this one file for so long; None where the storage has none, as a folder."""
        if not isinstance(self._store, S3Store | GCSStore | AzureStore):
            return None
        return obstore.sign(self._store, "GET", key, timedelta(seconds=seconds))

    def keys(self, prefix: str) -> list[str]:
        """All keys below a prefix.

        Raises:
            OutputError: the storage cannot be reached.
        """
        with _explained():
            batches = obstore.list(self._store, prefix)  # pyright: ignore[reportUnknownMemberType]
            return [meta["path"] for batch in batches for meta in batch]

    def remove(self, prefix: str) -> int:
        """Remove all files below a prefix, and say how many there were. What is gone already is no error.

        Raises:
            OutputError: the storage cannot be reached, or lets nothing be removed.
        """
        keys = self.keys(prefix)
        for key in keys:
            try:
                with _explained():
                    obstore.delete(self._store, key)
            except FileNotFoundError:
                continue
        if self._folder is not None:
            # The folders, and what a process that was killed had half written: no list has that.
            shutil.rmtree(self._folder / prefix, ignore_errors=True)
        return len(keys)


@contextmanager
def _explained() -> Generator[None]:
    """Turns the library's errors into ours; that there is no such file is for the caller to say."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        raise OutputError(f"the storage cannot be used: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Why, as the system says it. The library's own words hold paths and addresses: they are for the log."""
    logger.warning("%s", str(error).split("\n", 1)[0])
    number = re.search(r"os error (\d+)", str(error))
    return os.strerror(int(number[1])) if number else type(error).__name__
