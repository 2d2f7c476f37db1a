"""What will be done, before anything is: the windows of a clip and the noise levels of each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, ModelSpec
from hibari.diffusion.sampler import Sampler, euler_step
from hibari.diffusion.schedule import schedule


@dataclass(frozen=True, slots=True)
class Stage:
    """One window of a clip, taken from noise to data.

    Attributes:
        start: the window's first latent frame, counted in the clip.
        frames: its length in latent frames.
        given: how many of its first frames an earlier stage has made; they are clean and stay as they are.
        sigmas: the noise levels of the other frames, falling from 1 to 0, one more than there are steps.
        sampler: makes the updates.
    """

    start: int
    frames: int
    given: int
    sigmas: tuple[float, ...]
    sampler: Sampler = euler_step

    @property
    def end(self) -> int:
        """One past the window's last latent frame."""
        return self.start + self.frames

    @property
    def steps(self) -> int:
        """Updates that take the window from noise to data."""
        return len(self.sigmas) - 1

    def sigma_at(self, step: int, device: torch.device) -> Tensor:
        """Noise levels [1, frames] after `step` updates: 0 in given frames."""
        sigma_BF = torch.full((1, self.frames), self.sigmas[step], device=device)
        sigma_BF[:, : self.given] = 0
        return sigma_BF


Plan = tuple[Stage, ...]


def plan(spec: ModelSpec, request: GenerationRequest) -> Plan:
    """Windows that together make every latent frame of the clip exactly once, in order.

    A clip that fits into the model's window is one stage. A longer one is made in windows of full length,
    each of which takes its first `spec.window_overlap` frames from the one before. The last is shifted back
    until it ends with the clip, and is given more frames instead of being shorter: the network then sees the
    length that it was trained on, and only knows more of what came before.
    """
    clip, window = spec.latent_frames(request.native_frames), spec.window_frames
    sigmas = tuple(schedule(request.steps, spec.sigma_shift).tolist())
    stages = [Stage(start=0, frames=min(clip, window), given=0, sigmas=sigmas)]
    while (made := stages[-1].end) < clip:
        start = min(made - spec.window_overlap, clip - window)
        stages.append(Stage(start=start, frames=window, given=made - start, sigmas=sigmas))
    return tuple(stages)
