"""Which noise levels a sampler visits."""

from __future__ import annotations

import torch
from torch import Tensor


def schedule(steps: int, shift: float) -> Tensor:
    """Sigmas [steps + 1], float32, falling from exactly 1 to exactly 0.

    `shift` s bends an even schedule by sigma -> s sigma / (1 + (s - 1) sigma) (Esser et al. 2024, section
    5.3.2): 1 leaves it even, more spends more steps near the noise, as larger latents need.

    Raises:
        ValueError: steps below 1, or a shift that is not positive.
    """
    if steps < 1 or not shift > 0:
        raise ValueError(f"steps is {steps} and shift is {shift}; steps must be at least 1, shift above 0")
    sigma = torch.arange(steps, -1, -1, dtype=torch.float64) / steps
    # The denominator 1 + (s - 1) sigma, regrouped so that rounding cannot move the end at sigma = 1.
    return (shift * sigma / (shift * sigma + (1 - sigma))).float()
