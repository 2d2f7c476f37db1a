"""A network of a few steps out of one of many, which is asked once a step and needs no guidance.

The schedule of few steps cuts the way from noise to data into segments. The network goes it as it will when it is used,
from noise through its own answers, and from the beginning of each segment its teacher goes to that segment's end in
several guided steps: where those lead is what the network should have said. So it learns what to do where it really
comes by, which real clips with noise hardly show (Yin et al., "Improved distribution matching distillation", 2024,
section 4.5, for the same of another loss); and it is asked only where it will be asked, which consistency at all levels
in between is not worth here. Given frames stay given, and some clips begin as mixtures, so that the tools work too.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hibari.diffusion.convention import per_frame, x0_from_velocity
from hibari.diffusion.guidance import guide
from hibari.diffusion.sampler import Evaluation, adams_bashforth_step, euler_step, sample
from hibari.diffusion.schedule import schedule
from hibari.models.mini.transformer import Transformer
from hibari.training.recipes import DistilRecipe
from hibari.training.transformer import Lesson, TransformerTask, started


class DistilTask(TransformerTask):
    """One step: a batch goes all the way, and is corrected after each segment."""

    recipe: DistilRecipe

    def __init__(
        self,
        recipe: DistilRecipe,
        network: Transformer,
        *arguments: Any,
        teacher: Path | None = None,
        **named: Any,
    ) -> None:
        """`teacher` is the weights file of the teacher; without one, `network` as it comes is. The rest is
        `TransformerTask`'s."""
        super().__init__(recipe, network, *arguments, **named)
        taught_by = started(recipe, teacher) if teacher else deepcopy(network)
        self._teacher = taught_by.eval().requires_grad_(False)
        self._ends = schedule(recipe.steps, recipe.shift)[1:].tolist()

    def levels(self, clips: int, frames: int, start: int, rng: np.random.Generator) -> Tensor:
        """1, and 0 for given frames as in training; the beginning of a later segment where a clip is mixed.

        Only there: just above a segment's end another answer would be right than at it, and a network is smooth."""
        is_asked_BF = super().levels(clips, frames, start, rng) > 0
        is_mixed_B = rng.random(clips) < self.recipe.mixed_share
        begin_B = np.where(is_mixed_B, rng.choice(self._ends[:-1], size=clips), 1.0)
        return is_asked_BF * torch.from_numpy(begin_B).float()[:, None]

    def loss(self, step: int) -> dict[str, float]:
        """See `run.Task`."""
        lesson = self.lesson(step)
        latent, left_BF = lesson.noisy, lesson.sigma_BF
        losses: list[float] = []
        for end in self._ends:
            # Clips that begin in a later segment wait, as if they were given.
            sigma_BF = torch.where(left_BF > end, left_BF, 0.0)
            if not sigma_BF.any():
                continue
            end_BF = sigma_BF.clamp(max=end)
            now = lesson._replace(noisy=latent, sigma_BF=sigma_BF)
            velocity = self.answer(now)
            loss = self.error(velocity, self._wanted(now, end_BF), now)
            (loss / len(self._ends)).backward()
            losses.append(loss.item())
            latent = euler_step(latent, velocity.detach(), sigma_BF, end_BF)
            left_BF = left_BF.clamp(max=end)
        return {"loss": sum(losses) / len(losses), "last": losses[-1]}

    @torch.no_grad()
    def _wanted(self, lesson: Lesson, end_BF: Tensor) -> Tensor:
        """The velocity that leads straight to where the teacher's steps lead."""
        count = self.recipe.teacher_steps
        latent, sigma_BF = lesson.noisy, lesson.sigma_BF
        previous = None
        for step in range(1, count + 1):
            next_BF = lesson.sigma_BF.lerp(end_BF, step / count)
            velocity = self._guided(lesson._replace(noisy=latent, sigma_BF=sigma_BF))
            stepped = adams_bashforth_step(latent, velocity, sigma_BF, next_BF, previous)
            previous = Evaluation(velocity, sigma_BF, x0_from_velocity(latent, velocity, sigma_BF))
            latent, sigma_BF = stepped, next_BF
        way = per_frame((end_BF - lesson.sigma_BF).clamp(max=-1e-6))  # of frames that stay, nothing is asked
        return (latent - lesson.noisy) / way

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
