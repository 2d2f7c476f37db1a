"""Finished videos that no model and no worker had to make: rows and files, put straight where the server finds them."""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import insert, select

from hibari import catalog, media
from hibari.accounts import Accounts
from hibari.assignment import Assignment, Tool
from hibari.contracts import ClipStream, GenerationRequest, Recipe
from hibari.db import Database
from hibari.db.schema import jobs
from hibari.jobs import Claims, Jobs, NewJob
from hibari.media.storage import Storage
from server_process import Server

FRAMES, FPS = 8, 8
FOLDER = "stored"


class Stored:
    """What lies in the folder of a server that has one user."""

    def __init__(self, server: Server) -> None:
        self._database = Database(f"sqlite:///{server.folder}/hibari.db")
        self._storage = Storage(server.folder / "files")
        self._owner = Accounts(self._database).local().account.id
        self._sizes: dict[str, dict[str, Any]] = {}

    def close(self) -> None:
        self._database.close()

    def add(
        self, prompt: str, size: str = "160x96", *, tool: Tool | None = None, sources: tuple[str, ...] = ()
    ) -> str:
        """A video that is completed; its id."""
        assignment = Assignment(prompt, tool=tool, options={"seed": 1})
        shown = {"model": "testcard", "prompt": prompt, "seconds": "1", "size": size}
        new = NewJob(
            owner=self._owner,
            model="testcard",
            request={"assignment": assignment.to_json(), "shown": shown},
            steps=4,
            sources=sources,
            prompt=prompt,
            kind=assignment.kind,
        )
        job = Jobs(self._database).create(new).job
        claims = Claims(self._database, "stored")
        claim = claims.claim()
        assert claim is not None
        assert claim.job.id == job.id
        claims.complete(claim, self._files(size))
        return job.id

    def repeat(self, video_id: str, names: dict[str, str]) -> None:
        """As many more rows like one that is there, by id, each with the words by which it is found."""
        with self._database.write() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == video_id)).mappings().one()
            like = {name: value for name, value in row.items() if name != "number"}
            connection.execute(
                insert(jobs), [{**like, "id": name, "words": words} for name, words in names.items()]
            )

    def _files(self, size: str) -> dict[str, Any]:
        if size not in self._sizes:
            width, height = (int(side) for side in size.split("x"))
            frames = [_frame(width, height, index / FRAMES) for index in range(FRAMES)]
            request = GenerationRequest.resolve(catalog.spec("testcard"), "a", seconds=1, seed=1)
            recipe = Recipe(request=request, weights_sha256=None, versions={})
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "clip.mp4"
                media.write_clip(ClipStream(iter(frames), width, height, FPS, FRAMES, recipe), path)
                contents = {"video": path.read_bytes(), "thumbnail": _webp(frames[0])}
            contents["spritesheet"] = _webp(frames[0])
            keys = {name: f"{FOLDER}/{size}/{name}" for name in contents}
            for name, content in contents.items():
                self._storage.put(keys[name], content)
            said = {"width": width, "height": height, "fps": FPS, "frames": FRAMES, "native_size": size}
            self._sizes[size] = {**keys, **said, "bytes": 0, "postprocess": []}
        return self._sizes[size]


def _frame(width: int, height: int, phase: float) -> np.ndarray:
    """Dusk over water."""
    down, across = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    sky = np.array([40, 70, 120]) * (1 - down) + np.array([250, 160, 90]) * down
    return np.broadcast_to(sky * (0.75 + 0.25 * np.abs(across - phase)), (height, width, 3)).astype(np.uint8)


def _webp(frame: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "WEBP")
    return buffer.getvalue()
