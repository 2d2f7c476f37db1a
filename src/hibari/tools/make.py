"""From jobs to finished clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from hibari import media
from hibari.contracts import ClipStream
from hibari.engine import Order, TextCache, generate_all
from hibari.engine.generation import Listener
from hibari.models.protocol import Model
from hibari.tools.wish import Job


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A clip at the wanted size, rate and length, whose frames are decoded as they are taken.

    Attributes:
        stream: the clip; it can be walked once.
        latent_CFHW: what it is decoded from, float32; None where frames were cut out, so that it does not stand for the
            clip.
    """

    stream: ClipStream
    latent_CFHW: Tensor | None


def make(
    model: Model,
    jobs: Sequence[Job],
    *,
    on_event: Listener | None = None,
    text_cache: TextCache | None = None,
    memory_bytes: int | None = None,
) -> list[Made]:
    """Clips of one model, in the jobs' order, computed in shared forward passes. See `engine.generate_all`."""
    orders = [Order(job.request, job.start, job.extra) for job in jobs]
    generated = generate_all(
        model, orders, on_event=on_event, text_cache=text_cache, memory_bytes=memory_bytes
    )
    return [
        Made(finished(job, one.stream), None if job.cut else one.latent_CFHW)
        for job, one in zip(jobs, generated, strict=True)
    ]


def finished(job: Job, native: ClipStream) -> ClipStream:
    """What the engine decoded for a job, without what is cut, at the wanted size, rate and length."""
    request = job.request
    if job.cut:
        done = f"left out {len(job.cut)} frames that only repeat their neighbours"
        native = replace(
            native,
            frames=_without(native.frames, job.cut),
            frame_count=native.frame_count - len(job.cut),
            recipe=replace(native.recipe, postprocess=(*native.recipe.postprocess, done)),
        )
    return media.fit(
        native, width=request.width, height=request.height, fps=request.fps, frames=request.frames
    )


def _without(frames: Iterator[np.ndarray], cut: frozenset[int]) -> Iterator[np.ndarray]:
    return (frame for index, frame in enumerate(frames) if index not in cut)
