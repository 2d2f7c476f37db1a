"""Defends the optimizers, the averages and the budget of a training run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from training_tasks import SMALL, TINY, autoencoder_in, transformer_task

from hibari.models.mini.autoencoder import Autoencoder
from hibari.models.mini.text import TEXT_WIDTH
from hibari.models.mini.transformer import Transformer
from hibari.training import run
from hibari.training.autoencoder import (
    averaged,
)
from hibari.training.optim import Average, Muon, Optimizers, orthogonalised
from hibari.training.recipes import (
    AUTOENCODER_RECIPES,
    TRANSFORMER_RECIPES,
)
from hibari.training.run import Budget, learning_rate_scale


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return autoencoder_in(tmp_path_factory.mktemp("training"))


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
        latents = AUTOENCODER_RECIPES["mini" if name == "fast" else name]().config.latent_channels
        assert (recipe().config.latent_channels, recipe().config.text_width) == (latents, TEXT_WIDTH)
