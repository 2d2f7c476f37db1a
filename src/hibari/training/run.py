"""The loop around every training run: budget, learning rate, checkpoints, log, contact sheets.

A run's folder holds `recipe.json`, `log.jsonl` (a line every few steps), `sheet-*.png` and `checkpoint.pt`, from
which the same command goes on. What is drawn in step n depends on n alone, so that a run with a budget in steps ends
with the same bits whether or not it was interrupted; a budget in minutes ties the learning rate to the clock.
"""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import distributed, nn

from hibari.contracts import InputError
from hibari.training.data import end_with_parent
from hibari.training.optim import Average, Optimizers

LOG_EVERY = 20  # steps
CHECKPOINT_EVERY_S = 120.0


@dataclass(frozen=True)
class Budget:
    """When a run ends: after `minutes` of training (pauses not counted) or after `steps`, whichever is set."""

    minutes: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("a budget is either minutes or steps")

    def progress(self, step: int, elapsed_s: float) -> float:
        """Share of the budget that is used up, 0 to 1."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        assert self.minutes is not None
        return min(1.0, elapsed_s / (60 * self.minutes))


class Task(Protocol):
    """What a run trains."""

    optimizers: Optimizers
    average: Average

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        ...

    def loss(self, step: int) -> dict[str, float]:
        """Forward and backward of step `step` (from 0); leaves gradients; returns figures for the log."""
        ...

    def sheet(self) -> np.ndarray:
        """A contact sheet, uint8 RGB [height, width, 3], of the averaged weights."""
        ...


@dataclass(frozen=True)
class Share:
    """Which part of each batch this process takes: rows `rank`, `rank + count`, ... Alone, all of it.

    On a CPU two processes of one thread each get more done than one of two threads, since they meet once a step and not
    at every operation.
    """

    rank: int = 0
    count: int = 1

    def rows(self, batch: int) -> slice:
        """Its rows of a batch."""
        if batch % self.count:
            raise InputError(
                f"a batch of {batch} cannot be shared by {self.count} processes; choose a divisor"
            )
        return slice(self.rank, None, self.count)


def share_out(work: Callable[[Share], None], processes: int) -> None:
    """Run `work` in so many processes that average their gradients in `fit`; returns when all are done.

    `work` must be picklable. The first process writes; an error in any of them ends all, and so does the end of this
    process, however it comes.
    """
    if processes == 1:
        work(Share())
        return
    together = torch.multiprocessing.spawn(  # pyright: ignore[reportPrivateImportUsage]
        _join, (processes, _free_port(), work), nprocs=processes, join=False
    )
    assert together is not None, "there is a context, since it does not join"
    try:
        while not together.join():
            pass
    finally:  # Ctrl-C and the like: Python would wait for them to finish their work before it ends
        for process in together.processes:
            process.kill()  # pyright: ignore[reportAttributeAccessIssue]


def _join(rank: int, count: int, port: int, work: Callable[[Share], None]) -> None:
    end_with_parent()
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=count, timeout=timedelta(hours=1)
    )
    try:
        work(Share(rank, count))
    finally:
        distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _average_gradients(network: nn.Module) -> None:
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def learning_rate_scale(
    step: int, progress: float, *, warmup_steps: int = 50, decay_from: float = 0.6
) -> float:
    """Linear warm-up, flat, then linear decay to 2 % over the last part of the budget."""
    warm = min(1.0, (step + 1) / warmup_steps)
    cool = 1.0 if progress < decay_from else max(0.02, (1 - progress) / (1 - decay_from))
    return warm * cool


def fit(
    task: Task, folder: Path, budget: Budget, recipe: Any, *, sheet_every_s: float, clip_norm: float = 1.0
) -> dict[str, Any]:
    """Train until the budget is used up, going on from the folder's checkpoint if it has one.

    Returns:
        The last checkpoint's numbers: step, elapsed_s, and the last logged figures.

    Raises:
        InputError: if the folder belongs to another recipe.
    """
    together = distributed.is_initialized()
    writes = not together or distributed.get_rank() == 0
    if writes:
        check_recipe(folder, recipe)
    step, elapsed_s = _resume(task, folder / "checkpoint.pt")
    if writes:
        _rewind(folder / "log.jsonl", step)
    last = saved = sheeted = time.monotonic()
    figures: dict[str, float] = {}
    window: list[dict[str, float]] = []
    with (folder / "log.jsonl").open("a") as log:
        while True:
            if together:  # one clock for all: they must agree on the learning rate and on the end
                clock = torch.tensor(elapsed_s, dtype=torch.float64)
                distributed.broadcast(clock, 0)
                elapsed_s = clock.item()
            if (progress := budget.progress(step, elapsed_s)) >= 1:
                break
            window.append(task.loss(step))
            if together:
                _average_gradients(task.network)
            norm = nn.utils.clip_grad_norm_(task.network.parameters(), clip_norm)
            scale = learning_rate_scale(step, progress)
            task.optimizers.step(scale)
            step += 1
            task.average.update(task.network, step)
            now = time.monotonic()
            elapsed_s += now - last
            last = now
            if not writes:
                continue
            if step % LOG_EVERY == 0:
                figures = {name: sum(line[name] for line in window) / len(window) for name in window[0]}
                window = []
                line = {"step": step, "minutes": round(elapsed_s / 60, 3), "lr": round(scale, 4)}
                line |= {name: round(value, 5) for name, value in figures.items()} | {
                    "norm": round(float(norm), 4)
                }
                print(json.dumps(line), file=log, flush=True)
            if now - sheeted > sheet_every_s:
                Image.fromarray(task.sheet()).save(folder / f"sheet-{step:06d}.png")
                last = sheeted = time.monotonic()  # the time for looking is not training time
            if now - saved > CHECKPOINT_EVERY_S:
                _save(task, folder / "checkpoint.pt", step, elapsed_s)
                last = saved = time.monotonic()
    if writes:
        _save(task, folder / "checkpoint.pt", step, elapsed_s)
        Image.fromarray(task.sheet()).save(folder / f"sheet-{step:06d}.png")
    return {"step": step, "elapsed_s": elapsed_s, **figures}


def steps_made(folder: Path) -> int:
    """Steps behind the checkpoint of a run's folder; 0 where there is none."""
    path = folder / "checkpoint.pt"
    return torch.load(path, weights_only=True)["step"] if path.exists() else 0


def check_recipe(folder: Path, recipe: Any) -> None:
    """Make the folder this recipe's, or see that it is.

    Raises:
        InputError: if it belongs to another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.json"
    wanted = json.dumps(asdict(recipe), indent=2, sort_keys=True)
    if not path.exists():
        path.write_text(wanted)
    elif path.read_text() != wanted:
        raise InputError(
            f"{folder} holds a run of another recipe (see {path}); give another folder or remove it"
        )


def record_start(folder: Path, start_from: Path, teacher: Path | None = None) -> None:
    """Write `start.json`: the weights file that a run begins with, the steps and minutes that its card tells, and the
    file of its teacher where that is another."""
    card_path = start_from.with_suffix(".json")
    card = json.loads(card_path.read_text()) if card_path.exists() else {}
    facts = {
        "file": start_from.name,
        "sha256": hashlib.sha256(start_from.read_bytes()).hexdigest(),
        "transformer": card.get("transformer", "unknown: the file has no card"),
    }
    if teacher:
        facts["teacher"] = {"file": teacher.name, "sha256": hashlib.sha256(teacher.read_bytes()).hexdigest()}
    (folder / "start.json").write_text(json.dumps(facts, indent=2, sort_keys=True))


def _save(task: Task, path: Path, step: int, elapsed_s: float) -> None:
    state = {
        "network": task.network.state_dict(),
        "optimizers": task.optimizers.state_dict(),
        "average": task.average.shadows,
        "step": step,
        "elapsed_s": elapsed_s,
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def _rewind(path: Path, step: int) -> None:
    """Drop the log's lines of steps after `step`: they are made again."""
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= step]
        path.write_text("".join(line + "\n" for line in lines))


def _resume(task: Task, path: Path) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    task.network.load_state_dict(state["network"])
    task.optimizers.load_state_dict(state["optimizers"])
    task.average.shadows = state["average"]
    return state["step"], state["elapsed_s"]
