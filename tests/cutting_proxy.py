"""A connection to a server that can be cut in the middle of an answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from urllib.parse import urlsplit


class CuttingProxy:
    """Passes bytes on. After `cut_after(n)` answers get through for n bytes, then their connection ends; and so on with
    the next n bytes, `times` times."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._server = parts.hostname, parts.port
        self._lock = Lock()
        self._left: int | None = None
        self._each = self._times = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._threads: list[Thread] = []
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}{parts.path}"
        self.cuts = 0
        self._begin(self._accept)

    def cut_after(self, count: int, *, times: int = 1) -> None:
        with self._lock:
            self._left = self._each = count
            self._times = times

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for one in self._open:
            _end(one)
        for thread in self._threads:
            thread.join(10)

    def _begin(self, work: object, *arguments: object) -> None:
        thread = Thread(target=work, args=arguments, daemon=True)  # pyright: ignore[reportArgumentType]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._open += [client, server]
            self._begin(self._pump, client, server, False)
            self._begin(self._pump, server, client, True)

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                whole = len(data)
                if answers:
                    data = self._allowed(data)
                sink.sendall(data)
                if len(data) < whole:
                    break
        _end(source)
        _end(sink)

    def _allowed(self, data: bytes) -> bytes:
        with self._lock:
            if self._left is None:
                return data
            if len(data) > self._left:
                data = data[: self._left]
                self._times -= 1
                self._left = self._each if self._times else None
                self.cuts += 1
                return data
            self._left -= len(data)
            return data


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def cutting(url: str) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(url)
    try:
        yield proxy
    finally:
        proxy.close()
