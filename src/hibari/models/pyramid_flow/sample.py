"""Frame by frame, stage by stage, step by step: the loops of Pyramid Flow, in the open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from hibari.diffusion.guidance import guide
from hibari.models.pyramid_flow.layers import NO_HISTORY, History
from hibari.models.pyramid_flow.pyramid import STAGES, Frames, first_noise, next_stage, settled, sigmas


class Transformer(Protocol):
    """See `MiniFlux.forward`."""

    def __call__(
        self,
        clips: Sequence[Tensor],
        timestep_B: Tensor,
        text_BLD: Tensor,
        pooled_BD: Tensor,
        past: History = NO_HISTORY,
        keep: int = 0,
    ) -> tuple[Tensor, History]:
        """The velocity of the last of `clips`, and what was kept."""
        ...


@dataclass(frozen=True, eq=False)
class Words:
    """A prompt as the transformer reads it: T5's features [1, L, D] without padding, and the pooled vector [1, D]."""

    text: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class Manner:
    """How a frame is made.

    Attributes:
        steps: of each stage.
        guidance_scale: 1 is no guidance.
    """

    steps: tuple[int, ...]
    guidance_scale: float


@torch.inference_mode()
def generate(
    transformer: Transformer,
    prompt: Words,
    negative: Words,
    noise_BCFHW: Tensor,
    *,
    first: Manner,
    others: Manner,
    generator: torch.Generator,
    given: Sequence[Tensor] = (),
    reuse_stages: int = 0,
) -> Iterator[Tensor]:
    """A clip's latent frames [B, C, 1, H, W], each as soon as it is done.

    Args:
        noise_BCFHW: of the frames that are to be made, in the transformer's type. Sides are multiples of 8.
        first: for the clip's first frame, which is a picture.
        others: for all later ones.
        generator: on the CPU; draws the noise that enters between stages.
        given: frames that the clip begins with: a picture's, or the end of another clip.
        reuse_stages: in how many stages, from the smallest on, the keys and values of frames that have reached their
            smallest size are kept for the frames to come. The outcome is the same up to rounding. The smaller the
            stage, the more it saves; each stage keeps the whole history once a step and prompt, in memory.

    Raises:
        ValueError: a side is no multiple of 8.
    """
    if any(side % 8 for side in noise_BCFHW.shape[3:]):
        raise ValueError(
            f"a latent of {list(noise_BCFHW.shape[3:])} cells cannot be halved twice into tokens of 2 x 2"
        )
    made, kept = Frames(), defaultdict[tuple[int, int, int], History](lambda: NO_HISTORY)
    for latent in given:
        made.append(latent)
    for start in first_noise(noise_BCFHW).split(1, 2):
        manner = others if len(made) else first
        prompts = [prompt] if manner.guidance_scale == 1 else [prompt, negative]
        x = start
        for index, stage in enumerate(STAGES):
            if index:
                x = next_stage(x, stage, generator)
            keep = settled(len(made), index) if index < reuse_stages else 0
            for step, (sigma, sigma_next) in enumerate(pairwise(sigmas(manner.steps[index]))):
                timestep_B = x.new_full((len(x),), stage.timestep(sigma))
                velocities = []
                for number, words in enumerate(prompts):
                    past = kept[index, step, number]
                    clips = [*made.before(index, past.frames), x]
                    velocity, history = transformer(
                        clips, timestep_B, words.text, words.pooled, past=past, keep=keep
                    )
                    if keep:
                        kept[index, step, number] = history
                    velocities.append(velocity)
                velocity = velocities[0]
                if len(velocities) > 1:
                    velocity = guide(velocity, velocities[1], manner.guidance_scale)
                # As the authors round in half precision: the step itself, and the sum of float32 once more.
                x = (x.float() + (sigma_next - sigma) * velocity).to(velocity.dtype)
        made.append(x)
        yield x
