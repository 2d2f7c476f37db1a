"""Frames made ahead of where they are taken, so that decoding and encoding go on at the same time."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from queue import Queue

from hibari.media.frames import Frame

DEPTH = 4  # frames; 25 MB of 1920x1080


@contextmanager
def ahead(frames: Iterator[Frame], depth: int = DEPTH) -> Generator[Iterator[Frame]]:
    """The same frames, made by a thread of their own that keeps up to `depth` of them ready.

    An error of `frames` is raised where its frame would have come. Leaving the context ends the thread, after the
    frame in work.
    """
    ready: Queue[Frame | BaseException | None] = Queue(depth)
    left = threading.Event()

    def produce() -> None:
        end: BaseException | None = None
        try:
            for frame in frames:
                ready.put(frame)
                if left.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised again by whoever takes the frames
            end = error
        ready.put(end)

    def take() -> Iterator[Frame]:
        while True:
            item = ready.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=produce, name="frames-ahead")
    thread.start()
    try:
        yield take()
    finally:
        left.set()
        while thread.is_alive():  # it may wait for room
            while not ready.empty():
                ready.get_nowait()
            thread.join(0.01)
