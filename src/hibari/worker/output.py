"""From frames to stored files, in a thread of its own: the engine goes on with others meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any

import numpy as np
from torch import Tensor

from hibari import media, tools
from hibari.assignment import LATENT, SPRITESHEET, THUMBNAIL, VIDEO, Assignment
from hibari.contracts import ClipStream, InputError, ModelSpec, Recipe
from hibari.media import stills
from hibari.media.storage import Storage
from hibari.tools import Job as Plan

CHUNKS_AHEAD = 4
LOOK_EVERY_S = 0.1


MakeClip = Callable[[Iterator[np.ndarray]], ClipStream]
"""From frames, uint8 [height_px, width_px, 3], to a clip."""


class Aborted(Exception):
    """The frames are not wanted any more."""


class Output:
    """One clip's way into the storage."""

    def __init__(
        self,
        clip: MakeClip,
        storage: Storage,
        *,
        latent_CFHW: Tensor | None,
        folder: Path,
        prefix: str,
        on_end: Callable[[dict[str, Any] | None, BaseException | None], None],
    ) -> None:
        """Begin.

        Args:
            clip: makes the clip of the frames that `put` brings, or of others; called in this clip's thread.
            storage: where to.
            latent_CFHW: what the clip is decoded from, to be stored with it.
            folder: of this machine, for the files on their way.
            prefix: of the keys in the storage.
            on_end: is told the result, or what went wrong; from this clip's thread.
        """
        self._clip = clip
        self._latent_CFHW = latent_CFHW
        self._storage = storage
        self._folder = folder
        self._prefix = prefix
        self._on_end = on_end
        self._chunks: Queue[np.ndarray | None] = Queue(CHUNKS_AHEAD)
        self._aborted = Event()
        self._thread = Thread(target=self._run, name=f"output-{prefix}", daemon=True)
        self._thread.start()

    def put(self, frames: np.ndarray | None) -> None:
        """The next frames, uint8 [n, height_px, width_px, 3]; None after the last. Waits for a slower encoder."""
        while self._thread.is_alive() and not self._aborted.is_set():
            try:
                self._chunks.put(frames, timeout=LOOK_EVERY_S)
                return
            except Full:
                continue

    def abort(self) -> None:
        """Stop soon; `on_end` is told `Aborted`."""
        self._aborted.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; whether it has come."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        result: dict[str, Any] | None = None
        problem: BaseException | None = None
        try:
            result = self._store()
        except BaseException as error:  # noqa: BLE001 - told, whatever it is: the job must not stay as it is
            problem = error
        self._on_end(result, problem)

    def _frames(self) -> Iterator[np.ndarray]:
        while True:
            if self._aborted.is_set():
                raise Aborted
            try:
                chunk = self._chunks.get(timeout=LOOK_EVERY_S)
            except Empty:
                continue
            if chunk is None:
                return
            yield from chunk

    def _wanted(self, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for frame in frames:
            if self._aborted.is_set():
                raise Aborted
            yield frame

    def _store(self) -> dict[str, Any]:
        clip = self._clip(self._frames())
        clip = replace(clip, frames=self._wanted(clip.frames))
        request = clip.recipe.request
        glance = _Glance(clip)
        path = self._folder / VIDEO
        media.write_clip(replace(clip, frames=glance.frames()), path)
        if self._aborted.is_set():
            raise Aborted
        files: dict[str, Path | bytes] = {
            "video": path,
            "thumbnail": stills.thumbnail(glance.first),
            "spritesheet": stills.spritesheet(glance.tiles),
        }
        if self._latent_CFHW is not None:
            files["latent"] = tools.keep_latent(path, self._latent_CFHW, clip.recipe)
        names = {"video": VIDEO, "thumbnail": THUMBNAIL, "spritesheet": SPRITESHEET, "latent": LATENT}
        stored = {
            name: self._storage.put(f"{self._prefix}/{names[name]}", content)
            for name, content in files.items()
        }
        return {
            **{name: one.key for name, one in stored.items()},
            "bytes": sum(one.size_bytes for one in stored.values()),
            "width": clip.width,
            "height": clip.height,
            "fps": clip.fps,
            "frames": clip.frame_count,
            "native_size": f"{request.native_width}x{request.native_height}",
            "postprocess": list(clip.recipe.postprocess),
        }


def decoded(plan: Plan, spec: ModelSpec, recipe: Recipe, upscaled: int) -> MakeClip:
    """What the engine decodes, `upscaled` times its native size, as it was asked for."""
    request = plan.request
    size = request.native_width * upscaled, request.native_height * upscaled

    def clip(frames: Iterator[np.ndarray]) -> ClipStream:
        return tools.finished(plan, ClipStream(frames, *size, spec.fps, request.native_frames, recipe))

    return clip


def trimmed(assignment: Assignment, storage: Storage, folder: Path) -> MakeClip:
    """A part of a stored video, whatever frames come.

    Raises:
        InputError: it is no longer there.
    """
    assert assignment.kept is not None
    first, last = assignment.kept
    source = folder / VIDEO
    try:
        storage.copy_to(assignment.clips[0].key, source)
    except InputError as error:
        raise InputError("what this video starts from has been deleted") from error
    return lambda _: media.trimmed(media.read_clip(source), first, last)


class _Glance:
    """The first frame, and small ones for the spritesheet, picked as the frames go by."""

    def __init__(self, clip: ClipStream) -> None:
        self._clip = clip
        self._moments = set(stills.moments(clip.frame_count))
        self.first = np.zeros((1, 1, 3), np.uint8)
        self.tiles: list[np.ndarray] = []

    def frames(self) -> Iterator[np.ndarray]:
        for index, frame in enumerate(self._clip.frames):
            if index == 0:
                self.first = frame
            if index in self._moments:
                self.tiles.append(stills.tile(frame))
            yield frame
