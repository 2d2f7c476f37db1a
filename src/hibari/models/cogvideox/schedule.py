"""The noise levels of CogVideoX in our convention.

Its path keeps the variance: x_vp = a x0 + s noise with a^2 + s^2 = 1. With sigma = s / (a + s) and x = x_vp / (a + s)
that is ours, and one DDIM step of its scheduler is an Euler step; see `diffusion.convention`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hibari.contracts import WeightsError
from hibari.models.checkpoint import diffusers_class


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

    def timesteps(self, sigma_B: Tensor) -> Tensor:
        """int64 [B]: the timesteps whose noise levels are nearest."""
        return (sigma_B.double().cpu()[:, None] - self._sigma_T).abs().argmin(1).to(sigma_B.device)
