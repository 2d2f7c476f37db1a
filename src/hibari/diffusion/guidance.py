"""Classifier-free guidance (Ho & Salimans 2022), within an interval of sigmas (Kynkäänniemi et al. 2024)."""

from __future__ import annotations

from torch import Tensor


def guide(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """uncond + scale * (cond - uncond): at scale 1 the conditional prediction, above 1 beyond it."""
    return uncond + scale * (cond - uncond)


def in_interval(sigma: float, interval: tuple[float, float]) -> bool:
    """Whether guidance acts at this noise level; both ends belong to the interval."""
    low, high = interval
    return low <= sigma <= high
