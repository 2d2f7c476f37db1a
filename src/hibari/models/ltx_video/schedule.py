"""The noise levels of LTX-Video, as its scheduler's configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hibari.diffusion.schedule import linear_quadratic
from hibari.models.checkpoint import diffusers_class


def sigmas_of(config: Mapping[str, Any], steps: int, tokens: int, *, quadratic: bool) -> list[float]:
    """Noise levels [steps + 1] from 1 to 0.

    Args:
        config: `scheduler_config.json`.
        tokens: of the clip; with a dynamic shift more of them mean more steps near the noise.
        quadratic: whether the levels before the scheduler's own shift are Mochi's, as the pipelines of 0.9.5 and later
            have it, and not even.
    """
    scheduler = diffusers_class("FlowMatchEulerDiscreteScheduler").from_config(dict(config))
    levels = linear_quadratic(steps)[:-1] if quadratic else np.linspace(1.0, 1 / steps, steps)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    short, long = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    slope = (high - low) / (long - short)
    mu = tokens * slope + low - slope * short
    scheduler.set_timesteps(sigmas=list(levels), mu=mu, device="cpu")
    return scheduler.sigmas.tolist()
