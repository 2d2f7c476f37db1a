"""What the tests of the API share: an application on a database in memory, and a worker that needs no model."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from hibari import media
from hibari.accounts import Accounts
from hibari.api import Parts, create_app
from hibari.audit import AuditLog
from hibari.contracts import ClipStream, GenerationRequest, Recipe
from hibari.db import Database
from hibari.db.schema import metadata
from hibari.jobs import Claims, Gallery, Job, Jobs, Policy, StoredFiles, Upkeep
from hibari.media.storage import Storage
from hibari.settings import ServerSettings
from hibari.webhooks import Webhooks


def settings_for(folder: Path, **environment: str) -> ServerSettings:
    return ServerSettings.from_environment(
        {"HIBARI_MODEL": "testcard", "HIBARI_DATA_DIR": str(folder), **environment}
    )


def parts_for(
    settings: ServerSettings, policy: Policy | None = None, database: Database | None = None
) -> Parts:
    if database is None:
        database = Database("sqlite://")
        metadata.create_all(database.engine)
    return Parts(
        settings=settings,
        database=database,
        accounts=Accounts(database),
        jobs=Jobs(database, policy=policy),
        gallery=Gallery(database),
        upkeep=Upkeep(database),
        storage=Storage(settings.data_dir / "files"),
        stored=StoredFiles(database, policy=policy),
        webhooks=Webhooks(database, private_urls=settings.private_urls),
        audit=AuditLog(database),
    )


def client_for(parts: Parts, key: str | None = None, **options: Any) -> TestClient:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return TestClient(
        create_app(parts.settings, parts), base_url="http://127.0.0.1:8000", headers=headers, **options
    )


def key_for(parts: Parts, name: str) -> str:
    """A new account's key."""
    return parts.accounts.create_key(parts.accounts.create(name).id, name).secret


def finish_next(parts: Parts, content: bytes = bytes(range(256)) * 40) -> Job:
    """What a worker leaves behind, without having computed anything."""
    claims = Claims(parts.database, "test")
    claim = claims.claim()
    assert claim is not None
    claims.heartbeat(claim, step=1, steps=4)
    folder = f"{claim.job.id}/{claim.attempt}"
    for name in ("video", "thumbnail", "spritesheet"):
        parts.storage.put(f"{folder}/{name}", content + name.encode())
    width, height = (int(side) for side in claim.job.request["shown"]["size"].split("x"))
    return claims.complete(
        claim,
        {
            **{name: f"{folder}/{name}" for name in ("video", "thumbnail", "spritesheet")},
            "width": width,
            "height": height,
            "fps": 8,
            "frames": round(8 * float(claim.job.request["shown"]["seconds"])),
        },
    )


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, "teal").save(buffer, kind)
    return buffer.getvalue()


def clip(path: Path, recipe_request: GenerationRequest, frames: int = 16, fps: int = 8) -> bytes:
    """An MP4 of a moving edge."""
    pictures = [np.full((96, 160, 3), 10 * index % 256, np.uint8) for index in range(frames)]
    recipe = Recipe(request=recipe_request, weights_sha256=None, versions={})
    media.write_clip(ClipStream(iter(pictures), 160, 96, fps, frames, recipe), path)
    return path.read_bytes()
