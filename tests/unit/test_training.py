"""Defends training: it learns, what is drawn depends on the step alone, and an interruption leaves no trace."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hibari.contracts import InputError
from hibari.models.mini import weights
from hibari.models.mini.autoencoder import Autoencoder
from hibari.models.mini.text import MAX_TOKENS, TEXT_WIDTH
from hibari.models.mini.transformer import Transformer
from hibari.training import autoencoder, run, transformer
from hibari.training.autoencoder import (
    AutoencoderTask,
    averaged,
    fit_components,
    reconstruction_psnr,
    to_network,
    to_pixels,
)
from hibari.training.data import ShardRequest, coverage, make_shard
from hibari.training.optim import Average, Muon, Optimizers, orthogonalised
from hibari.training.recipes import (
    AUTOENCODER_RECIPES,
    TRANSFORMER_RECIPES,
    TransformerRecipe,
    autoencoder_tiny,
    transformer_tiny,
)
from hibari.training.run import Budget, fit, learning_rate_scale, steps_made
from hibari.training.transformer import TransformerTask
from hibari.training.world.render import FPS, FRAMES, SHAPES, render
from hibari.training.world.spec import draw

NEVER = 1e9  # seconds between contact sheets
TINY = autoencoder_tiny()
# The recipe `tiny`, with shards that are rendered in a second.
SMALL = replace(transformer_tiny(), shard_clips=8)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With `autoencoder.safetensors`, whose linear path is fitted and whose decoder knows nothing; shards go there."""
    folder = tmp_path_factory.mktemp("training")
    torch.manual_seed(0)
    network = Autoencoder(TINY.config)
    fit_components(network, 3)
    weights.write(folder / "autoencoder.safetensors", {"autoencoder": network}, torch.float32, {})
    return folder


def fitted(folder: Path) -> Autoencoder:
    network = weights.read(folder / "autoencoder.safetensors")["autoencoder"]
    assert isinstance(network, Autoencoder)
    return network.requires_grad_(True)


def transformer_task(
    folder: Path, recipe: TransformerRecipe = SMALL, network: Transformer | None = None
) -> TransformerTask:
    network = network or Transformer(recipe.config)
    return TransformerTask(recipe, network, folder / "autoencoder.safetensors", folder / "shards", workers=0)


# ---------------------------------------------------------------- optimizers


@pytest.mark.parametrize("shape", [(48, 48), (32, 96), (96, 32), (16, 200)])
def test_an_update_has_no_strong_and_no_weak_directions(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    count = min(shape)
    left = torch.linalg.qr(torch.randn(shape[0], count, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(shape[1], count, generator=generator))[0]
    gradient = 7 * left @ torch.diag(torch.logspace(-1.5, 0, count)) @ right.T
    update = orthogonalised(gradient)
    assert update.shape == shape
    values = torch.linalg.svdvals(update)
    assert 0.6 < values.min() <= values.max() < 1.25
    # The directions stay: only their strengths change.
    strengths = left.T @ update @ right
    assert (strengths - torch.diag(strengths.diagonal())).abs().max() < 1e-3
    assert orthogonalised(torch.zeros(shape)).abs().max() == 0


@pytest.mark.parametrize("shape", [(48, 32), (24, 16, 3, 3)])
def test_a_muon_step_is_as_large_as_one_of_adam(shape: tuple[int, ...]) -> None:
    parameter = nn.Parameter(torch.zeros(shape))
    parameter.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-4
    Muon([parameter], lr=0.5, momentum=0.95, weight_decay=0).step()
    assert parameter.square().mean().sqrt().item() == pytest.approx(0.5 * 0.2, rel=0.3)
    assert (parameter * parameter.grad).sum() < 0, "downhill"


def _step_together(folder: Path, share: run.Share) -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in ((24, 16), (16, 40), (32, 16, 3, 3))]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    Muon(parameters, lr=0.5, momentum=0.95, weight_decay=0).step()
    torch.save([parameter.detach() for parameter in parameters], folder / f"{share.rank}.pt")


def test_processes_that_share_the_work_of_a_muon_step_all_have_its_result(tmp_path: Path) -> None:
    run.share_out(partial(_step_together, tmp_path), 2)
    _step_together(tmp_path, run.Share(rank=2, count=3))  # alone
    shared, also, alone = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(3))
    for here, there, whole in zip(shared, also, alone, strict=True):
        assert torch.equal(here, there)
        torch.testing.assert_close(here, whole)


def names_of(network: nn.Module, optimizer: torch.optim.Optimizer) -> set[str]:
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return {name for name, parameter in network.named_parameters() if id(parameter) in held}


def test_hidden_matrices_go_to_muon_and_everything_to_one_of_the_two(folder: Path) -> None:
    network = Transformer(SMALL.config)
    optimizers = transformer_task(folder, network=network).optimizers
    muon, adam = names_of(network, optimizers.muon), names_of(network, optimizers.adam)
    assert muon | adam == {name for name, _ in network.named_parameters()}
    assert not muon & adam
    assert {
        "blocks.0.mlp_in.weight",
        "blocks.1.attention.query_key_value.weight",
        "modulation.weight",
    } <= muon
    assert {"latent_in.weight", "latent_out.weight", "text_in.weight", "text_null", "blocks.0.table"} <= adam
    assert {"place.2.weight", "sigma_in.0.weight", "final_modulation.weight", "pooled_in.weight"} <= adam
    assert all(network.get_parameter(name).ndim >= 2 for name in muon)

    decoder = Autoencoder(TINY.config)
    optimizers = Optimizers(
        decoder, lr=1, adam_lr=1, weight_decay=0, adam_for=("decoder.stem", "decoder.head")
    )
    muon, adam = names_of(decoder, optimizers.muon), names_of(decoder, optimizers.adam)
    assert muon | adam == {name for name, _ in decoder.named_parameters()}
    assert {"decoder.stem.weight", "decoder.head.weight", "decoder.norm.gain"} <= adam
    assert {"decoder.stage_3.0.conv_in.weight", "decoder.up_1.weight"} <= muon


def test_a_step_scales_both_rates_and_clears_the_gradients() -> None:
    def moved(scale: float) -> list[Tensor]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(16, 16))
        before = [parameter.detach().clone() for parameter in network.parameters()]
        optimizers = Optimizers(network, lr=0.1, adam_lr=0.1, weight_decay=0, adam_for=())
        network(torch.randn(4, 16, generator=torch.Generator().manual_seed(1))).square().sum().backward()
        optimizers.step(scale)
        assert all(parameter.grad is None for parameter in network.parameters())
        return [p.detach() - b for p, b in zip(network.parameters(), before, strict=True)]

    for whole, half in zip(moved(1.0), moved(0.5), strict=True):
        assert whole.abs().max() > 0
        torch.testing.assert_close(half, whole / 2, atol=1e-6, rtol=1e-4)


def test_averages_forget_the_random_start_and_then_change_slowly() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = Average(network, (0.9, 0.999))
    nn.init.ones_(network.weight)
    average.update(network, 1)
    young = [shadow["weight"].item() for shadow in average.shadows]
    assert young == pytest.approx([9 / 11, 9 / 11])
    nn.init.zeros_(network.weight)
    average.update(network, 10**6)
    old = [shadow["weight"].item() for shadow in average.shadows]
    assert old == pytest.approx([0.9 * 9 / 11, 0.999 * 9 / 11])
    with averaged(network, average, 0):
        assert network.weight.item() == pytest.approx(0.9 * 9 / 11)
    assert network.weight.item() == 0, "its own weights are back"


def test_the_rate_warms_up_holds_and_cools_down() -> None:
    assert learning_rate_scale(0, 0) == pytest.approx(1 / 50)
    assert learning_rate_scale(49, 0.01) == learning_rate_scale(1000, 0.59) == 1
    assert learning_rate_scale(1000, 0.8) == pytest.approx(0.5)
    assert learning_rate_scale(1000, 0.999) == pytest.approx(0.02)


def test_a_budget_is_minutes_or_steps() -> None:
    assert Budget(minutes=2).progress(10**6, 60) == 0.5
    assert Budget(steps=10).progress(5, 1e9) == 0.5
    assert Budget(steps=10).progress(11, 0) == 1
    for wrong in ({}, {"minutes": 1, "steps": 1}):
        with pytest.raises(ValueError, match="either minutes or steps"):
            Budget(**wrong)


def test_recipes_fit_together() -> None:
    for name, recipe in TRANSFORMER_RECIPES.items():
        latents = AUTOENCODER_RECIPES[name]().config.latent_channels
        assert (recipe().config.latent_channels, recipe().config.text_width) == (latents, TEXT_WIDTH)


# ---------------------------------------------------------------- shards


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


# ---------------------------------------------------------------- noise levels


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
    assert logit.mean() == pytest.approx(SMALL.sigma_mean + math.log(9) / 2, abs=0.15)
    assert logit.std() == pytest.approx(SMALL.sigma_std, abs=0.15)
    picture = torch.logit(task.levels(400, 1, 0, np.random.default_rng(0))[:, 0])
    assert picture.mean() == pytest.approx(SMALL.sigma_mean, abs=0.15)


def test_a_run_begins_with_the_weights_that_it_is_given(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    network, file = Transformer(SMALL.config), tmp_path / "earlier.safetensors"
    weights.write(file, {"transformer": network}, torch.float32, {})
    file.with_suffix(".json").write_text(json.dumps({"transformer": {"steps": 7}}))
    run_folder = tmp_path / "run"
    checkpoint = transformer.train(
        replace(SMALL, lr=0.0, adam_lr=0.0), run_folder, folder / "autoencoder.safetensors", Budget(steps=1),
        workers=0, sheet_every_s=NEVER, start_from=file,
    )  # fmt: skip
    state = torch.load(checkpoint, weights_only=True)
    for name, parameter in network.named_parameters():
        assert torch.equal(state["network"][name], parameter)
        assert torch.equal(state["average"][0][name], parameter), "the average begins there too"
    start = json.loads((run_folder / "start.json").read_text())
    assert (start["file"], start["transformer"]) == (file.name, {"steps": 7})

    other = replace(SMALL, config=replace(SMALL.config, width=32))
    with pytest.raises(InputError, match="holds no transformer of the recipe's sizes"):
        transformer.train(
            other, tmp_path / "other", folder / "autoencoder.safetensors", Budget(steps=1),
            workers=0, sheet_every_s=NEVER, start_from=file,
        )  # fmt: skip


ORPHAN = """
import multiprocessing, os, time
from hibari.training.data import end_with_parent

def child(pipe):
    end_with_parent()
    pipe.send(os.getpid())
    time.sleep(60)

if __name__ == "__main__":
    here, there = multiprocessing.get_context("fork").Pipe()
    multiprocessing.get_context("fork").Process(target=child, args=(there,)).start()
    print(here.recv(), flush=True)
    time.sleep(60)
"""


def test_a_process_ends_with_the_one_that_was_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, 0)  # it is there
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        if not is_running(child):
            break
        time.sleep(0.1)
    assert not is_running(child)
    parent.stdout.close()


TOGETHER = """
import os, time
from hibari.training.run import Share, share_out

def work(share):
    os.write(1, b"%d\\n" % share.rank)  # one call: two that print at once would mix their lines
    time.sleep(60)

if __name__ == "__main__":
    share_out(work, 2)
"""


def test_ctrl_c_ends_all_processes_that_share_a_run(tmp_path: Path) -> None:
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout is not None
    assert sorted(parent.stdout.readline() for _ in range(2)) == ["0\n", "1\n"]
    parent.send_signal(signal.SIGINT)
    parent.wait(timeout=30)
    assert parent.stdout.read() == "", "nobody holds the other end any more"
    parent.stdout.close()


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie that nobody has asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


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
    clean, *_ = task.batch(4, np.random.default_rng([13, 4]))
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


# ---------------------------------------------------------------- runs


def blank_sheet() -> np.ndarray:
    return np.zeros((8, 8, 3), np.uint8)


class PowerCut(Exception):
    pass


def an_autoencoder_run(folder: Path, at: Path) -> AutoencoderTask:
    recipe = replace(TINY, clips_per_step=1)
    return AutoencoderTask(recipe, fitted(folder), start=steps_made(at), workers=0)


def a_transformer_run(folder: Path, at: Path) -> TransformerTask:
    return transformer_task(folder)


TaskMaker = Callable[[Path, Path], AutoencoderTask | TransformerTask]


@pytest.mark.parametrize("make", [an_autoencoder_run, a_transformer_run])
def test_an_interrupted_run_ends_with_the_same_bits(
    make: TaskMaker, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(at: Path) -> AutoencoderTask | TransformerTask:
        task = make(folder, at)
        monkeypatch.setattr(task, "sheet", blank_sheet)
        return task

    budget, whole, broken = Budget(steps=6), tmp_path / "whole", tmp_path / "broken"
    torch.manual_seed(0)
    undisturbed = begun(whole)
    fit(undisturbed, whole, budget, undisturbed.recipe, sheet_every_s=NEVER)

    torch.manual_seed(0)
    task = begun(broken)
    loss = task.loss

    def until_step_4(step: int) -> dict[str, float]:
        if step == 4:
            raise PowerCut
        if step == 3:
            # The last checkpoint is of step 3; what comes after it is lost.
            monkeypatch.setattr(run, "CHECKPOINT_EVERY_S", NEVER)
        return loss(step)

    monkeypatch.setattr(run, "CHECKPOINT_EVERY_S", -1.0)
    monkeypatch.setattr(task, "loss", until_step_4)
    with pytest.raises(PowerCut):
        fit(task, broken, budget, task.recipe, sheet_every_s=NEVER)
    assert steps_made(broken) == 3

    torch.manual_seed(99)  # the new process starts with other weights, and must not keep any of them
    resumed = begun(broken)
    with torch.no_grad():
        for parameter in resumed.network.parameters():
            parameter.add_(1)
    outcome = fit(resumed, broken, budget, resumed.recipe, sheet_every_s=NEVER)
    assert outcome["step"] == steps_made(broken) == 6
    assert_same(
        torch.load(broken / "checkpoint.pt", weights_only=True),
        torch.load(whole / "checkpoint.pt", weights_only=True),
    )


def assert_same(one: object, other: object, place: str = "") -> None:
    """Two checkpoints are equal to the bit, but for the time that they took."""
    if isinstance(one, dict):
        assert isinstance(other, dict)
        assert one.keys() == other.keys(), place
        for key in one.keys() - {"elapsed_s"}:
            assert_same(one[key], other[key], f"{place}/{key}")
    elif isinstance(one, list | tuple):
        assert isinstance(other, list | tuple)
        assert len(one) == len(other), place
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{place}/{index}")
    elif isinstance(one, Tensor):
        assert isinstance(other, Tensor)
        assert torch.equal(one, other), place
    else:
        assert one == other, place


def test_a_folder_belongs_to_one_recipe(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = transformer_task(folder)
    monkeypatch.setattr(task, "sheet", blank_sheet)
    fit(task, tmp_path, Budget(steps=1), SMALL, sheet_every_s=NEVER)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"another recipe \(see .*recipe\.json\); give another folder"):
        fit(task, tmp_path, Budget(steps=2), replace(SMALL, batch=9), sheet_every_s=NEVER)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_autoencoder_in_the_folder_is_the_users_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "autoencoder.safetensors").write_bytes((folder / "autoencoder.safetensors").read_bytes())
    (tmp_path / "recipe.json").write_text("{}")
    other = replace(TINY, config=replace(TINY.config, widths=(8, 12, 16)))
    with pytest.raises(InputError, match="another recipe"):
        autoencoder.train(other, tmp_path, Budget(steps=1), workers=0, sheet_every_s=NEVER)


def test_the_log_says_means_and_sheets_come_in_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = transformer_task(folder)
    monkeypatch.setattr(task, "sheet", blank_sheet)
    losses = []
    loss = task.loss

    def noted(step: int) -> dict[str, float]:
        losses.append(loss(step)["loss"])
        return {"loss": losses[-1]}

    monkeypatch.setattr(task, "loss", noted)
    monkeypatch.setattr(run, "LOG_EVERY", 2)
    figures = fit(task, tmp_path, Budget(steps=4), SMALL, sheet_every_s=-1)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert [line["loss"] for line in lines] == pytest.approx(
        [np.mean(losses[:2]), np.mean(losses[2:])], abs=1e-5
    )
    assert figures["step"] == 4
    sheets = sorted(path.name for path in tmp_path.glob("sheet-*.png"))
    assert sheets == [f"sheet-{step:06d}.png" for step in (1, 2, 3, 4)]


# ---------------------------------------------------------------- learning


def test_the_components_are_the_best_linear_way(folder: Path) -> None:
    network = fitted(folder)
    torch.testing.assert_close(network.basis.T @ network.basis, torch.eye(64), atol=1e-4, rtol=0)
    assert (network.component_std.diff() <= 0).all(), "the strongest first"
    clip = render(draw(2_000_000_000, "held_out"))
    with torch.no_grad():
        back = to_pixels(network.decode(network.encode(to_network(clip[None]))))[0]
    error = np.square(clip.astype(np.float32) - back).mean()
    flat = np.square(clip - clip.astype(np.float32).mean((1, 2), keepdims=True)).mean()
    assert error < 0.15 * flat


def test_the_autoencoder_learns_more_than_its_linear_path(folder: Path, tmp_path: Path) -> None:
    recipe = replace(TINY, lr=2e-2, adam_lr=2e-2)  # ten times as fast, for a run of seconds
    network = fitted(folder)
    linear = reconstruction_psnr(network, 2)
    fit(
        AutoencoderTask(recipe, network, start=0, workers=0),
        tmp_path, Budget(steps=60), recipe, sheet_every_s=NEVER,
    )  # fmt: skip
    assert reconstruction_psnr(network, 2) > linear + 0.05
    assert list(tmp_path.glob("sheet-000060.png"))


def test_the_transformer_learns(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = transformer_task(folder)
    steps = range(10_000, 10_008)  # batches that the run does not draw

    def mean_loss() -> float:
        losses = [task.loss(step)["loss"] for step in steps]
        task.network.zero_grad(set_to_none=True)
        return float(np.mean(losses))

    before = mean_loss()
    fit(task, tmp_path, Budget(steps=90), SMALL, sheet_every_s=NEVER)
    assert mean_loss() < 0.85 * before
    assert list(tmp_path.glob("sheet-000090.png"))
