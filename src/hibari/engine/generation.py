"""From a request to a clip: text, noise, steps, pixels."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from hibari.contracts import Clip, GenerationRequest, Recipe
from hibari.engine.loop import advance, done, encode_request, predicted_x0, steps_made, total_steps
from hibari.engine.plan import Plan, plan
from hibari.engine.preview import preview_image
from hibari.engine.state import GenerationState, initial_state
from hibari.models.protocol import Model


@dataclass(frozen=True, slots=True, eq=False)
class StepDone:
    """A sampler update has been made.

    Attributes:
        step: 1 to `total`, over all windows of the clip.
        total: updates of the whole clip.
        seconds_left: until the last update, at the mean pace so far. Decoding comes on top.
        preview: uint8 [h, w, 3], RGB: a frame in the middle of what is being made, as predicted now.
    """

    step: int
    total: int
    seconds_left: float
    preview: np.ndarray


@dataclass(frozen=True, slots=True)
class FramesDecoded:
    """`done` of `total` native frames have been handed over."""

    done: int
    total: int


Event = StepDone | FramesDecoded


def generate(
    model: Model, request: GenerationRequest, *, on_event: Callable[[Event], None] | None = None
) -> Clip:
    """Sample the whole clip now; its frames are decoded as they are taken.

    The result depends on the model and the request alone: not on what ran before, and not on `on_event`. What
    `on_event` raises ends the generation and reaches the caller, while decoding through `frames`.

    Returns:
        The clip at the model's native size and rate, `request.native_frames` long.
    """
    stages = plan(model.spec, request)
    conditioning = encode_request(model, request)
    state = initial_state(model.spec, request)
    total, began_s = total_steps(stages), perf_counter()
    while not done(stages, state):
        state = advance(model, stages, conditioning, request, state)
        if on_event:
            made = steps_made(stages, state)
            seconds_left = (perf_counter() - began_s) / made * (total - made)
            on_event(StepDone(made, total, seconds_left, _preview(model, stages, state)))

    return Clip(
        frames=_frames(model, state.latent_CFHW, request.native_frames, on_event),
        width=request.native_width,
        height=request.native_height,
        fps=model.spec.fps,
        frame_count=request.native_frames,
        recipe=Recipe(request=request, weights_sha256=model.weights_sha256, versions=_versions()),
    )


def _preview(model: Model, stages: Plan, state: GenerationState) -> np.ndarray:
    """The middle one of the frames that the stage in work is making."""
    stage = stages[state.stage]
    middle = (stage.given + stage.frames) // 2
    return preview_image(predicted_x0(stages, state)[:, middle], model.rgb_from_latent)


@torch.inference_mode()  # a decorator leaves the mode at each yield; a `with` block would not
def _frames(
    model: Model, latent_CFHW: Tensor, total: int, on_event: Callable[[Event], None] | None
) -> Iterator[np.ndarray]:
    """The latent's first `total` frames, uint8 [height_px, width_px, 3], one chunk in memory at a time."""
    count = 0
    for chunk_FHWC in model.decode(latent_CFHW.to(model.dtype)):
        for frame in chunk_FHWC[: total - count].contiguous().cpu().numpy():
            count += 1
            if on_event:
                on_event(FramesDecoded(count, total))
            yield frame
        if count == total:
            return
    raise RuntimeError(f"{model.spec.name} decoded {count} frames of {total}")


def _versions() -> dict[str, str]:
    """The software whose change could change the pixels: numpy draws the noise."""
    try:
        hibari = metadata.version("hibari")
    except metadata.PackageNotFoundError:  # run from a source tree
        hibari = "source"
    return {
        "hibari": hibari,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
