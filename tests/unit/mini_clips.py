"""What the tests of hibari-mini's networks and of its weights ask for."""

from __future__ import annotations

import numpy as np

from hibari.contracts import GenerationRequest
from hibari.engine import generate
from hibari.models.protocol import Model


def resolved(model: Model, prompt: str = "a red balloon", **wishes: object) -> GenerationRequest:
    return GenerationRequest.resolve(model.spec, prompt, **{"seed": 7, "steps": 2, "seconds": 1, **wishes})


def frames_of(model: Model, request: GenerationRequest) -> np.ndarray:
    return np.stack(list(generate(model, request).frames))
