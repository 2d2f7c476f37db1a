"""Defends how the upscaler is trained: pairs fit each other, it learns, and what was trained gets into the weights file
and stays there."""

from __future__ import annotations

import json
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from training_tasks import NEVER, SMALL, autoencoder_in, fitted

from hibari.contracts import InputError
from hibari.models.mini import weights
from hibari.models.mini.transformer import Transformer
from hibari.models.mini.upscaler import SCALE, Upscaler
from hibari.training import data
from hibari.training import upscaler as room
from hibari.training.export import export
from hibari.training.recipes import UPSCALER_RECIPES, upscaler_tiny
from hibari.training.run import Budget, Share
from hibari.training.upscaler import UpscalerTask, quality, ssim

TINY = upscaler_tiny()
WHOLE = slice(None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return autoencoder_in(tmp_path_factory.mktemp("upscaler"))


def test_pairs_are_the_same_moments_small_and_large() -> None:
    pairs = data.pairs(3, clips=2, frames=9, block=4, density=SCALE, rows=WHOLE)
    assert pairs.small.shape == (2, 9, 96, 160, 3), "step 3 is of wide clips"
    assert pairs.large.shape == (2, 2, 384, 640, 3)
    for clip, shown, large in zip(pairs.small, pairs.shown, pairs.large, strict=True):
        assert [(frame - 1) // 4 for frame in shown] == [0, 1], "one of each block"
        for frame, picture in zip(shown, large, strict=True):
            down = cv2.resize(picture, (160, 96), interpolation=cv2.INTER_AREA).astype(float)
            errors = [np.square(down - other).mean() for other in clip]
            assert errors[frame] <= 1.05 * min(errors) + 0.5, "another moment fits better"


def test_processes_share_the_pairs_of_a_step() -> None:
    whole = data.pairs(0, clips=2, frames=5, block=4, density=2, rows=WHOLE)
    second = data.pairs(0, clips=2, frames=5, block=4, density=2, rows=Share(1, 2).rows(2))
    assert len(second.small) == 1
    assert (second.small[0] == whole.small[1]).all()
    assert (second.large[0] == whole.large[1]).all()


def test_the_upscaler_learns(folder: Path) -> None:
    torch.manual_seed(0)
    network = Upscaler(TINY.config)
    task = UpscalerTask(TINY, network, fitted(folder), start=0, workers=0)
    task._batches = repeat(data.pairs(0, clips=2, frames=5, block=4, density=SCALE, rows=WHOLE))
    before = task.loss(0)
    assert before["psnr"] == pytest.approx(before["bicubic"]), "a new one interpolates"
    for step in range(1, 16):
        task.optimizers.step(step / 15)
        task.loss(step)
    after = task.loss(0)
    assert after["bicubic"] == pytest.approx(before["bicubic"]), "the same noise"
    assert after["psnr"] > after["bicubic"] + 0.02
    assert after["l1"] < before["l1"]


def test_a_run_makes_a_checkpoint_and_a_sheet_and_becomes_part_of_the_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, file = tmp_path / "run", folder / "autoencoder.safetensors"
    checkpoint = room.train(TINY, run, file, Budget(steps=2), workers=0, sheet_every_s=NEVER)
    assert checkpoint == run / "checkpoint.pt"
    sheet = np.asarray(Image.open(run / "sheet-000002.png"))
    side = room.SHEET_PX * SCALE
    assert sheet.shape == (room.SHEET_CLIPS * side, 4 * side, 3)
    assert np.ptp(sheet) > 100

    monkeypatch.setattr("hibari.training.export.QUALITY_CLIPS", 2)
    autoencoder = weights.read(file)["autoencoder"]
    base = tmp_path / "base.safetensors"
    networks: dict[str, weights.Network] = {
        "autoencoder": autoencoder,
        "transformer": Transformer(SMALL.config),
    }
    weights.write(base, networks, torch.float16, {})
    base.with_suffix(".json").write_text(
        json.dumps({"autoencoder": {"steps": 1}, "transformer": {"steps": 2}})
    )
    without = export(base, base, tmp_path / "without.safetensors", trained_by="a test")
    assert "upscaler" not in without
    with pytest.raises(InputError, match="holds autoencoder, transformer, and no upscaler"):
        export(base, base, tmp_path / "refused.safetensors", upscaler_run=base, trained_by="a test")
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    facts = export(base, base, first, upscaler_run=run, trained_by="a test")
    assert facts["upscaler"]["steps"] == 2
    assert {"psnr", "ssim", "bicubic_psnr", "bicubic_ssim"} == set(facts["upscaler"]["held_out"])
    again = export(first, base, second, trained_by="a test")
    assert again["upscaler"] == facts["upscaler"], "it comes along with the autoencoder"
    for name, network in weights.read(first).items():
        kept = weights.read(second)[name].state_dict()
        assert all(torch.equal(value, kept[key]) for key, value in network.state_dict().items()), name
    loaded = weights.load(second)[2]
    assert loaded is not None
    assert loaded.config == TINY.config


def test_a_file_without_an_autoencoder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    weights.write(file, {"upscaler": Upscaler(TINY.config)}, torch.float16, {})
    with pytest.raises(InputError, match="holds no autoencoder"):
        room.train(TINY, tmp_path / "run", file, Budget(steps=1), workers=0, sheet_every_s=NEVER)


def test_a_new_upscaler_is_as_good_as_interpolation_and_noise_is_worse(folder: Path) -> None:
    figures = quality(fitted(folder), Upscaler(TINY.config), 2)
    assert figures["psnr"] == pytest.approx(figures["bicubic_psnr"])
    assert figures["ssim"] == pytest.approx(figures["bicubic_ssim"])
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    assert ssim(picture, picture) == pytest.approx(1)
    assert ssim(picture, np.roll(picture, 1, 0)) < 0.3


def test_what_ships_is_small() -> None:
    network = Upscaler(UPSCALER_RECIPES["mini"]().config)
    assert 2 * sum(p.numel() for p in network.parameters()) < 1_000_000, "bytes in half precision"
