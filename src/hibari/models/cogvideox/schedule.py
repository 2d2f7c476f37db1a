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
from hibari.diffusion.guidance import in_interval
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
        """Noise levels [steps + 1] down to 0. As the reference's wherever steps divide the network's 1000 timesteps;
        else its scheduler steps to levels beside those that the network is told next."""
        self._scheduler.set_timesteps(steps)
        return [*self._sigma_T[self._scheduler.timesteps].tolist(), 0.0]

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
