"""What will be done, before anything is: the windows of a clip and the noise levels of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, ModelSpec, SamplerName
from hibari.diffusion.guidance import Skip, in_interval
from hibari.diffusion.sampler import Sampler, adams_bashforth_step, dpm_step, euler_step, lcm_step
from hibari.diffusion.schedule import schedule

SAMPLERS: dict[SamplerName, Sampler] = {
    "euler": euler_step,
    "adams-bashforth": adams_bashforth_step,
    "dpm": dpm_step,
    "lcm": lcm_step,
}
Enter = Callable[[Tensor, Tensor | None, torch.Generator], Tensor]
Context = Callable[[Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Stage:
    """One window of a clip, taken from one noise level to a lower one; mostly from noise to data.

    Attributes:
        start: the window's first latent frame, counted in the clip.
        given: for each of its latent frames, whether it is there already; such a frame is clean and stays as it is.
        sigmas: the noise levels of the other frames, falling, one more than there are steps.
        guidance: guidance scale of each step; 1 is none.
        sampler: makes the updates.
        skips: of each step, the guidance by skipped blocks, or None; empty where no step has it.
        projects: whether the unconditional prediction is scaled before it guides, see `guidance.projected`.
        given_noise: standard deviation of the noise that given frames get, anew at each update, times the square of the
            noise level there; the last update's stays in the clip.
        shrink: cells of the clip's latent to one cell of this stage's, in height and in width. The window of a stage
            that works on fewer cells is kept beside the clip, and handed to the next stage's `enter`.
        enter: (latent_CFHW of the clip, window_CFHW of the stage before or None, generator) -> window_CFHW at the first
            noise level. None: the window as it lies in the clip.
        context: latent_CFHW of the clip -> conditioning of one row that holds for this stage only, such as what has
            been made before. None: there is none.
    """

    start: int
    given: tuple[bool, ...]
    sigmas: tuple[float, ...]
    guidance: tuple[float, ...]
    sampler: Sampler = euler_step
    skips: tuple[Skip | None, ...] = ()
    projects: bool = False
    given_noise: float = 0.0
    shrink: int = 1
    enter: Enter | None = None
    context: Context | None = None

    @property
    def frames(self) -> int:
        """The window's length in latent frames."""
        return len(self.given)

    @property
    def end(self) -> int:
        """One past the window's last latent frame."""
        return self.start + self.frames

    @property
    def steps(self) -> int:
        """Updates that take the window from its first noise level to its last."""
        return len(self.sigmas) - 1

    def sigma_at(self, step: int, device: torch.device) -> Tensor:
        """Noise levels [1, frames] after `step` updates: 0 in given frames."""
        given_BF = torch.tensor([self.given], device=device)
        return torch.where(given_BF, 0.0, self.sigmas[step])


Plan = tuple[Stage, ...]


def plan(
    spec: ModelSpec,
    request: GenerationRequest,
    given_F: tuple[bool, ...] = (),
    *,
    changes: bool = False,
    sigmas: Sequence[float] | None = None,
) -> Plan:
    """Windows that together make every latent frame that is not given exactly once.

    A clip that fits into the model's window is one stage. A longer one is made in windows of full length that grow from
    what is there: forwards, each taking over the last `spec.window_overlap` frames before it, or, where a clip
    is given only at its end, backwards from there. A window at either end of the clip is shifted until it lies inside,
    and is given more frames instead of being shorter: the network then sees the length that it was trained on.

    Args:
        given_F: for each latent frame of the clip, whether it is given; empty for none.
        changes: whether the frames start from a mixture at the request's strength, and not from noise.
        sigmas: the noise levels; by default those of the spec's shift.
    """
    clip = spec.latent_frames(request.native_frames)
    window = min(clip, spec.window_frames)
    known = list(given_F) if given_F and spec.given == "clean" else [False] * clip
    levels = tuple(schedule(request.steps, spec.sigma_shift).tolist() if sigmas is None else sigmas)
    if changes:
        levels = (request.strength, *(sigma for sigma in levels if sigma < request.strength))
    guidance = tuple(
        request.guidance_scale if in_interval(sigma, request.guidance_interval) else 1.0
        for sigma in levels[:-1]
    )
    stages: list[Stage] = []
    while not all(known):
        first = known.index(False)
        gap_end = next((k for k in range(first, clip) if known[k]), clip)
        if first == 0 and gap_end < clip:  # only what comes after is there: backwards
            start = min(gap_end, clip - spec.window_overlap) + spec.window_overlap - window
        else:
            start = first - spec.window_overlap
        start = max(0, min(start, clip - window))
        given = tuple(known[start : start + window])
        stages.append(Stage(start, given, levels, guidance, SAMPLERS[request.sampler]))
        known[start : start + window] = [True] * window
    return tuple(stages)
