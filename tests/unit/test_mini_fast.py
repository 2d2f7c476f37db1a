"""Defends the way of hibari-mini-fast: made of a teacher, written without a second autoencoder, and loaded only with
the one that it was made for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_tasks import SMALL, autoencoder_in, fitted

from hibari import catalog
from hibari.cli import main
from hibari.contracts import GenerationRequest, InputError, WeightsError
from hibari.engine import generate
from hibari.models import manifest
from hibari.models.mini import weights
from hibari.models.mini.load import load
from hibari.models.mini.model import Mini
from hibari.models.mini.transformer import Transformer
from hibari.training import recipes
from hibari.training.export import export
from hibari.training.recipes import DistilRecipe

FAST = DistilRecipe(
    **{**vars(SMALL), "batch": 2}, steps=4, teacher_steps=2, guidance=3.0, shift=2.5, mixed_share=0.25
)
CPU = torch.device("cpu")
FILE = "small-fast.safetensors"
SPEC = replace(
    catalog.spec("mini"),
    name="small-fast",
    weights=FILE,
    default_steps=4,
    default_guidance=1.0,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """Of small.safetensors, a whole model, and small-fast.safetensors, which two steps made of it."""
    folder = autoencoder_in(tmp_path_factory.mktemp("fast"))
    torch.manual_seed(1)
    teacher = folder / "small.safetensors"
    weights.ship(teacher, {"autoencoder": fitted(folder), "transformer": Transformer(SMALL.config)}, {})
    teacher.with_suffix(".json").write_text(json.dumps({"autoencoder": {"steps": 0}, "transformer": {}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipes.TRANSFORMER_RECIPES, "fast", lambda: FAST)
        run = ["--from", str(teacher), "--autoencoder", str(teacher), "--folder", str(folder / "run")]
        assert (
            main(["train", "transformer", "--recipe", "fast", *run, "--budget-steps", "2", "--workers", "0"])
            == 0
        )
    shipped = ["train", "export", str(folder / FILE), "--autoencoder", str(teacher)]
    assert main([*shipped, "--transformer", str(folder / "run"), "--transformer-only"]) == 0
    return folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what ships, where the loader looks."""
    for path in (*folder.glob("*.safetensors"), folder / manifest.MANIFEST):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    return tmp_path


def test_the_file_holds_the_transformer_alone_and_its_card_says_from_whom(folder: Path) -> None:
    fast = folder / FILE
    networks = weights.read(fast)
    assert list(networks) == ["transformer"]
    trained = torch.load(folder / "run" / "checkpoint.pt", weights_only=True)["average"][-1]
    for name, parameter in networks["transformer"].named_parameters():
        assert torch.equal(parameter, trained[name].half().float())
    card = json.loads(fast.with_suffix(".json").read_text())
    assert card["transformer"]["recipe"]["steps"] == 4
    assert card["transformer"]["started_from"]["file"] == "small.safetensors"
    assert card["autoencoder"]["borrows"] == "small.safetensors"
    assert list(card["parameters"]) == ["transformer"]


def test_it_makes_clips_with_the_other_files_autoencoder_in_four_steps(copy: Path) -> None:
    model = load(SPEC, device=CPU)
    assert isinstance(model, Mini)
    assert model.weights_sha256 == manifest.check(copy / FILE)
    lent = weights.read(copy / "small.safetensors")["autoencoder"].state_dict()
    for name, tensor in model._autoencoder.state_dict().items():
        assert torch.equal(tensor, lent[name].to(tensor.dtype))
    request = GenerationRequest.resolve(SPEC, "a red balloon", seed=7, seconds=1)
    assert (request.steps, request.guidance_scale) == (4, 1.0)
    clip = generate(model, request)
    assert np.stack(list(clip.frames)).shape[1:] == (128, 128, 3)
    assert clip.recipe.weights_sha256 == model.weights_sha256


def test_another_autoencoder_is_refused_and_another_transformer_beside_it_is_not(
    folder: Path, copy: Path
) -> None:
    lender = copy / "small.safetensors"
    networks = weights.read(lender)
    torch.manual_seed(2)
    weights.ship(lender, {**networks, "transformer": Transformer(SMALL.config)}, {})
    load(SPEC, device=CPU)
    networks["autoencoder"].state_dict()["mean"].add_(0.1)
    weights.ship(lender, networks, {})
    with pytest.raises(WeightsError, match=r"trained for the autoencoder .*take both files from one version"):
        load(SPEC, device=CPU)
    weights.ship(lender, {"transformer": networks["transformer"]}, {})
    with pytest.raises(WeightsError, match="take both files from one version"):
        load(SPEC, device=CPU)


def test_a_lender_that_is_missing_or_damaged_is_refused(copy: Path) -> None:
    lender = copy / "small.safetensors"
    content = bytearray(lender.read_bytes())
    content[-100] ^= 255
    lender.write_bytes(content)
    with pytest.raises(WeightsError, match=r"small\.safetensors are damaged"):
        load(SPEC, device=CPU)
    lender.unlink()
    with pytest.raises(WeightsError, match=r"small\.safetensors are missing"):
        load(SPEC, device=CPU)


def test_without_a_weights_file_beside_it_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere.safetensors"
    with pytest.raises(InputError, match="beside"):
        export(folder / "small.safetensors", folder / "run", out, transformer_only=True, trained_by="")
    with pytest.raises(InputError, match="beside"):
        export(folder, folder / "run", out, transformer_only=True, trained_by="")
    assert not out.exists()


def test_a_run_can_be_averaged_with_a_weights_file(folder: Path, tmp_path: Path) -> None:
    teacher, out = folder / "small.safetensors", tmp_path / "mean.safetensors"
    facts = export(teacher, folder / "run", out, mean_with=teacher, trained_by="")
    assert facts["transformer"]["mean_with"] == manifest.check(teacher)
    began = weights.read(teacher)["transformer"].state_dict()
    ended = weights.read(folder / FILE)["transformer"].state_dict()
    for name, tensor in weights.read(out)["transformer"].named_parameters():
        torch.testing.assert_close(tensor, (began[name] + ended[name]) / 2, atol=1e-3, rtol=1e-3)
    assert any(not torch.equal(began[name], ended[name]) for name in began)
    with pytest.raises(InputError, match="holds no transformer of the same sizes"):
        export(
            teacher, folder / "run", out, mean_with=weights.FOLDER / "hibari-mini.safetensors", trained_by=""
        )
