"""Defends what a training step sees: it depends on the step alone."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor, nn
from training_tasks import SMALL, autoencoder_in, fitted, transformer_task

from hibari.models.mini.text import MAX_TOKENS, TEXT_WIDTH
from hibari.models.mini.transformer import Transformer
from hibari.training.autoencoder import (
    to_network,
)
from hibari.training.data import ShardRequest, coverage, make_shard
from hibari.training.transformer import fit_fields
from hibari.training.world.render import FPS, FRAMES, SHAPES, render
from hibari.training.world.spec import draw


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return autoencoder_in(tmp_path_factory.mktemp("training"))


def request(index: int, folder: Path, out: Path, **changes: int) -> ShardRequest:
    return ShardRequest(**{"index": index, "clips": 2, "captions": 2, **changes},
                        autoencoder=folder / "autoencoder.safetensors", folder=out)  # fmt: skip


def test_shapes_take_turns() -> None:
    shapes = [request(index, Path(), Path()).shape for index in range(16)]
    assert {shape: shapes.count(shape) for shape in SHAPES} == {SHAPES[0]: 12, SHAPES[1]: 2, SHAPES[2]: 2}


def test_shards_share_no_clip() -> None:
    seeds = [seed for index in range(3) for seed in request(index, Path(), Path()).seeds]
    assert seeds == list(range(6))


def test_a_shard_is_made_once_and_always_the_same(folder: Path, tmp_path: Path) -> None:
    wide = request(3, folder, tmp_path)
    make_shard(wide)
    content = wide.path.read_bytes()
    tensors = load_file(wide.path)
    assert tensors["latent"].shape == (2, 64, 9, 6, 10)
    assert tensors["text"].shape == (2, 2, MAX_TOKENS, TEXT_WIDTH)
    assert tensors["length"].shape == (2, 2)
    assert tensors["covered"].shape == (2, 9, 6, 10)
    assert 0 <= tensors["covered"].min() < tensors["covered"].max() <= 1
    assert (tensors["length"] > 4).all()

    network = fitted(folder)
    clip = to_network(render(draw(wide.seeds[1]), width=160, height=96)[None])
    with torch.no_grad():
        torch.testing.assert_close(
            tensors["latent"][1].float(), network.encode(clip)[0], atol=5e-3, rtol=5e-3
        )
    beyond = torch.arange(MAX_TOKENS) >= tensors["length"][..., None]
    assert tensors["text"][beyond].abs().max() == 0
    assert (tensors["text"][~beyond].abs().amax(-1) > 0).all()

    wide.path.write_bytes(b"is not made again")
    make_shard(wide)
    assert wide.path.read_bytes() == b"is not made again"
    wide.path.unlink()
    make_shard(wide)
    assert wide.path.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == [wide.path.name]


@pytest.mark.parametrize("seed", [5, 11])
def test_coverage_is_the_share_of_each_cell_that_lies_in_a_figures_box(seed: int) -> None:
    spec = draw(seed, group="single")
    cover = coverage(spec, (6, 10))
    assert cover.shape == (3 + FRAMES, 6, 10)
    assert np.array_equal(cover[0], cover[3]), "the first frame fills its latent frame"
    for frame in (0, 17, FRAMES - 1):
        x, y, side, _ = spec.course(spec.figures[0], np.array([frame / FPS]))
        row, col = np.mgrid[0:96, 0:160] + 0.5  # pixels of a wide clip
        half = side[0] * 96 / 2
        inside = (np.abs(row - y[0] * 96) <= half) & (np.abs(col - x[0] * 160) <= half)
        of_cells = inside.reshape(6, 16, 10, 16).mean((1, 3))
        np.testing.assert_allclose(cover[3 + frame], of_cells, atol=0.08)


def test_errors_where_a_figure_is_count_more(folder: Path) -> None:
    def loss(weight: float) -> float:
        torch.manual_seed(0)
        recipe = replace(SMALL, given_share=0.0, window_share=0.0, figure_weight=weight)
        return transformer_task(folder, recipe).loss(0)["loss"]

    everywhere, double, figures = loss(0.0), loss(1.0), loss(1e6)
    assert figures != pytest.approx(everywhere, rel=1e-2)
    # At weight w the mean is that of both, (everywhere + w s figures) / (1 + w s), where s is the share of the figures.
    share = (everywhere - double) / (double - figures)
    assert 0.02 < share < 0.5


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 9])
def test_given_frames_are_clean_and_some_are_always_asked_for(frames: int, folder: Path) -> None:
    task = transformer_task(folder, replace(SMALL, given_share=1.0))
    sigma = task.levels(400, frames, 0, np.random.default_rng(0))
    assert sigma.shape == (400, frames)
    assert 0 <= sigma.min() <= sigma.max() < 1
    highest = sigma.amax(1, keepdim=True)
    assert (highest > 0).all(), "a clip of given frames alone teaches nothing"
    assert ((sigma == 0) | (sigma == highest)).all(), "the others share their clip's level"
    given = sigma == 0
    if frames <= 2:
        assert given.any() == (frames == 2)
        return
    assert given.any(1).all()
    # From the start, from the end, at both ends, and in between: image-to-video, extending, connecting, filling in.
    assert (given[:, 0] & ~given[:, -1]).any()
    assert (given[:, -1] & ~given[:, 0]).any()
    assert (given[:, 0] & given[:, -1]).any()
    assert (~given[:, 0] & ~given[:, -1]).any()


def test_a_window_inside_a_clip_mostly_has_its_first_frames_given(folder: Path) -> None:
    given = transformer_task(folder).levels(400, 9, 3, np.random.default_rng(0)) == 0
    assert given[:, 0].float().mean() == pytest.approx(0.8, abs=0.08)
    assert not given[:, 5:].any()
    assert (given[:, 1:] <= given[:, :-1]).all(), "without a gap"


def test_windows_are_parts_of_clips_and_say_where_they_begin(folder: Path) -> None:
    whole = transformer_task(folder, replace(SMALL, window_share=0.0))
    parts = transformer_task(folder, replace(SMALL, window_share=1.0))
    times = {1: 8, 2: 4, 3: 3, 5: 1}
    starts, ends = set(), set()
    for step in range(60):
        clip, _, _, _, zero = whole.batch(step, np.random.default_rng(step))
        latent, text, mask, _, start = parts.batch(step, np.random.default_rng(step))
        end = start + latent.shape[2]
        assert zero == 0
        assert torch.equal(latent[: SMALL.batch], clip[:, :, start:end])
        assert len(latent) == len(text) == len(mask) == SMALL.batch * times[end - start], "short: more clips"
        assert mask.any(1).all()
        starts.add(start)
        ends.add(end)
    assert {0, 1} < starts <= set(range(9))
    assert {1, 2, 3, 5, 9} <= ends <= set(range(1, 10)), "from a still picture on"


def test_the_first_steps_see_pictures_only(folder: Path) -> None:
    task = transformer_task(folder, replace(SMALL, picture_steps=3, window_share=0.0))
    frames = [task.batch(step, np.random.default_rng(step))[0].shape[2] for step in range(5)]
    assert frames == [1, 1, 1, 9, 9]


def test_no_frames_are_given_where_the_recipe_wants_none(folder: Path) -> None:
    task = transformer_task(folder, replace(SMALL, given_share=0.0))
    sigma = task.levels(400, 9, 0, np.random.default_rng(0))
    assert (sigma > 0).all()
    logit = torch.logit(sigma[:, 0])
    assert logit.mean() == pytest.approx(SMALL.sigma_mean + math.log(9) / 4, abs=0.15)
    assert logit.std() == pytest.approx(SMALL.sigma_std, abs=0.15)
    picture = torch.logit(task.levels(400, 1, 0, np.random.default_rng(0))[:, 0])
    assert picture.mean() == pytest.approx(SMALL.sigma_mean, abs=0.15)


class Spoiled(Transformer):
    """Adds rubbish to what it says of given frames, and writes down what it was shown."""

    rubbish = 0.0

    def forward(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, text_BLD: Tensor, mask_BL: Tensor, start_B: Tensor
    ) -> Tensor:
        """See `Transformer`."""
        self.shown = (latent_BCFHW, sigma_BF, start_B)
        velocity = super().forward(latent_BCFHW, sigma_BF, text_BLD, mask_BL, start_B)
        return velocity + self.rubbish * (sigma_BF == 0)[:, None, :, None, None]


def test_the_loss_asks_nothing_of_given_frames(folder: Path) -> None:
    recipe = replace(SMALL, given_share=1.0, window_share=0.0)
    network = Spoiled(recipe.config)
    task = transformer_task(folder, recipe, network)
    honest = task.loss(4)
    network.rubbish = 1e3
    assert task.loss(4) == honest
    shown, sigma_BF, start_B = network.shown
    assert (start_B == 0).all()
    clean, *_ = task.batch(4, np.random.default_rng([task.recipe.seed, 4]))
    is_given = (sigma_BF == 0)[:, None, :, None, None].expand_as(clean)
    assert torch.equal(shown[is_given], clean[is_given])
    assert (shown - clean)[~is_given].abs().mean() > 0.1
    # A network that says nothing errs by the variance of noise - x0, over the frames that are asked for.
    assert 1 < honest["loss"] < 4


def test_a_step_draws_the_same_whenever_it_comes(folder: Path) -> None:
    one, other = (transformer_task(folder, network=Spoiled(SMALL.config)) for _ in range(2))
    assert one.loss(0) != one.loss(1)
    assert isinstance(one.network, Spoiled)
    assert isinstance(other.network, Spoiled)
    other.loss(1)
    for mine, theirs in zip(one.network.shown, other.network.shown, strict=True):
        assert torch.equal(mine, theirs)


def test_fields_are_what_the_components_show(folder: Path) -> None:
    """Taken apart and put together, real latents come back; and a picture moved by a field moves by a field."""
    network, autoencoder = Transformer(replace(SMALL.config, field_width=32)), fitted(folder)
    fit_fields(network, autoencoder)
    clip = to_network(render(draw(3))[None, :5])

    def fields(pixels: Tensor) -> Tensor:
        x = autoencoder.encode(pixels).movedim(1, -1)
        nothing = torch.zeros(*x.shape[:-1], SMALL.config.cell_width)
        out = network.refiner.up(torch.cat([x, torch.zeros_like(x), nothing], -1)).unflatten(
            -1, (4, 4, 2, 32)
        )
        assert not out[..., 1, :].any(), "the noisy latent's are others"
        back = network.refiner.down(out[..., 0, :].flatten(-3))
        assert (back - x).norm() < 0.05 * x.norm()
        return rearrange(out[..., 0, :], "b f h w p q c -> b f (h p) (w q) c")

    with torch.no_grad():
        here, there = fields(clip), fields(clip.roll(4, -1))
        here, there = (
            here[..., :4],
            there[..., :4],
        )  # the last components are what blocks leave out, and do not move
        moved, stayed = (there[:, :, :, 1:] - here[:, :, :, :-1]).norm(), (there - here).norm()
    assert moved < 0.5 * stayed


def test_bfloat16_leads_the_same_way(folder: Path) -> None:
    def gradient(*, bfloat16: bool) -> tuple[float, Tensor]:
        torch.manual_seed(0)
        network = Transformer(SMALL.config)
        for parameter in network.parameters():  # those that begin at zero would leave most gradients at zero
            nn.init.normal_(parameter, std=0.05)
        loss = transformer_task(folder, network=network, bfloat16=bfloat16).loss(0)["loss"]
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        assert all(g.dtype == torch.float32 for g in gradients)
        return loss, torch.cat([g.flatten() for g in gradients])

    (loss, exact), (rough_loss, rough) = gradient(bfloat16=False), gradient(bfloat16=True)
    assert rough_loss != loss, "something was rounded"
    assert rough_loss == pytest.approx(loss, rel=0.02)
    assert torch.cosine_similarity(exact, rough, dim=0) > 0.99
