"""Ours and the reference in turn, each time in a process of its own, so that peaks of memory are true and whatever else
the machine does meanwhile meets both."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from hibari.bench import measure
from hibari.bench.measure import Wish
from hibari.contracts import OutOfMemory
from hibari.engine.recipe import versions
from hibari.engine.runtime import prepare_torch
from hibari.settings import Settings

UNITS = {
    "step_s": ("a step", "s", 1.0),
    "decode_s": ("decoding", "s", 1.0),
    "step_peak_bytes": ("peak, steps", "MB", 2.0**20),
    "decode_peak_bytes": ("peak, decoding", "MB", 2.0**20),
    "decode_added_bytes": ("decoding adds", "MB", 2.0**20),
    "step_flops": ("counted work a step", "TFLOP", 1e12),
}


@dataclass(frozen=True, slots=True)
class Ratio:
    """Reference to ours, pair by pair: above 1 is where ours takes less."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"

    @staticmethod
    def of(pairs: Iterable[tuple[float, float]]) -> Ratio:
        """Of pairs of ours and the reference's; at least one."""
        ratios = [theirs / ours for ours, theirs in pairs]
        return Ratio(median(ratios), min(ratios), max(ratios))


@dataclass(frozen=True, slots=True)
class Report:
    """What came out.

    Attributes:
        wish: what was measured.
        machine: processor or GPU, threads, and versions.
        sides: "ours" and, where there is one, the reference: each run's costs by their names in `measure.Cost`.
        difference: the largest of the two latents', after the last step; None without a reference.
    """

    wish: Wish
    machine: str
    sides: Mapping[str, Sequence[Mapping[str, float]]]
    difference: float | None

    def of(self, side: str, what: str) -> float:
        """The median over a side's runs; of work, which is counted once, the count."""
        runs = [run[what] for run in self.sides[side]]
        return max(runs) if what == "step_flops" else median(runs)

    def ratio(self, what: str) -> Ratio | None:
        """Of the pairs, which ran one after the other."""
        if len(self.sides) < 2:
            return None
        pairs = zip(*(runs for runs in self.sides.values()), strict=True)
        known = [(ours[what], theirs[what]) for ours, theirs in pairs if ours[what]]
        return Ratio.of(known) if known else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        ratios = {what: asdict(ratio) for what in UNITS if (ratio := self.ratio(what))}
        return {
            "wish": asdict(self.wish),
            "machine": self.machine,
            "medians": {side: {what: self.of(side, what) for what in UNITS} for side in self.sides},
            "runs": {side: [dict(run) for run in runs] for side, runs in self.sides.items()},
            "ratios": ratios,
            "latent_difference": self.difference,
        }

    def markdown(self) -> str:
        """A table, and under it what belongs to it."""
        sides = [*self.sides]
        compared = len(sides) > 1
        head = ["", *sides] + (["ratio (least to most)"] if compared else [])
        lines = [head, ["---"] * len(head)]
        for what, (name, unit, divisor) in UNITS.items():
            row = [name, *(f"{_figure(self.of(side, what) / divisor)} {unit}" for side in sides)]
            if compared:
                row.append(str(self.ratio(what) or ""))
            lines.append(row)
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        wish = self.wish
        said = (
            f"{Path(wish.model).name}: {wish.frames} frames at {wish.size[0]}x{wish.size[1]}, guidance "
            f"{wish.guidance:g}, {wish.steps} steps in each of {len(self.sides['ours'])} processes a side; "
            f"{self.machine}."
        )
        if self.difference is not None:
            said += f" The latents after the last step differ by at most {self.difference:.1e}."
        return f"{table}\n\n{said}"


def _figure(value: float) -> str:
    """Three digits, and never an exponent where there are more before the point."""
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def compare(
    wish: Wish, against: str | None, *, repeat: int, told: Callable[[str], None] = lambda _: None
) -> Report:
    """Measure so many times, each side in turn.

    Args:
        against: name of the reference; None for ours alone.
        told: is told what is going on.

    Raises:
        HibariError: what either side says, or a process was killed, most likely for its memory.
    """
    names = ["ours", against] if against else ["ours"]
    sides: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with TemporaryDirectory(prefix="hibari-") as folder:
        for turn in range(repeat):
            for name in names:
                told(f"measuring {name}, {turn + 1} of {repeat}")
                latent = Path(folder) / name
                sides[name].append(_apart(_measured, name == "ours", wish, latent, turn == 0))
        difference = _difference(*(Path(folder) / name for name in names)) if against else None
    return Report(wish, machine(), sides, difference)


def _apart(work: Callable[..., Any], *args: Any) -> Any:
    """What `work` returns or raises in a process of its own.

    Raises:
        OutOfMemory: the process was killed.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(work, *args).result()
        except BrokenProcessPool as error:
            raise OutOfMemory(
                "the process that measured was killed, most likely because memory ran out; try fewer frames, a "
                "smaller size or a smaller model"
            ) from error


def _measured(is_ours: bool, wish: Wish, latent_file: Path, count_flops: bool) -> dict[str, float]:
    side = measure.ours if is_ours else measure.reference
    cost, latent = side(wish, prepare_torch(Settings.from_environment()), count_flops=count_flops)
    torch.save(latent, latent_file)
    return cost.as_dict()


def _difference(ours: Path, theirs: Path) -> float:
    one, other = torch.load(ours), torch.load(theirs)
    return float((one - other).abs().max())


def machine() -> str:
    """Processor or GPU, threads, and torch's version."""
    device = prepare_torch(Settings.from_environment())
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    processor = next(named, platform.machine())
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else processor
    return f"{what}, {torch.get_num_threads()} threads, torch {versions()['torch']}"
