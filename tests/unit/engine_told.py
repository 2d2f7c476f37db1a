"""What the tests read out of an engine's events."""

from __future__ import annotations

import torch
from engine_models import (
    Tiny,
    engine_of,
    latents_of,
)

from hibari.contracts import GenerationRequest
from hibari.engine import (
    Event,
    Finished,
    Sampled,
    StepDone,
)

ROUNDING = 2e-4  # of float32 through four guided steps, in latents of magnitude 2


def kinds(events: list[Event], id_: str) -> list[str]:
    return [type(event).__name__ for event in events if event.id == id_]


def steps_in_order(events: list[Event]) -> str:
    """Whose steps were made, one letter each."""
    return "".join(event.id for event in events if isinstance(event, StepDone))


def finished_in_order(events: list[Event]) -> list[str]:
    return [event.id for event in events if isinstance(event, Finished)]


def latent_alone(wish: GenerationRequest) -> torch.Tensor:
    engine = engine_of(Tiny())
    id_ = engine.submit(wish)
    return latents_of(engine.events())[id_]


def were_shared(events: list[Event]) -> list[object]:
    """What the recipes say of it."""
    return [event.recipe.extra["batched"] for event in events if isinstance(event, Sampled)]
