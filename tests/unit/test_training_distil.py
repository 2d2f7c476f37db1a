"""Defends the making of a transformer of few steps: what it is told to say is where its guided teacher goes from where
it has come itself, and it comes to say it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_tasks import SMALL, autoencoder_in

from hibari.cli import main
from hibari.diffusion.convention import per_frame
from hibari.diffusion.guidance import guide
from hibari.diffusion.sampler import euler_step
from hibari.diffusion.schedule import schedule
from hibari.models.mini import weights
from hibari.models.mini.transformer import Transformer
from hibari.training.distil import DistilTask
from hibari.training.recipes import DistilRecipe
from hibari.training.transformer import Lesson

FAST = DistilRecipe(
    **{**vars(SMALL), "window_share": 0.0, "batch": 4},
    steps=4, teacher_steps=3, guidance=3.0, shift=2.5, mixed_share=0.0,
)  # fmt: skip
SIGMAS = schedule(4, 2.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return autoencoder_in(tmp_path_factory.mktemp("distil"))


def distil(
    folder: Path, recipe: DistilRecipe, network: Transformer, teacher: Path | None = None
) -> DistilTask:
    file = folder / "autoencoder.safetensors"
    return DistilTask(recipe, network, file, folder / "shards", workers=0, teacher=teacher)


def any_network(seed: int = 1) -> Transformer:
    torch.manual_seed(seed)
    network = Transformer(SMALL.config)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    return network


def told(task: DistilTask, step: int) -> list[tuple[Tensor, Tensor, Lesson]]:
    """What was said, what was wanted, and where, in each segment of a step."""
    seen: list[tuple[Tensor, Tensor, Lesson]] = []
    keep = task.error

    def error(velocity: Tensor, target: Tensor, lesson: Lesson) -> Tensor:
        seen.append((velocity.detach(), target, lesson))
        return keep(velocity, target, lesson)

    task.error = error
    task.loss(step)
    task.error = keep
    return seen


def asked(lesson: Lesson) -> Tensor:
    return per_frame(lesson.sigma_BF > 0).expand_as(lesson.noisy)


def test_clips_begin_as_noise_or_at_a_later_segment_and_given_frames_stay_given(folder: Path) -> None:
    task = distil(folder, replace(FAST, given_share=0.5, mixed_share=0.4), any_network())
    sigma = task.levels(400, 9, 0, np.random.default_rng(0))
    assert (sigma[:, 1:] == 0).any(), "given frames"
    highest = sigma.amax(1)
    assert set(highest.tolist()) == set(SIGMAS[:-1].tolist())
    assert ((sigma == 0) | (sigma == highest[:, None])).all()
    assert (highest == 1).float().mean() == pytest.approx(0.6, abs=0.08)


def test_a_clip_goes_its_own_way_from_noise_to_the_end(folder: Path) -> None:
    task = distil(folder, replace(FAST, given_share=0.5), any_network())
    first = task.lesson(0)
    assert (first.sigma_BF == 0).any(), "given frames"
    seen = told(task, 0)
    assert len(seen) == 4
    latent = first.noisy
    for (velocity, _, lesson), sigma, end in zip(seen, SIGMAS[:-1], SIGMAS[1:], strict=True):
        at_BF = (first.sigma_BF > 0) * sigma
        assert torch.equal(lesson.sigma_BF, at_BF)
        assert torch.equal(lesson.noisy, latent)
        latent = euler_step(latent, velocity, at_BF, (first.sigma_BF > 0) * end)
    given = ~asked(first)
    assert torch.equal(latent[given], first.noisy[given])


def test_a_clip_that_begins_later_waits_until_it_is_its_turn(folder: Path) -> None:
    task = distil(folder, replace(FAST, given_share=0.0, mixed_share=1.0), any_network())
    first = task.lesson(3)
    begins = first.sigma_BF[:, 0]
    assert len(begins.unique()) > 1
    for (_, _, lesson), sigma in zip(reversed(told(task, 3)), reversed(SIGMAS[:-1]), strict=False):
        goes = begins >= sigma
        assert torch.equal(lesson.sigma_BF, (goes * sigma)[:, None].expand(-1, 9))
        assert torch.equal(lesson.noisy[begins <= sigma], first.noisy[begins <= sigma])


@pytest.mark.parametrize("goes_on", [False, True], ids=["from its teacher", "from another"])
def test_with_one_step_a_segment_the_guided_teacher_itself_is_wanted(folder: Path, goes_on: bool) -> None:
    network, student, file = any_network(), any_network(2), folder / "teacher.safetensors"
    weights.write(file, {"transformer": network}, torch.float32, {})
    recipe = replace(FAST, teacher_steps=1)
    task = distil(folder, recipe, student, file) if goes_on else distil(folder, recipe, network)
    for _, target, lesson in told(task, 0):
        with torch.no_grad():
            said, unsaid = (
                network(lesson.noisy, lesson.sigma_BF, lesson.text, mask, lesson.start_B)
                for mask in (lesson.mask, torch.zeros_like(lesson.mask))
            )
        here = asked(lesson)
        torch.testing.assert_close(target[here], guide(said, unsaid, 3.0)[here], atol=2e-4, rtol=1e-3)
        assert (said - unsaid).abs().max() > 1e-2, "guidance is seen"


class Curve(Transformer):
    """Answers with velocity sigma, whatever it is shown: the way from a to b leads over (a^2 - b^2) / 2."""

    def forward(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, text_BLD: Tensor, mask_BL: Tensor, start_B: Tensor
    ) -> Tensor:
        """See `Transformer`."""
        del text_BLD, mask_BL, start_B
        return per_frame(sigma_BF).expand_as(latent_BCFHW) + 0 * self.text_null.sum()


@pytest.mark.parametrize("given_share", [0.0, 1.0])
def test_where_a_teacher_of_many_steps_leads_is_wanted(folder: Path, given_share: float) -> None:
    recipe = replace(FAST, given_share=given_share, teacher_steps=8)
    seen = told(distil(folder, recipe, Curve(SMALL.config)), 0)
    for (_, target, lesson), sigma, end in zip(seen, SIGMAS[:-1], SIGMAS[1:], strict=True):
        mean = (sigma + end) / 2  # velocity, over the segment
        # The first of the steps knows nothing of what was before, and errs by half of its own length.
        error = (sigma - end) / 2 / 8**2
        values = target[asked(lesson)]
        torch.testing.assert_close(values, (mean + error).expand_as(values), atol=1e-4, rtol=0)


def test_it_learns_to_go_where_its_teacher_does(folder: Path) -> None:
    pictures = {"window_share": 1.0, "window_frames": (1,), "most_clips": 1}
    task = distil(folder, replace(FAST, **pictures, lr=1e-2, adam_lr=5e-3), any_network())
    before = [parameter.clone() for parameter in task._teacher.parameters()]
    losses = []
    for _ in range(12):
        losses.append(task.loss(0)["loss"])
        task.optimizers.step(1.0)
    assert losses[-1] < 0.5 * losses[0]
    for parameter, was in zip(task._teacher.parameters(), before, strict=True):
        assert torch.equal(parameter, was), "the teacher stays as it was"


def test_a_recipe_that_needs_a_teacher_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "autoencoder.safetensors"
    file.write_bytes(b"")
    code = main(
        ["train", "transformer", "--recipe", "fast", "--autoencoder", str(file), "--budget-steps", "1"]
    )
    assert code == 2
    assert "name its weights file with --from" in capsys.readouterr().err
