"""Larger frames than a model makes, by its own network where it has one."""

from __future__ import annotations

from torch import Tensor

from hibari.contracts import GenerationRequest
from hibari.models.protocol import Model, Upscales


def upscale_factor(request: GenerationRequest, model: Model) -> int:
    """By how much the model itself enlarges a clip's frames in each direction: 1 where the clip is to be no larger than
    the model makes it, or the model has no network for it. The rest of the way is interpolation, up or down."""
    larger = request.width > request.native_width or request.height > request.native_height
    return model.upscale_factor if larger and isinstance(model, Upscales) else 1


def upscaled(frames_THWC: Tensor, request: GenerationRequest, model: Model) -> Tensor:
    """Decoded frames, uint8 [T, H, W, 3], `upscale_factor` times as large."""
    if upscale_factor(request, model) == 1:
        return frames_THWC
    assert isinstance(model, Upscales)
    return model.upscale(frames_THWC)
