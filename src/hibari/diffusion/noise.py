"""Noise out of seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hibari.contracts import NoiseOrder


def clip_noise(seed: int, shape: Sequence[int], order: NoiseOrder, generator: torch.Generator) -> Tensor:
    """Standard normal noise [C, F, H, W] of a clip, float32 on the CPU.

    Args:
        order: see `ModelSpec.noise`. Only "by-frame" goes by the seed; the others draw from the generator.
    """
    if order != "by-frame":
        return draw(shape, order, generator)
    channels, frames, height, width = shape
    return torch.stack(
        [frame_noise(seed, frame, (channels, height, width)) for frame in range(frames)], dim=1
    )


def draw(shape: Sequence[int], order: NoiseOrder, generator: torch.Generator) -> Tensor:
    """The generator's next standard normal numbers as [C, F, H, W], float32 on the CPU. The order says in which
    order they fill the axes: C, F, H, W; or for "frames-first" F, C, H, W; or for "channels-last" F, H, W, C."""
    channels, frames, height, width = shape
    if order == "frames-first":
        return torch.randn((frames, channels, height, width), generator=generator).movedim(0, 1)
    if order == "channels-last":
        return torch.randn((frames, height, width, channels), generator=generator).movedim(-1, 0)
    return torch.randn((channels, frames, height, width), generator=generator)


def generator_at(state: Tensor | None) -> torch.Generator:
    """A CPU generator that goes on from a state, uint8 as `torch.Generator.get_state` gives it; from seed 0 without."""
    generator = torch.Generator().manual_seed(0)
    return generator if state is None else generator.set_state(state)


def frame_noise(seed: int, frame: int, shape: tuple[int, int, int]) -> Tensor:
    """Standard normal noise of one latent frame, float32: a function of its arguments and of nothing else.

    The noise of a frame thus does not depend on how long its clip is, or on what was drawn before. Philox
    (Salmon et al. 2011) is made for that: seed and frame are its key and the top word of its counter. A
    torch.Generator on the CPU would read only the low 32 bits of the seed.
    """
    generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, frame]))
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
