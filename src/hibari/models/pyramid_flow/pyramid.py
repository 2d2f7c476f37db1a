"""The pyramid of Pyramid Flow (Jin et al. 2024, section 3): what happens between noise and a frame, and between frames.

A frame is made in three stages, each twice as high and wide as the one before. Within a stage the flow is straight, and
sigma runs from 1 to 0 as everywhere in Hibari; what differs is what lies at its ends, and which timesteps the network
wants to be told. Between two stages the latent is enlarged, and noise goes in, so that it looks as if it had been
at the larger size from the start.

Frames are made one after the other. A frame sees those before it, the last one at its own size, each older one at half
the size of the next, down to the smallest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

_GRID = 1000  # timesteps that training knew
_LAST = 1 / _GRID  # sigma of the last step's beginning

# Four places that each vary by 1, are correlated by -1/3 and sum to 0: the corners of a regular tetrahedron, as the
# lower triangle that makes them of four independent numbers, of which the last does not count.
CORNERS = (
    (1.0, 0.0, 0.0, 0.0),
    (-1 / 3, math.sqrt(8) / 3, 0.0, 0.0),
    (-1 / 3, -math.sqrt(2) / 3, math.sqrt(6) / 3, 0.0),
    (-1 / 3, -math.sqrt(2) / 3, -math.sqrt(6) / 3, 0.0),
)


@dataclass(frozen=True)
class Stage:
    """One of the sizes at which a frame is worked on.

    Attributes:
        shrink: how much smaller its sides are than the finished latent's.
        first: the network's timestep at sigma 1.
        last: the network's timestep at sigma 0.
        signal: what the enlarged latent of the stage before is multiplied by.
        noise: what the noise is multiplied by that is added to it.
    """

    shrink: int
    first: float
    last: float
    signal: float
    noise: float

    def timestep(self, sigma: float) -> float:
        """What the network calls this noise level."""
        return self.last + sigma * (self.first - self.last)


def _stages(count: int) -> tuple[Stage, ...]:
    # Noise levels of the whole way at which the stages meet. Enlarging repeats each cell four times, and its noise too;
    # what is added makes the four independent, which lifts the level (appendix A of the paper, with gamma = 1/3).
    meet = [1 - int(_GRID * index / count) / _GRID for index in range(count)]
    begin = [1.0, *(2 * level / (1 + level) for level in meet[1:])]
    lengths = [high - low for high, low in zip(begin, [*meet[1:], 0.0], strict=True)]
    # A stage has as many of the network's timesteps as its way is long.
    marks = [int(_GRID * (sum(lengths[:index]) / sum(lengths))) for index in range(count)] + [_GRID - 1]
    return tuple(
        Stage(
            shrink=2 ** (count - 1 - index),
            first=float(_GRID - marks[index]),
            last=float(_GRID - marks[index + 1]),
            signal=1 / (1 + meet[index]),
            noise=math.sqrt(3) * meet[index] / (1 + meet[index]),
        )
        for index in range(count)
    )


STAGES = _stages(3)


def sigmas(steps: int) -> list[float]:
    """Noise levels [steps + 1] of a stage, even from 1 to 1/1000, and then 0."""
    return [*torch.linspace(1, _LAST, steps, dtype=torch.float64).tolist(), 0.0]


def first_noise(noise_BCFHW: Tensor) -> Tensor:
    """Noise of the smallest size out of noise of the finished one: means of 4 x 4 cells, brought back to variance 1."""
    for _ in STAGES[1:]:
        noise_BCFHW = halved(noise_BCFHW) * 2
    return noise_BCFHW


def next_stage(latent_BCFHW: Tensor, stage: Stage, generator: torch.Generator) -> Tensor:
    """The beginning [B, C, F, 2H, 2W] of a stage, out of the end of the one before."""
    enlarged = latent_BCFHW.repeat_interleave(2, 3).repeat_interleave(2, 4)
    noise = block_noise(enlarged.shape, generator).to(enlarged)
    return stage.signal * enlarged + stage.noise * noise


def block_noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Normal noise [B, C, F, H, W], float32, in which each block of 2 x 2 cells sums to 0.

    It is drawn as the authors' loop over blocks draws it, hence the layout with gaps: into such a tensor torch draws
    numbers one by one, as it does for the loop's four.
    """
    batch, channels, frames, height, width = shape
    rows, cols = height // 2, width // 2
    drawn = torch.empty(batch * channels * frames * rows * cols, 4, 2)[..., 0].normal_(generator=generator)
    return rearrange(
        drawn @ torch.tensor(CORNERS).T,
        "(b c f h w) (p q) -> b c f (h p) (w q)",
        b=batch, c=channels, f=frames, h=rows, w=cols, p=2, q=2,
    )  # fmt: skip


def halved(latent_BCFHW: Tensor) -> Tensor:
    """[B, C, F, H/2, W/2]: four cells become their mean."""
    return F.avg_pool3d(latent_BCFHW, (1, 2, 2))


class Frames:
    """A clip's finished latent frames, each at the size of every stage."""

    def __init__(self) -> None:
        self._by_stage: list[list[Tensor]] = [[] for _ in STAGES]

    def __len__(self) -> int:
        return len(self._by_stage[0])

    def append(self, latent_BC1HW: Tensor) -> None:
        """Add the frame that comes next."""
        for made in reversed(self._by_stage):
            made.append(latent_BC1HW)
            latent_BC1HW = halved(latent_BC1HW)

    def before(self, stage: int, first: int = 0) -> list[Tensor]:
        """The frames from `first` on as the next one sees them in a stage, by index: latents [B, C, 1, H, W]."""
        newest = len(self) - 1
        return [self._by_stage[max(stage - (newest - index), 0)][index] for index in range(first, len(self))]


def settled(frames: int, stage: int) -> int:
    """How many of so many frames, from the first on, are seen at their smallest by all frames to come."""
    return max(frames - stage, 0)
