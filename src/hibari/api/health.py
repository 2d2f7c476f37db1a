"""Whether the server lives, whether it can be given work, and how much it has. The first two need no key."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from fastapi.responses import PlainTextResponse

from hibari.api.keys import Given, allowed
from hibari.api.parts import version

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok", "version": version()}


@router.get("/readyz")
def readyz(parts: Given) -> dict[str, str]:
    """Database and storage answer; 503 if they do not."""
    parts.upkeep.stats()
    parts.storage.find("readyz")
    return {"status": "ok"}


@router.get("/metrics", response_class=PlainTextResponse, dependencies=[Depends(allowed("admin"))])
def metrics(parts: Given) -> PlainTextResponse:
    """The queue in numbers, as Prometheus reads them. It needs an administrator's key."""
    stats = parts.upkeep.stats()
    lines = ["# HELP hibari_jobs Videos in each state.", "# TYPE hibari_jobs gauge"]
    lines += [f'hibari_jobs{{state="{state.value}"}} {count}' for state, count in stats.counts.items()]
    lines += [
        "# HELP hibari_queue_oldest_seconds How long the oldest queued video has waited.",
        "# TYPE hibari_queue_oldest_seconds gauge",
        f"hibari_queue_oldest_seconds {stats.oldest_queued_s:.3f}",
        "# HELP hibari_paused Whether everything is paused.",
        "# TYPE hibari_paused gauge",
        f"hibari_paused {int(parts.jobs.paused() is not None)}",
    ]
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")
