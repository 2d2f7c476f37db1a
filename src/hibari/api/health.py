"""Whether the server lives, whether it can be given work, and how much it has. The first two need no key."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Depends
from fastapi.responses import PlainTextResponse

from hibari.api.keys import Given, allowed
from hibari.machine import version

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
    """Queue and work in numbers, as Prometheus reads them. It needs an administrator's key."""
    stats = parts.upkeep.stats()
    measures = parts.upkeep.measures()
    free_bytes = parts.storage.free_bytes()
    waited = measures.first_preview_s
    gauges = (
        _gauge("jobs", "Videos in each state.", {one.value: n for one, n in stats.counts.items()}, "state"),
        _gauge("queue_oldest_seconds", "How long the oldest queued video has waited.", stats.oldest_queued_s),
        _gauge("paused", "Whether everything is paused.", int(parts.jobs.paused() is not None)),
        _gauge(
            "step_seconds", "A step lately, with all that comes after the steps.", measures.step_s, "pace"
        ),
        _gauge(
            "first_preview_seconds",
            "From the request to the first preview, of the last hundred videos.",
            {str(share): waited[int(share * (len(waited) - 1))] for share in (0.5, 0.9, 1) if waited},
            "quantile",
        ),
        _gauge("failed_jobs", "Videos on record that failed.", measures.failures, "code"),
        _gauge("webhooks_pending", "Webhook deliveries still to be made.", parts.webhooks.pending()),
        _gauge(
            "storage_free_bytes",
            "Room on the disk of the videos.",
            {} if free_bytes is None else free_bytes,
        ),
    )
    return PlainTextResponse("".join(gauges), media_type="text/plain; version=0.0.4")


def _gauge(name: str, about: str, values: float | Mapping[str, float], label: str = "") -> str:
    """A gauge's lines: one value, or one for each value of a label."""
    lines = [f"# HELP hibari_{name} {about}", f"# TYPE hibari_{name} gauge"]
    if isinstance(values, Mapping):
        lines += [f'hibari_{name}{{{label}="{one}"}} {value:.12g}' for one, value in values.items()]
    else:
        lines.append(f"hibari_{name} {values:.12g}")
    return "\n".join(lines) + "\n"
