"""Defends the making of a transformer of few steps: what it is told to say is where its teacher goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_tasks import SMALL, autoencoder_in

from hibari.cli import main
from hibari.diffusion.guidance import guide
from hibari.diffusion.schedule import schedule
from hibari.models.mini.transformer import Transformer
from hibari.training.distil import DistilTask
from hibari.training.recipes import DistilRecipe
from hibari.training.transformer import Lesson

FAST = DistilRecipe(
    **{**vars(SMALL), "window_share": 0.0}, steps=4, teacher_steps=12, guidance=3.0, shift=2.5
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return autoencoder_in(tmp_path_factory.mktemp("distil"))


def distil(folder: Path, recipe: DistilRecipe, network: Transformer) -> DistilTask:
    return DistilTask(recipe, network, folder / "autoencoder.safetensors", folder / "shards", workers=0)


def any_network() -> Transformer:
    torch.manual_seed(1)
    network = Transformer(SMALL.config)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    return network


def wanted(task: DistilTask, step: int) -> tuple[Lesson, Tensor]:
    """The lesson of a step and what it tells, asked frames only."""
    told: list[Tensor] = []
    keep = task.backward

    def backward(velocity: Tensor, target: Tensor, lesson: Lesson) -> dict[str, float]:
        told.append(target)
        return keep(velocity, target, lesson)

    task.backward = backward
    task.loss(step)
    return task.lesson(step), told[0]


def test_levels_are_the_teachers_and_given_frames_stay_given(folder: Path) -> None:
    task = distil(folder, replace(FAST, given_share=0.5), any_network())
    sigma = task.levels(400, 9, 0, np.random.default_rng(0))
    assert (sigma[:, 1:] == 0).any(), "given frames"
    assert set(sigma.unique().tolist()) == set(schedule(12, 2.5).tolist())
    highest = sigma.amax(1)
    assert set(highest.tolist()) == set(schedule(12, 2.5)[:-1].tolist()), "each of its steps, and none from 0"


def test_with_as_many_steps_as_the_teacher_it_says_what_the_guided_teacher_says(folder: Path) -> None:
    network = any_network()
    task = distil(folder, replace(FAST, teacher_steps=4), network)
    lesson, target = wanted(task, 0)
    with torch.no_grad():
        said, unsaid = (
            network(lesson.noisy, lesson.sigma_BF, lesson.text, mask, lesson.start_B)
            for mask in (lesson.mask, torch.zeros_like(lesson.mask))
        )
    asked = (lesson.sigma_BF > 0)[:, None, :, None, None].expand_as(target)
    torch.testing.assert_close(target[asked], guide(said, unsaid, 3.0)[asked], atol=2e-4, rtol=1e-3)
    assert (said - unsaid).abs().max() > 1e-2, "guidance is seen"


class Curve(Transformer):
    """Answers with velocity sigma, whatever it is shown: the way from a to b leads over (a^2 - b^2) / 2."""

    def forward(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, text_BLD: Tensor, mask_BL: Tensor, start_B: Tensor
    ) -> Tensor:
        """See `Transformer`."""
        del text_BLD, mask_BL, start_B
        return sigma_BF[:, None, :, None, None].expand_as(latent_BCFHW) + 0 * self.text_null.sum()


def test_what_is_told_is_the_teachers_step_and_then_its_own_answer_to_the_segments_end(folder: Path) -> None:
    task = distil(folder, replace(FAST, given_share=0.0), Curve(SMALL.config))
    grid = schedule(12, 2.5)
    seen = set()
    for step in range(12):
        lesson, target = wanted(task, step)
        for sigma, said in zip(lesson.sigma_BF[:, 0], target[:, 0, 0, 0, 0], strict=True):
            index = int((grid == sigma).nonzero())
            after, end = grid[index + 1], grid[3 * (index // 3) + 3]
            way = (after - sigma) * sigma + (end - after) * after
            assert said == pytest.approx(float(way / (end - sigma)), abs=1e-4)
            seen.add(index)
    assert len(seen) > 8


def test_the_teacher_stays_as_it_was(folder: Path) -> None:
    task = distil(folder, FAST, any_network())
    lesson, before = wanted(task, 2)
    task.optimizers.step(1.0)
    with torch.no_grad():
        guided = task._guided(lesson)
    for parameter in task.network.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        assert torch.equal(task._guided(lesson), guided)
    assert before.isfinite().all()


def test_a_recipe_that_needs_a_teacher_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "autoencoder.safetensors"
    file.write_bytes(b"")
    code = main(
        ["train", "transformer", "--recipe", "fast", "--autoencoder", str(file), "--budget-steps", "1"]
    )
    assert code == 2
    assert "name its weights file with --from" in capsys.readouterr().err
