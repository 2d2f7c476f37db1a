"""The noise levels of CogVideoX in our convention.

Its path keeps the variance: x_vp = a x0 + s noise with a^2 + s^2 = 1. With sigma = s / (a + s) and x = x_vp / (a + s)
that is ours, and one DDIM step of its scheduler is an Euler step; see `diffusion.convention`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import cos, pi
from typing import Any

import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, WeightsError
from hibari.diffusion.convention import per_frame
from hibari.diffusion.guidance import in_interval
from hibari.diffusion.sampler import Draw, Evaluation, Sampler
from hibari.models.checkpoint import diffusers_class
from hibari.models.plan import Stage


class Levels:
    """The noise level of each of the network's timesteps."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Of a `scheduler_config.json`.

        Raises:
            WeightsError: it is of a network that predicts something else, or of a path that does not end at data.
        """
        for setting, wanted in (("prediction_type", "v_prediction"), ("set_alpha_to_one", True)):
            if (said := config.get(setting, wanted)) != wanted:
                raise WeightsError(f"the scheduler's {setting} is {said!r}; CogVideoX has {wanted!r}")
        self._scheduler = diffusers_class("CogVideoXDDIMScheduler").from_config(dict(config))
        alpha = self._scheduler.alphas_cumprod.double().sqrt()
        noise = (1 - self._scheduler.alphas_cumprod.double()).sqrt()
        self._sigma_T = noise / (alpha + noise)

    def sigmas(self, steps: int) -> list[float]:
        """Noise levels [steps + 1] down to 0."""
        self._scheduler.set_timesteps(steps)
        return [*self._sigma_T[self._scheduler.timesteps].tolist(), 0.0]

    def landing(self, sampler: Sampler, steps: int) -> Sampler:
        """The sampler with the reference's rounding, where steps do not divide the network's timesteps.

        The timesteps that the network is told are rounded each for itself, but a step is always as long as the rounded
        down share of all: so it lands beside the level that comes next, and what is there is taken for what is at that
        level, in the path that keeps the variance. The last step may end above 0.
        """
        timesteps = len(self._sigma_T)
        if not timesteps % steps:
            return sampler
        levels = self.sigmas(steps)  # sets the scheduler's timesteps, too
        ends = [int(told) - timesteps // steps for told in self._scheduler.timesteps]
        lands = [float(self._sigma_T[end]) if end >= 0 else 0.0 for end in ends]

        def step(
            x_BCFHW: Tensor,
            velocity_BCFHW: Tensor,
            sigma_BF: Tensor,
            sigma_next_BF: Tensor,
            previous: Evaluation | None,
            draw: Draw,
        ) -> Tensor:
            landed_BF = sigma_next_BF
            for level, land in zip(levels, lands, strict=False):
                landed_BF = torch.where(sigma_BF == level, land, landed_BF)
            made = sampler(x_BCFHW, velocity_BCFHW, sigma_BF, landed_BF, previous, draw)
            return made * per_frame(norm(sigma_next_BF) / norm(landed_BF))

        return step

    def dynamic(self, stage: Stage, request: GenerationRequest) -> Stage:
        """The stage with a guidance scale that moves between 1 and 1 + the request's from step to step: the reference's
        `use_dynamic_cfg`, which counts with the timestep as if it were a step."""
        timesteps = self.timesteps(torch.tensor(stage.sigmas[:-1])).tolist()
        steps = request.steps
        scales = (
            1 + request.guidance_scale * (1 - cos(pi * ((steps - timestep) / steps) ** 5)) / 2
            for timestep in timesteps
        )
        return replace(
            stage,
            guidance=tuple(
                scale if in_interval(sigma, request.guidance_interval) else 1.0
                for scale, sigma in zip(scales, stage.sigmas, strict=False)
            ),
        )

    def timesteps(self, sigma_B: Tensor) -> Tensor:
        """int64 [B]: the timesteps whose noise levels are nearest."""
        return (sigma_B.double().cpu()[:, None] - self._sigma_T).abs().argmin(1).to(sigma_B.device)


def norm(sigma: Tensor) -> Tensor:
    """By how much our latents are smaller than those of the path that keeps the variance: x = norm * x_vp."""
    return (sigma.square() + (1 - sigma).square()).sqrt()
