"""A file on its way: written aside, gone on with after a lost connection, and renamed once it is whole."""

from __future__ import annotations

import secrets
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import httpx2

from hibari.client.errors import UnexpectedAnswer
from hibari.contracts import OutputError


class Partial:
    """As a context: what was not finished is removed at its end.

    Raises OutputError wherever it cannot be written.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._part = target.parent / f".hibari-{secrets.token_hex(8)}.part"
        self._tag = ""
        self._written = 0
        self._total: int | None = None
        try:
            self._file: IO[bytes] = self._part.open("xb")
        except OSError as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return self._total is not None and self._written == self._total

    def headers(self) -> dict[str, str]:
        """Of the request that begins it, or goes on with it where it still is the same file."""
        # As it is stored: a coded answer would have other lengths than the ranges speak of.
        plain = {"Accept-Encoding": "identity"}
        if not (self._written and self._tag):
            return plain
        return {**plain, "Range": f"bytes={self._written}-", "If-Range": self._tag}

    def begin(self, response: httpx2.Response) -> None:
        """An answer with success begins.

        Raises:
            UnexpectedAnswer: it goes on elsewhere than it was asked to.
        """
        length = response.headers.get("content-length", "")
        remaining = int(length) if length.isascii() and length.isdecimal() else None
        if response.status_code == 206:
            if not response.headers.get("content-range", "").startswith(f"bytes {self._written}-"):
                raise UnexpectedAnswer("the server sends another part of the file than it was asked for")
        else:
            self._written = 0
            self._tag = response.headers.get("etag", "")
            try:
                self._file.seek(0)
                self._file.truncate()
            except OSError as error:
                raise self._unwritable(error) from error
        self._total = None if remaining is None else self._written + remaining

    def write(self, chunk: bytes) -> None:
        """More of it."""
        try:
            self._file.write(chunk)
        except OSError as error:
            raise self._unwritable(error) from error
        self._written += len(chunk)

    def finish(self) -> Path:
        """It is whole."""
        try:
            self._file.close()
            return self._part.replace(self._target)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self._target}: {error.strerror}")
