"""A network of a few steps out of one of many, which is asked once a step and needs no guidance.

The schedule of few steps cuts the way from noise to data into segments. Within each, the network learns to say from
anywhere where the segment ends: what it says after one small guided step of its teacher is what it should have said
before it. That is consistency distillation by segments (Heek, Hoogeboom & Salimans, "Multistep consistency models",
2024; Wang et al., "Phased consistency models", 2024). Given frames stay given, so that the tools work with it too.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hibari.diffusion.guidance import guide
from hibari.diffusion.sampler import euler_step, sample
from hibari.diffusion.schedule import schedule
from hibari.models.mini.transformer import Transformer
from hibari.training.recipes import DistilRecipe
from hibari.training.transformer import Lesson, TransformerTask


class DistilTask(TransformerTask):
    """One step: from a level of the teacher's schedule to the end of its segment."""

    recipe: DistilRecipe

    def __init__(self, recipe: DistilRecipe, network: Transformer, *arguments: Any, **named: Any) -> None:
        """`network` as it comes is the teacher; the rest is `TransformerTask`'s."""
        super().__init__(recipe, network, *arguments, **named)
        self._teacher = deepcopy(network).eval().requires_grad_(False)
        self._sigmas = schedule(recipe.teacher_steps, recipe.shift)
        # Where the teacher's step from each level leads, and where that step's segment ends; from the last, 0, nowhere.
        # The levels are the teacher's own, so that the ends of segments are among them to the bit.
        last, length = recipe.teacher_steps, recipe.teacher_steps // recipe.steps
        level = torch.arange(last + 1)
        self._after = self._sigmas[(level + 1).clamp(max=last)]
        self._ends = self._sigmas[((level // length + 1) * length).clamp(max=last)]

    def levels(self, clips: int, frames: int, start: int, rng: np.random.Generator) -> Tensor:
        """As in training, but of the levels from which the teacher steps, each as often."""
        given = super().levels(clips, frames, start, rng) == 0
        step_B = torch.from_numpy(rng.integers(self.recipe.teacher_steps, size=clips))
        return self._sigmas[step_B][:, None].repeat(1, frames).masked_fill(given, 0.0)

    def loss(self, step: int) -> dict[str, float]:
        """See `run.Task`."""
        lesson = self.lesson(step)
        return self.backward(self.answer(lesson), self._wanted(lesson), lesson)

    @torch.no_grad()
    def _wanted(self, lesson: Lesson) -> Tensor:
        """The velocity that leads straight to where the teacher's step and the network's next answer lead."""
        sigma_BF = lesson.sigma_BF
        index_BF = torch.searchsorted(-self._sigmas, -sigma_BF)  # given frames have the last level
        next_BF, end_BF = self._after[index_BF], self._ends[index_BF]
        stepped = euler_step(lesson.noisy, self._guided(lesson), sigma_BF, next_BF)
        answer = self.answer(lesson._replace(noisy=stepped, sigma_BF=next_BF))
        there = euler_step(stepped, answer, next_BF, end_BF)
        way = (end_BF - sigma_BF).clamp(max=-1e-6)[:, None, :, None, None]
        return (there - lesson.noisy) / way

    def _guided(self, lesson: Lesson) -> Tensor:
        """The teacher's velocity."""
        noisy, _, sigma_BF, text, mask, _, start_B = lesson
        with self.precision():
            said = self._teacher(noisy, sigma_BF, text, mask, start_B).float()
            unsaid = self._teacher(noisy, sigma_BF, text, torch.zeros_like(mask), start_B).float()
        return guide(said, unsaid, self.recipe.guidance)

    def sampled(self, noise: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """See `TransformerTask`: in few steps, without guidance."""
        start_B = torch.zeros(len(noise), dtype=torch.long)
        return sample(
            lambda latent, sigma_BF: self.network(latent, sigma_BF, text[:-1], mask[:-1], start_B),
            noise,
            schedule(self.recipe.steps, self.recipe.shift),
        )
