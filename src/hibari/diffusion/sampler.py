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

from hibari.diffusion.convention import interpolate, per_frame, x0_from_velocity


class Evaluation(NamedTuple):
    """A velocity, the noise levels at which the network gave it, and the data that it led to from there."""

    velocity_BCFHW: Tensor
    sigma_BF: Tensor
    x0_BCFHW: Tensor


Draw = Callable[[], Tensor]
"""New standard normal noise of x's shape, at each call."""

Sampler = Callable[[Tensor, Tensor, Tensor, Tensor, Evaluation | None, Draw], Tensor]
"""(x_BCFHW, velocity_BCFHW, sigma_BF, sigma_next_BF, previous, draw) -> x_BCFHW at sigma_next. `previous` is None
at the first update. Only a stochastic sampler calls `draw`. Where sigma_next equals sigma, as in given frames, x comes
back bit for bit."""


def _no_noise() -> Tensor:
    raise AssertionError("this sampler is deterministic; it has no use for noise")


def euler_step(
    x_BCFHW: Tensor,
    velocity_BCFHW: Tensor,
    sigma_BF: Tensor,
    sigma_next_BF: Tensor,
    previous: Evaluation | None = None,  # noqa: ARG001 (the signature of every sampler)
    draw: Draw = _no_noise,  # noqa: ARG001
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
    draw: Draw = _no_noise,  # noqa: ARG001
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


def dpm_step(
    x_BCFHW: Tensor,
    velocity_BCFHW: Tensor,
    sigma_BF: Tensor,
    sigma_next_BF: Tensor,
    previous: Evaluation | None = None,
    draw: Draw = _no_noise,
) -> Tensor:
    """Second order and stochastic: DPM-Solver++(2M) with the noise of the diffusion's SDE (Lu et al. 2022, section 3.3
    and appendix A), in x0 and in this package's convention.

    With h the step in log((1 - sigma) / sigma) and r = exp(-h):
    x' = sigma' / sigma r x + (1 - sigma') (1 - r^2) x0 + sigma' sqrt(1 - r^2) noise, x0 extrapolated to the middle of
    the step by the one before. The first update has nothing to look back to, and the last would divide by nothing.
    """
    sigma, sigma_next = per_frame(sigma_BF), per_frame(sigma_next_BF)
    x0_BCFHW = data = x0_from_velocity(x_BCFHW, velocity_BCFHW, sigma_BF)
    noise = draw()
    ratio = _snr_ratio(sigma, sigma_next)
    if previous is not None and bool((sigma_next_BF > 0).any()):
        noise = draw()  # the scheduler of CogVideoX in diffusers draws twice, and seeds are to carry over
        lean = ratio.log() / _snr_ratio(per_frame(previous.sigma_BF), sigma).log() / 2
        data = torch.where(sigma_next > 0, x0_BCFHW + lean * (x0_BCFHW - previous.x0_BCFHW), x0_BCFHW)
    made = (
        sigma_next / sigma * ratio * x_BCFHW
        + (1 - sigma_next) * (1 - ratio.square()) * data
        + sigma_next * (1 - ratio.square()).sqrt() * noise
    )
    return torch.where(sigma_next == sigma, x_BCFHW, made)


def lcm_step(
    x_BCFHW: Tensor,
    velocity_BCFHW: Tensor,
    sigma_BF: Tensor,
    sigma_next_BF: Tensor,
    previous: Evaluation | None = None,  # noqa: ARG001
    draw: Draw = _no_noise,
) -> Tensor:
    """To the data that x is on its way to, and back with new noise (Song et al. 2023, "Consistency models",
    algorithm 1): for networks that were distilled to it. Draws at each step, also at the last, which has no use for it.
    """
    made = interpolate(x0_from_velocity(x_BCFHW, velocity_BCFHW, sigma_BF), draw(), sigma_next_BF)
    return torch.where(per_frame(sigma_next_BF == sigma_BF), x_BCFHW, made)


def _snr_ratio(sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """exp(-h): the root of the signal-to-noise ratio at sigma by that at sigma_next; 0 where either is infinite."""
    return (1 - sigma) * sigma_next / (sigma * (1 - sigma_next))


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
    draw = lambda: torch.randn_like(noise_BCFHW)  # noqa: E731
    for sigma, sigma_next in pairwise(sigmas.to(noise_BCFHW.device)):
        sigma_BF, sigma_next_BF = sigma.expand(batch, frames), sigma_next.expand(batch, frames)
        velocity = velocity_fn(x, sigma_BF)
        x0 = x0_from_velocity(x, velocity, sigma_BF)
        x = step(x, velocity, sigma_BF, sigma_next_BF, previous, draw)
        previous = Evaluation(velocity, sigma_BF, x0)
    return x
