"""Defends the one convention that everything speaks, and the order of accuracy that each sampler promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hibari.diffusion.convention import (
    interpolate,
    noise_from_velocity,
    per_frame,
    velocity_target,
    x0_from_velocity,
)
from hibari.diffusion.guidance import guide, in_interval
from hibari.diffusion.sampler import Evaluation, Sampler, adams_bashforth_step, dpm_step, euler_step, sample
from hibari.diffusion.schedule import schedule

DETERMINISTIC = [euler_step, adams_bashforth_step]


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


sigmas_BF = st.lists(st.floats(0, 1), min_size=6, max_size=6).map(
    lambda values: torch.tensor(values, dtype=torch.float64).view(2, 3)
)


@settings(deadline=None)
@given(sigma_BF=sigmas_BF, seed=st.integers(0, 1000))
def test_data_noise_and_velocity_tell_the_same_story_at_every_sigma(sigma_BF: Tensor, seed: int) -> None:
    x0, noise = normal(2, 4, 3, 2, 2, seed=seed), normal(2, 4, 3, 2, 2, seed=seed + 1)
    x, velocity = interpolate(x0, noise, sigma_BF), velocity_target(x0, noise)
    torch.testing.assert_close(x0_from_velocity(x, velocity, sigma_BF), x0)
    torch.testing.assert_close(noise_from_velocity(x, velocity, sigma_BF), noise)


def test_sigma_0_is_data_and_sigma_1_is_noise_frame_by_frame() -> None:
    x0, noise = normal(1, 4, 2, 3, 3, seed=0), normal(1, 4, 2, 3, 3, seed=1)
    x = interpolate(x0, noise, torch.tensor([[0.0, 1.0]]))
    assert torch.equal(x[:, :, 0], x0[:, :, 0])
    assert torch.equal(x[:, :, 1], noise[:, :, 1])


def test_velocity_is_the_derivative_by_sigma() -> None:
    x0, noise = normal(1, 4, 1, 3, 3, seed=0), normal(1, 4, 1, 3, 3, seed=1)
    at, step = torch.tensor([[0.4]], dtype=torch.float64), 1e-3
    slope = (interpolate(x0, noise, at + step) - interpolate(x0, noise, at - step)) / (2 * step)
    torch.testing.assert_close(slope, velocity_target(x0, noise))


def test_a_cogvideox_ddim_step_is_an_euler_step() -> None:
    """The translation that the convention's docstring states, against DDIM as its paper writes it."""
    x0_hat, noise_hat = normal(1, 4, 1, 3, 3, seed=0), normal(1, 4, 1, 3, 3, seed=1)
    (a, s), (a_next, s_next) = [(math.cos(angle), math.sin(angle)) for angle in (1.2, 0.7)]
    x_vp, u = a * x0_hat + s * noise_hat, a * noise_hat - s * x0_hat
    ddim = a_next * x0_hat + s_next * noise_hat

    def sigma_of(a: float, s: float) -> Tensor:
        return torch.tensor([[s / (a + s)]], dtype=torch.float64)

    velocity = (a + s) * u + (s - a) * x_vp
    euler = euler_step(x_vp / (a + s), velocity, sigma_of(a, s), sigma_of(a_next, s_next))
    torch.testing.assert_close(velocity, noise_hat - x0_hat)
    torch.testing.assert_close(euler * (a_next + s_next), ddim)


@settings(deadline=None)
@given(steps=st.integers(1, 200), shift=st.floats(0.1, 20))
def test_schedules_fall_from_exactly_1_to_exactly_0(steps: int, shift: float) -> None:
    sigmas = schedule(steps, shift)
    assert sigmas.dtype == torch.float32
    assert len(sigmas) == steps + 1
    assert sigmas[0] == 1
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


def test_shift_follows_its_formula() -> None:
    even = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])
    torch.testing.assert_close(schedule(4, 1.0), even)
    torch.testing.assert_close(schedule(4, 3.0), 3 * even / (1 + 2 * even))


@pytest.mark.parametrize(("steps", "shift"), [(0, 1.0), (4, 0.0), (4, -1.0), (4, math.nan)])
def test_impossible_schedules_are_refused(steps: int, shift: float) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        schedule(steps, shift)


@pytest.mark.parametrize("step", DETERMINISTIC)
def test_straight_paths_are_walked_exactly_in_any_number_of_steps(step: Sampler) -> None:
    x0, noise = normal(2, 4, 3, 2, 2, seed=0), normal(2, 4, 3, 2, 2, seed=1)
    for steps in (1, 2, 7):
        made = sample(
            lambda x, sigma_BF: velocity_target(x0, noise), noise, schedule(steps, 3.0).double(), step
        )
        torch.testing.assert_close(made, x0)


def gaussian_velocity(mean: float, spread: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The true one where the data are normal."""

    def velocity(x: Tensor, sigma_BF: Tensor) -> Tensor:
        sigma = per_frame(sigma_BF)
        variance = (1 - sigma) ** 2 * spread**2 + sigma**2
        return -mean + (sigma - (1 - sigma) * spread**2) / variance * (x - (1 - sigma) * mean)

    return velocity


def gaussian_error(step: Sampler, steps: int) -> float:
    """Distance from the exact solution for data from N(mean, spread^2): a velocity in closed form.

    x_sigma is then normal with mean (1 - sigma) mean and variance (1 - sigma)^2 spread^2 + sigma^2, and the
    flow keeps each path at its place in that distribution.
    """
    mean, spread, noise = 0.7, 0.4, normal(1, 1, 1, 8, 8, seed=0)
    made = sample(gaussian_velocity(mean, spread), noise, schedule(steps, 2.0).double(), step)  # uneven steps
    return (made - (mean + spread * noise)).abs().max().item()


@pytest.mark.parametrize(("step", "order"), [(euler_step, 1), (adams_bashforth_step, 2)])
def test_halving_the_steps_shrinks_the_error_by_the_order(step: Sampler, order: int) -> None:
    errors = [gaussian_error(step, steps) for steps in (64, 128, 256)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


def test_the_stochastic_sampler_ends_on_the_data_that_every_velocity_leads_to() -> None:
    x0, noise = normal(2, 4, 3, 2, 2, seed=0), normal(2, 4, 3, 2, 2, seed=1)
    for steps in (1, 2, 3, 7):
        made = sample(
            lambda x, sigma_BF: (x - x0) / per_frame(sigma_BF), noise, schedule(steps, 3.0).double(), dpm_step
        )
        torch.testing.assert_close(made, x0)


def test_the_stochastic_sampler_makes_the_distribution_of_the_data() -> None:
    """N(0.7, 0.4^2), whatever noise it adds on the way: within four standard errors of 20,000 samples."""
    mean, spread, noise = 0.7, 0.4, normal(1, 1, 1, 100, 200, seed=0)
    torch.manual_seed(0)
    made = sample(gaussian_velocity(mean, spread), noise, schedule(400, 2.0).double(), dpm_step)
    assert made.mean().item() == pytest.approx(mean, abs=4 * spread / len(made.flatten()) ** 0.5)
    assert made.std().item() == pytest.approx(spread, rel=4 / (2 * len(made.flatten())) ** 0.5)
    assert (made - (mean + spread * noise)).abs().mean() > 0.1, "it must not only follow its first noise"


@pytest.mark.parametrize("step", [*DETERMINISTIC, dpm_step])
def test_given_frames_come_back_bit_for_bit(step: Sampler) -> None:
    x = normal(1, 4, 2, 3, 3, seed=0).float()
    x[:, :, 0] = torch.tensor([-0.0, 0.0, 1e-40])  # -0 + 0 * v would be 0
    velocity = torch.full_like(x, math.inf)  # and inf * 0 would be NaN
    sigma_BF, sigma_next_BF = torch.tensor([[0.0, 0.5]]), torch.tensor([[0.0, 0.25]])
    previous = Evaluation(torch.zeros_like(x), torch.tensor([[0.0, 0.75]]), torch.zeros_like(x))
    made = step(x, velocity, sigma_BF, sigma_next_BF, previous, lambda: torch.zeros_like(x))
    assert torch.equal(made[:, :, 0].view(torch.int32), x[:, :, 0].view(torch.int32))
    assert not torch.equal(made[:, :, 1], x[:, :, 1])


def test_guidance_runs_from_one_prediction_through_the_other() -> None:
    cond, uncond = normal(1, 4, 1, 2, 2, seed=0), normal(1, 4, 1, 2, 2, seed=1)
    torch.testing.assert_close(guide(cond, uncond, 0), uncond)
    torch.testing.assert_close(guide(cond, uncond, 1), cond)
    torch.testing.assert_close(guide(cond, uncond, 3) - cond, 2 * (cond - uncond))


def test_the_guidance_interval_has_both_its_ends() -> None:
    assert [in_interval(sigma, (0.2, 0.8)) for sigma in (0.1, 0.2, 0.5, 0.8, 0.9)] == [
        False,
        True,
        True,
        True,
        False,
    ]
