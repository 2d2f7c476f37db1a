"""Solvers of dx/dsigma = velocity: plain functions that make one update. The loop belongs to the caller.

A sampler that looks back is handed the evaluation before this one. Nothing is hidden: whoever keeps `x` and
that evaluation can stop after any update and go on later.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from hibari.diffusion.convention import per_frame


class Evaluation(NamedTuple):
    """A velocity and the noise levels at which the network gave it."""

    velocity_BCFHW: Tensor
    sigma_BF: Tensor


Sampler = Callable[[Tensor, Tensor, Tensor, Tensor, Evaluation | None], Tensor]
"""(x_BCFHW, velocity_BCFHW, sigma_BF, sigma_next_BF, previous) -> x_BCFHW at sigma_next. `previous` is None
at the first update. Where sigma_next equals sigma, as in given frames, x comes back bit for bit."""


def euler_step(
    x_BCFHW: Tensor,
    velocity_BCFHW: Tensor,
    sigma_BF: Tensor,
    sigma_next_BF: Tensor,
    previous: Evaluation | None = None,  # noqa: ARG001 (the signature of every sampler)
) -> Tensor:
    """First order: straight on. Exact where the velocity is constant. Does not look back."""
    step = per_frame(sigma_next_BF - sigma_BF)
    # Adding 0 * velocity would not do: it turns -0 into 0, and an infinity into NaN.
    return torch.where(step == 0, x_BCFHW, x_BCFHW + step * velocity_BCFHW)


def adams_bashforth_step(
    x_BCFHW: Tensor,
    velocity_BCFHW: Tensor,
    sigma_BF: Tensor,
    sigma_next_BF: Tensor,
    previous: Evaluation | None = None,
) -> Tensor:
    """Second order at one evaluation a step: two velocities, extrapolated to the middle of the step.

    Adams-Bashforth with variable steps (Hairer, Nørsett & Wanner, Solving ODEs I, III.5). The first update
    has nothing to look back to and is Euler's, which does not cost the order.
    """
    if previous is None:
        return euler_step(x_BCFHW, velocity_BCFHW, sigma_BF, sigma_next_BF)
    # This step by the one before; NaN in given frames, where it stays unused.
    ratio = per_frame((sigma_next_BF - sigma_BF) / (sigma_BF - previous.sigma_BF))
    midway = velocity_BCFHW + ratio / 2 * (velocity_BCFHW - previous.velocity_BCFHW)
    return euler_step(x_BCFHW, midway, sigma_BF, sigma_next_BF)


def sample(
    velocity_fn: Callable[[Tensor, Tensor], Tensor],
    noise_BCFHW: Tensor,
    sigmas: Tensor,
    step: Sampler = euler_step,
) -> Tensor:
    """From noise to x0 under `velocity_fn(x_BCFHW, sigma_BF)`: all of sampling, where nothing else is wanted.

    `sigmas` is a descending schedule [steps + 1], the same for every frame.
    """
    batch, _, frames, _, _ = noise_BCFHW.shape
    x, previous = noise_BCFHW, None
    for sigma, sigma_next in pairwise(sigmas.to(noise_BCFHW.device)):
        sigma_BF, sigma_next_BF = sigma.expand(batch, frames), sigma_next.expand(batch, frames)
        velocity = velocity_fn(x, sigma_BF)
        x = step(x, velocity, sigma_BF, sigma_next_BF, previous)
        previous = Evaluation(velocity, sigma_BF)
    return x
