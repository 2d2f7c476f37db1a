"""Whether the server lives, and whether it can be given work. Neither needs a key; neither tells a secret."""

from __future__ import annotations

from fastapi import APIRouter

from hibari.api.keys import Given
from hibari.api.parts import version

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok", "version": version()}


@router.get("/readyz")
def readyz(parts: Given) -> dict[str, str | int]:
    """Database and storage answer; 503 if they do not."""
    stats = parts.upkeep.stats()
    parts.storage.find("readyz")
    return {"status": "ok", **{state.value: count for state, count in stats.counts.items()}}
