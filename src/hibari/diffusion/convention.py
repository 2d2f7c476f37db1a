"""What sigma and velocity mean, written once. Everything in Hibari speaks this; adapters translate.

    x_sigma  = (1 - sigma) * x0 + sigma * noise    sigma in [0, 1]; 1 is pure noise, 0 is data
    velocity = noise - x0 = d x_sigma / d sigma    sampling walks 1 -> 0: x += (sigma_next - sigma) * velocity

Sigma is given per latent frame, `sigma_BF`. A frame with sigma 0 is a given, clean frame: image-to-video,
extending, looping and connecting are all "some frames have sigma 0".

How other families write the same line (u is what their network returns):

    LTX-Video    velocity = u      its timestep is sigma (diffusers' flow classes: 1000 sigma)
    Mochi 1      velocity = -u     its time is 1 - sigma, its target x0 - noise
    CogVideoX    variance-preserving: x_vp = a x0 + s noise with a^2 + s^2 = 1, and u = a noise - s x0.
                 Then sigma = s / (a + s), x = x_vp / (a + s), velocity = (a + s) u + (s - a) x_vp,
                 and one DDIM step of theirs is exactly one Euler step of ours.

The source is rectified flow (Liu et al. 2022, section 2.1) with time running from data to noise.
"""

from __future__ import annotations

from torch import Tensor


def per_frame(value_BF: Tensor) -> Tensor:
    """[B, F] as [B, 1, F, 1, 1], which broadcasts over a latent_BCFHW."""
    return value_BF[:, None, :, None, None]


def interpolate(x0_BCFHW: Tensor, noise_BCFHW: Tensor, sigma_BF: Tensor) -> Tensor:
    """x_sigma, the point between data and noise."""
    sigma = per_frame(sigma_BF)
    return (1 - sigma) * x0_BCFHW + sigma * noise_BCFHW


def velocity_target(x0_BCFHW: Tensor, noise_BCFHW: Tensor) -> Tensor:
    """What a network should predict at every sigma between the two."""
    return noise_BCFHW - x0_BCFHW


def x0_from_velocity(x_BCFHW: Tensor, velocity_BCFHW: Tensor, sigma_BF: Tensor) -> Tensor:
    """The data that `x` is on its way to, if the velocity stays as it is."""
    return x_BCFHW - per_frame(sigma_BF) * velocity_BCFHW


def noise_from_velocity(x_BCFHW: Tensor, velocity_BCFHW: Tensor, sigma_BF: Tensor) -> Tensor:
    """The noise that `x` came from, if the velocity has always been as it is."""
    return x_BCFHW + per_frame(1 - sigma_BF) * velocity_BCFHW
