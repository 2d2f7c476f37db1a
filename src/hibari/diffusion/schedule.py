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


def linear_quadratic(steps: int, threshold: float = 0.025) -> list[float]:
    """Noise levels [steps + 1] from 1 to 0: the first half of the steps falls evenly by `threshold` in all, the rest
    quadratically and joined without a bend. As the sampler of Mochi 1 has it (Genmo 2024)."""
    half = steps // 2
    rest = steps - half
    if half == 0:  # one step: there is no even part
        return [1.0, 0.0]
    slope = threshold / half
    bend = (1 - threshold - slope * rest) / rest**2
    times = [slope * step for step in range(half)]
    times += [threshold + slope * step + bend * step**2 for step in range(rest)]
    return [*(1 - time for time in times), 0.0]
