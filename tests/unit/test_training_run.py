"""Defends runs: they learn, an interruption leaves no trace, and no process outlives them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from training_tasks import NEVER, SMALL, TINY, autoencoder_in, blank_sheet, fitted, transformer_task

from hibari.contracts import InputError
from hibari.models.mini import weights
from hibari.models.mini.transformer import Transformer
from hibari.training import autoencoder, run, transformer
from hibari.training.autoencoder import (
    AutoencoderTask,
    reconstruction_psnr,
    to_network,
    to_pixels,
)
from hibari.training.run import Budget, fit, steps_made
from hibari.training.transformer import TransformerTask
from hibari.training.world.render import render
from hibari.training.world.spec import draw


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return autoencoder_in(tmp_path_factory.mktemp("training"))


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
    monkeypatch.setattr(run, "LOG_EVERY", 1)
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
    logged = [json.loads(line)["step"] for line in (broken / "log.jsonl").read_text().splitlines()]
    assert logged == [1, 2, 3, 4, 5, 6], "the lost step is logged once"
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
    fit(task, tmp_path, Budget(steps=50), SMALL, sheet_every_s=NEVER)
    assert mean_loss() < 0.85 * before
    assert list(tmp_path.glob("sheet-000050.png"))
