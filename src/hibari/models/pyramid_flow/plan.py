"""A request as the stages of its frames: what the engine runs step by step, and resumes between any two.

The clip holds noise where nothing has been made yet, so a frame's first stage begins with its own part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, InvalidRequest, ModelSpec
from hibari.diffusion.guidance import in_interval
from hibari.models.plan import SAMPLERS, Plan, Stage
from hibari.models.protocol import Conditioning
from hibari.models.pyramid_flow import pyramid
from hibari.models.pyramid_flow.history import Histories
from hibari.models.pyramid_flow.sample import Manner

FRAME = "frame_"
"""Before its number, what a frame that was made before is called in a stage's context."""


def manners(steps: int, guidance_scale: float) -> tuple[Manner, Manner]:
    """How the first frame and how all others are made: those with half the steps and five sevenths of the guidance
    scale, as the authors do (20 steps at 7, then 10 steps at 5)."""
    fewer = max(1, steps // 2)
    return (
        Manner((steps,) * 3, guidance_scale),
        Manner((fewer,) * 3, max(1.0, guidance_scale * 5 / 7)),
    )


def plan(
    spec: ModelSpec,
    request: GenerationRequest,
    given_F: Sequence[bool],
    *,
    changes: bool,
    histories: Histories | None,
) -> Plan:
    """Three stages for each frame that is not given, frame after frame. The plan holds the histories as long as it is
    there.

    Raises:
        InvalidRequest: frames are to be changed, or something other than a clip's beginning is given.
    """
    clip = spec.latent_frames(request.native_frames)
    given = sum(given_F)
    if changes:
        raise InvalidRequest(
            f"{spec.name} makes a frame from noise alone; it can go on from a picture or a clip, but change neither",
            field="strength",
        )
    if any(given_F[given:]):
        raise InvalidRequest(
            f"{spec.name} makes frame after frame; it can be given how a clip begins, but not what comes later",
            field="start",
        )
    first, others = manners(request.steps, request.guidance_scale)
    return tuple(
        _stage(request, frame, index, others if frame else first, histories)
        for frame in range(given, clip)
        for index in range(len(pyramid.STAGES))
    )


def _stage(
    request: GenerationRequest, frame: int, index: int, manner: Manner, histories: Histories | None
) -> Stage:
    sigmas = pyramid.sigmas(manner.steps[index])
    return Stage(
        start=frame,
        given=(False,),
        sigmas=tuple(sigmas),
        guidance=tuple(
            manner.guidance_scale if in_interval(sigma, request.guidance_interval) else 1.0
            for sigma in sigmas[:-1]
        ),
        sampler=SAMPLERS[request.sampler],
        shrink=pyramid.STAGES[index].shrink,
        enter=partial(_enter, frame, index),
        context=partial(_context, frame, index, histories),
    )


def _enter(
    frame: int, index: int, latent_CFHW: Tensor, before_CFHW: Tensor | None, generator: torch.Generator
) -> Tensor:
    """The beginning of a stage: noise, or what the stage before left."""
    if index == 0:
        return pyramid.first_noise(latent_CFHW[None, :, frame : frame + 1])[0]
    assert before_CFHW is not None
    return pyramid.next_stage(before_CFHW[None], pyramid.STAGES[index], generator)[0]


def _context(frame: int, index: int, histories: Histories | None, latent_CFHW: Tensor) -> Conditioning:
    """The numbers of the stage and of the generation's histories, and the frames before as they are seen in it."""
    made = pyramid.Frames()
    for before in latent_CFHW[None, :, :frame].split(1, 2) if frame else ():
        made.append(before)
    seen = {f"{FRAME}{number}": clip for number, clip in enumerate(made.before(index))}
    numbers = {"stage": index, "histories": histories.number if histories else 0}
    return {
        name: torch.tensor([number], device=latent_CFHW.device) for name, number in numbers.items()
    } | seen
