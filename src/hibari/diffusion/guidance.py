"""Classifier-free guidance (Ho & Salimans 2022), within an interval of sigmas (Kynkäänniemi et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Skip:
    """Guidance away from a prediction for which some blocks of the network attend to nothing (Hyung et al. 2024,
    "Spatiotemporal skip guidance").

    Attributes:
        blocks: for each block of the network, whether it is skipped.
        scale: of the difference.
        rescale: how far the outcome is brought back to the spread of the conditional prediction: 0 is not at all, 1 to
            the same (Lin et al. 2023, "Common diffusion noise schedules", section 3.4).
    """

    blocks: tuple[bool, ...]
    scale: float
    rescale: float = 0.0


def guide(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """uncond + scale * (cond - uncond): at scale 1 the conditional prediction, above 1 beyond it."""
    return uncond + scale * (cond - uncond)


def in_interval(sigma: float, interval: tuple[float, float]) -> bool:
    """Whether guidance acts at this noise level; both ends belong to the interval."""
    low, high = interval
    return low <= sigma <= high


def projected(cond: Tensor, uncond: Tensor) -> Tensor:
    """The unconditional prediction, scaled to come nearest to the conditional one (Fan et al. 2025, "CFG-Zero*")."""
    return (cond * uncond).sum() / (uncond.square().sum() + 1e-8) * uncond


def away_from(skipped: Tensor, cond: Tensor, guided: Tensor, skip: Skip) -> Tensor:
    """The guided prediction, moved on by what the conditional one has and the one with skipped blocks lacks."""
    moved = guided + skip.scale * (cond - skipped)
    return moved * (skip.rescale * cond.std() / moved.std() + 1 - skip.rescale)
