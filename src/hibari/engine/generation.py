"""Requests through an engine of their own: the plain way to clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from hibari.contracts import ClipStream, GenerationRequest
from hibari.engine.engine import Engine
from hibari.engine.events import Event, Failed, Finished, FramesDecoded, Sampled
from hibari.engine.start import Start
from hibari.engine.text_cache import TextCache
from hibari.models.protocol import Model

Listener = Callable[[Event], None]


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """A request, what it starts from, and what its recipe should say besides."""

    request: GenerationRequest
    start: Start | None = None
    extra: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """A clip at the model's native rate, whose frames are decoded as they are taken: of its native size, or of what its
    own upscaler makes of that. And its latent."""

    stream: ClipStream
    latent_CFHW: Tensor


def generate(
    model: Model,
    request: GenerationRequest,
    *,
    on_event: Listener | None = None,
    text_cache: TextCache | None = None,
) -> ClipStream:
    """Sample one clip. See `generate_all`."""
    (generated,) = generate_all(model, [Order(request)], on_event=on_event, text_cache=text_cache)
    return generated.stream


def generate_all(
    model: Model,
    orders: Sequence[Order],
    *,
    on_event: Listener | None = None,
    text_cache: TextCache | None = None,
    memory_bytes: int | None = None,
) -> list[Generated]:
    """Sample whole clips now, in shared forward passes; their frames are decoded as they are taken.

    One alone depends on the model and the order alone: not on what ran before, and not on `on_event`. What `on_event`
    raises ends everything and reaches the caller, while decoding through `frames`.

    Returns:
        The clips in the order of the orders, each `request.native_frames` long.

    Raises:
        InvalidRequest: a `start` does not fit its request.
        OutOfMemory: one of them does not fit this machine.
    """
    engine = Engine(
        lambda _: model, text_cache=text_cache, memory_bytes=memory_bytes, previews=on_event is not None
    )
    engine.adopt(model)
    ids = [engine.submit(order.request, start=order.start, extra=order.extra) for order in orders]
    events = _told(engine, on_event)
    sampled: dict[str, Sampled] = {}
    decoded: dict[str, list[np.ndarray]] = {id_: [] for id_ in ids}
    for event in events:
        if isinstance(event, Sampled):
            sampled[event.id] = event
            if len(sampled) == len(ids):
                break
        elif isinstance(event, FramesDecoded):
            decoded[event.id].append(event.frames)
    return [
        Generated(
            ClipStream(
                frames=_frames(id_, events, decoded),
                width=order.request.native_width * sampled[id_].upscaled,
                height=order.request.native_height * sampled[id_].upscaled,
                fps=model.spec.fps,
                frame_count=order.request.native_frames,
                recipe=sampled[id_].recipe,
            ),
            sampled[id_].latent_CFHW,
        )
        for id_, order in zip(ids, orders, strict=True)
    ]


def _told(engine: Engine, on_event: Listener | None) -> Iterator[Event]:
    for event in engine.events():
        if on_event:
            on_event(event)
        if isinstance(event, Failed):
            raise event.error
        yield event


def _frames(
    id_: str, events: Iterator[Event], decoded: Mapping[str, list[np.ndarray]]
) -> Iterator[np.ndarray]:
    """One clip's frames, uint8 [height_px, width_px, 3]. What the events bring of the others meanwhile is kept for
    them; alone, one chunk is in memory at a time."""
    while True:
        while decoded[id_]:
            yield from decoded[id_].pop(0)
        event = next(events, None)
        if event is None or (isinstance(event, Finished) and event.id == id_):
            return
        if isinstance(event, FramesDecoded):
            decoded[event.id].append(event.frames)
