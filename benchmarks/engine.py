"""What the engine promises beyond one clip: many at once, little overhead, and nothing lost or left behind.

Each measurement compares two ways within one run, so that a busy machine slows both. The first run of anything is
thrown away.

    load      8 requests (4 s and 2 s, square and landscape) that arrive faster than one alone can be made: the engine
              against the plain loop, which makes one after the other in the order of arrival
    overhead  one request through the engine, with and without previews, against the bare sampler
    rows      time of a row of a forward pass, for 1 to 8 rows
    kill      SIGKILL at random moments, then restored: are the frames those of an undisturbed run?
    churn     submitted and cancelled at random: what is left of it; and how soon a cancelled one's memory is free
    lossy     what guidance in an interval, velocities taken over, and fewer second-order steps save and change

    .venv/bin/python benchmarks/engine.py [load overhead rows kill churn lossy] [--model mini] [--json]
        [--steps N] [--repeats 5] [--kills 20] [--churn 500] [--prompts 5]
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter, sleep
from typing import Any, NamedTuple

import numpy as np
import torch
from generate import cpu_model, prompt

from hibari import catalog
from hibari.contracts import GenerationRequest
from hibari.diffusion.guidance import guide, in_interval
from hibari.diffusion.sampler import sample
from hibari.engine import (
    Engine,
    Event,
    Failed,
    Finished,
    FramesDecoded,
    Started,
    StepDone,
    TextCache,
    generate,
)
from hibari.engine.loop import advance, predicted_x0, prepare
from hibari.engine.preview import preview_image
from hibari.engine.runtime import prepare_torch
from hibari.engine.state import initial_state
from hibari.models.plan import SAMPLERS, plan
from hibari.models.protocol import Model
from hibari.settings import Settings
from hibari.training.evaluate.metrics import psnr

REQUESTS, ARRIVE_AFTER = 8, 1 / 3  # of a single clip's time
MOST_ROWS = 8
BUDGET_BYTES = 2 * 2**30
KILL_SECONDS, KILL_STEPS = 2.0, 12
PREVIEWS_TIMED = 50

Figures = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """The model, and how much of everything."""

    model: Model
    steps: int | None
    repeats: int
    kills: int
    churn: int
    prompts: int

    def request(self, number: int = 0, **wishes: Any) -> GenerationRequest:
        """Another prompt and seed for each number, guided, so that a step has two rows."""
        options = {"steps": self.steps, "guidance_scale": 3.0, **wishes}
        return GenerationRequest.resolve(self.model.spec, prompt(number), seed=number, **options)

    def engine(self, **options: Any) -> Engine:
        """One that has the model already, and the same budget everywhere."""
        engine = Engine(lambda _: self.model, **{"memory_bytes": BUDGET_BYTES, **options})
        engine.adopt(self.model)
        return engine

    def frames(self, wish: GenerationRequest, cache: TextCache | None = None) -> np.ndarray:
        """All of a clip, one at a time."""
        return np.stack(list(generate(self.model, wish, text_cache=cache).frames))


# ---------------------------------------------------------------- load


@dataclass
class Served:
    """When a request came, when its first preview was there, and when its last frame was; seconds since the start."""

    arrived_s: float
    preview_s: float = 0.0
    finished_s: float = 0.0

    def tell(self, event: Event, now_s: float) -> None:
        """Note what is news."""
        if isinstance(event, StepDone) and not self.preview_s:
            self.preview_s = now_s
        elif isinstance(event, FramesDecoded) and event.done == event.total:
            self.finished_s = now_s
        elif isinstance(event, Failed):
            raise event.error


def load(bench: Bench) -> Figures:
    """Requests that arrive one by one, through the engine and one after another."""
    sizes = bench.model.spec.sizes[:2]
    wishes = [
        bench.request(number, size=sizes[number // 2 % 2], seconds=(4.0, 2.0)[number % 2])
        for number in range(REQUESTS)
    ]
    bench.frames(wishes[0])
    began_s = perf_counter()
    bench.frames(wishes[0])
    single_s = perf_counter() - began_s
    interval_s = ARRIVE_AFTER * single_s
    rounds = [
        {"plain": _one_by_one(bench, wishes, interval_s), "engine": _together(bench, wishes, interval_s)}
        for _ in range(bench.repeats)
    ]
    ratios = [_makespan_s(one["plain"]) / _makespan_s(one["engine"]) for one in rounds]
    figures: Figures = {
        "single_s": single_s,
        "arrive_every_s": interval_s,
        "throughput_ratio": median(ratios),
    }
    for way in ("plain", "engine"):
        served = [one for round_ in rounds for one in round_[way]]
        seconds = sum(wish.seconds for wish in wishes)
        figures[way] = {
            "video_s_per_s": median(seconds / _makespan_s(round_[way]) for round_ in rounds),
            **_spread("first_preview", [one.preview_s - one.arrived_s for one in served]),
            **_spread("finished", [one.finished_s - one.arrived_s for one in served]),
        }
    return figures


def _makespan_s(served: list[Served]) -> float:
    return max(one.finished_s for one in served)


def _spread(name: str, values: list[float]) -> Figures:
    return {f"{name}_median_s": median(values), f"{name}_worst_s": max(values)}


def _one_by_one(bench: Bench, wishes: list[GenerationRequest], interval_s: float) -> list[Served]:
    cache, served = TextCache(), [Served(number * interval_s) for number in range(len(wishes))]
    began_s = monotonic()
    for wish, one in zip(wishes, served, strict=True):
        sleep(max(0.0, began_s + one.arrived_s - monotonic()))
        clip = generate(
            bench.model,
            wish,
            on_event=lambda event, one=one: one.tell(event, monotonic() - began_s),
            text_cache=cache,
        )
        for _ in clip.frames:
            pass
    return served


def _together(bench: Bench, wishes: list[GenerationRequest], interval_s: float) -> list[Served]:
    engine = bench.engine()
    served = {f"{number}": Served(number * interval_s) for number in range(len(wishes))}
    began_s = monotonic()

    def arrive() -> None:
        for wish, (id_, one) in zip(wishes, served.items(), strict=True):
            sleep(max(0.0, began_s + one.arrived_s - monotonic()))
            engine.submit(wish, id=id_, owner=id_)

    clients = threading.Thread(target=arrive)
    clients.start()
    left = len(wishes)
    for event in engine.events(wait=True):
        served[event.id].tell(event, monotonic() - began_s)
        left -= isinstance(event, Finished)
        if not left:
            engine.close()
    clients.join()
    return [*served.values()]


# ---------------------------------------------------------------- overhead


def overhead(bench: Bench) -> Figures:
    """One request, text and all steps, up to the finished latent: alternately bare and through the engine."""
    wish = bench.request()
    (stage,) = plan(bench.model.spec, wish)
    ways: dict[str, Callable[[], tuple[float, torch.Tensor]]] = {
        "bare": lambda: _bare(bench, wish),
        "bare_again": lambda: _bare(bench, wish),  # says how finely this machine tells two times apart
        "engine": lambda: _through_engine(bench, wish, previews=False),
        "engine_with_previews": lambda: _through_engine(bench, wish, previews=True),
    }
    made = {name: way()[1] for name, way in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(bench.repeats):
        order = [*ways] if turn % 2 else [*reversed(ways)]
        for name in order:
            times[name].append(ways[name]()[0])
    doing = prepare(bench.model, wish)
    (doing,) = advance(bench.model, [doing])
    previews = []
    for _ in range(PREVIEWS_TIMED):
        began_s = perf_counter()
        preview_image(predicted_x0(doing)[:, 0], bench.model.rgb_from_latent)
        previews.append(perf_counter() - began_s)
    step_s = median(times["bare"]) / stage.steps

    def ratio(name: str) -> float:
        return median(one / bare for one, bare in zip(times[name], times["bare"], strict=True))

    return {
        "bare_s": median(times["bare"]),
        "bare_to_bare": ratio("bare_again"),
        "engine_to_bare": ratio("engine"),
        "engine_with_previews_to_bare": ratio("engine_with_previews"),
        "preview_ms": 1000 * median(previews),
        "preview_share_of_step": median(previews) / step_s,
        "same_latent": all(torch.equal(latent, made["bare"]) for latent in made.values()),
    }


@torch.inference_mode()
def _bare(bench: Bench, wish: GenerationRequest) -> tuple[float, torch.Tensor]:
    model = bench.model
    (stage,) = plan(model.spec, wish)
    began_s = perf_counter()
    parts = [model.prepare(model.encode_text([text])) for text in (wish.prompt, wish.negative_prompt)]
    both = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    cond, starts = {name: tensor[:1] for name, tensor in both.items()}, torch.zeros(2, dtype=torch.int64)

    def velocity(x_BCFHW: torch.Tensor, sigma_BF: torch.Tensor) -> torch.Tensor:
        if not in_interval(float(sigma_BF[0, 0]), wish.guidance_interval):
            return model.velocity(x_BCFHW, sigma_BF, cond, starts[:1])
        rows = model.velocity(
            x_BCFHW.expand(2, -1, -1, -1, -1), sigma_BF.expand(2, -1), both, starts.to(model.device)
        )
        return guide(rows[:1], rows[1:], wish.guidance_scale)

    noise = initial_state(model.spec, wish).latent_CFHW[None].to(model.device)
    latent = sample(velocity, noise, torch.tensor(stage.sigmas), SAMPLERS[wish.sampler])
    return perf_counter() - began_s, latent[0]


def _through_engine(bench: Bench, wish: GenerationRequest, *, previews: bool) -> tuple[float, torch.Tensor]:
    engine = bench.engine(previews=previews)
    began_s = perf_counter()
    id_ = engine.submit(wish)
    for event in engine.events():
        if isinstance(event, StepDone) and event.step == event.total:
            break
    taken_s = perf_counter() - began_s
    return taken_s, engine._generations[id_].state.latent_CFHW


# ---------------------------------------------------------------- rows


@torch.inference_mode()
def rows(bench: Bench) -> Figures:
    """Forward passes of a full window (or what a default clip has of it), larger and smaller ones in turn."""
    model, wish = bench.model, bench.request()
    channels, frames, height, width = initial_state(model.spec, wish).latent_CFHW.shape
    window = (channels, min(frames, model.spec.window_frames), height, width)
    one = model.prepare(model.encode_text([wish.prompt]))
    times: dict[int, list[float]] = {number: [] for number in range(1, MOST_ROWS + 1)}
    for turn in range(bench.repeats + 1):
        for number in times:
            latent = torch.randn(number, *window, device=model.device)
            sigma = torch.full((number, window[1]), 0.5, device=model.device)
            words = {name: torch.cat([tensor] * number) for name, tensor in one.items()}
            starts = torch.zeros(number, dtype=torch.int64, device=model.device)
            began_s = perf_counter()
            model.velocity(latent, sigma, words, starts)
            if turn:
                times[number].append(perf_counter() - began_s)
    row_ms = {number: 1000 * median(taken) / number for number, taken in times.items()}
    return {
        "window": "x".join(map(str, window)),
        "row_ms": {str(number): value for number, value in row_ms.items()},
        "gain": {str(number): row_ms[1] / value for number, value in row_ms.items()},
    }


# ---------------------------------------------------------------- kill


def kill(bench: Bench) -> Figures:
    """Processes that are killed anywhere between their first step and their end; each is restored here."""
    wish = _victims_wish(bench)
    expected = bench.frames(wish)
    dice = random.Random(0)
    lasts_s = _victim(bench, None)[1]
    found = {"killed": 0, "ended_before": 0, "restored": 0, "resumed_after_step_0": 0, "identical": 0}
    while found["killed"] < bench.kills:
        with tempfile.TemporaryDirectory() as folder:
            ended, _ = _victim(bench, Path(folder), dice.uniform(0, lasts_s))
            if ended:
                found["ended_before"] += 1
                continue
            found["killed"] += 1
            engine = bench.engine(checkpoints=Path(folder), previews=False)
            found["restored"] += len(engine.restore())
            events = list(engine.events())
            found["resumed_after_step_0"] += any(isinstance(e, Started) and e.step > 0 for e in events)
            chunks = [event.frames for event in events if isinstance(event, FramesDecoded)]
            found["identical"] += bool(chunks) and np.array_equal(np.concatenate(chunks), expected)
    return {**found, "undisturbed_s": lasts_s}


def _victims_wish(bench: Bench) -> GenerationRequest:
    return bench.request(3, seconds=KILL_SECONDS, steps=bench.steps or KILL_STEPS, sampler="adams-bashforth")


def _victim(bench: Bench, folder: Path | None, after_s: float = 0.0) -> tuple[bool, float]:
    """Start a process and, given a folder for its checkpoints, kill it after a time. Whether its generation ended
    before, and how long that ran, in seconds."""
    with tempfile.TemporaryDirectory() as spare:
        where, name = str(folder or spare), bench.model.spec.name
        command = [sys.executable, __file__, "--victim", where, "--model", name]
        command += ["--steps", str(bench.steps)] if bench.steps else []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            if process.stdout.readline() != "begin\n":
                raise RuntimeError(f"the victim ended with {process.wait()} before it began")
            began_s = monotonic()
            if folder:
                sleep(after_s)
                process.send_signal(signal.SIGKILL)
            ended = process.stdout.readline() == "end\n"
            lasted_s = monotonic() - began_s
        return ended, lasted_s


def be_victim(bench: Bench, folder: Path) -> None:
    """Run one generation that saves its state after each step, and say when it begins."""
    bench.frames(bench.request(seconds=0, steps=1))  # what is slow the first time
    engine = bench.engine(checkpoints=folder, checkpoint_every_s=0, previews=False)
    engine.submit(_victims_wish(bench), id="victim")
    print("begin", flush=True)
    for _ in engine.events():
        pass
    print("end", flush=True)


# ---------------------------------------------------------------- churn


def churn(bench: Bench) -> Figures:
    """Small generations that come and go; then one that is cancelled while others share its passes."""
    dice = random.Random(0)
    numbers = count()
    with tempfile.TemporaryDirectory() as folder:
        engine = bench.engine(checkpoints=Path(folder))
        _come_and_go(bench, engine, dice, numbers, max(20, bench.churn // 10))
        before = _held()
        cancelled = _come_and_go(bench, engine, dice, numbers, bench.churn)
        after = _held()
        files = len([*Path(folder).iterdir()])
    return {
        "generations": bench.churn,
        "cancelled": cancelled,
        "rss_mb_start": before.rss / 1e6,
        "rss_mb_end": after.rss / 1e6,
        "rss_ratio": after.rss / before.rss,
        "rss_in_use_mb_start": before.in_use / 1e6,
        "rss_in_use_mb_end": after.in_use / 1e6,
        "rss_in_use_ratio": after.in_use / before.in_use,
        "threads_start": before.threads,
        "threads_end": after.threads,
        "files_left": files,
        "generations_left": len(engine),
        "passes_until_free": {
            "cancelled_between_passes": _passes_until_free(bench, inside=False),
            "cancelled_inside_a_pass": _passes_until_free(bench, inside=True),
        },
    }


def _come_and_go(
    bench: Bench, engine: Engine, dice: random.Random, numbers: Iterator[int], total: int
) -> int:
    """Submit `total`, each of them cancelled or finished in the end. How many were cancelled."""
    alive: list[str] = []
    cancelled = submitted = 0
    while submitted < total:
        alive.append(_submit_small(bench, engine, dice, next(numbers)))
        submitted += 1
        for event in engine.events():
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Finished) and event.id in alive:  # else its cancel came too late
                alive.remove(event.id)
            while submitted < total and len(engine) < dice.randint(0, 8):
                alive.append(_submit_small(bench, engine, dice, next(numbers)))
                submitted += 1
            if alive and dice.random() < 0.06:
                cancelled += engine.cancel(alive.pop(dice.randrange(len(alive))))
    return cancelled


def _submit_small(bench: Bench, engine: Engine, dice: random.Random, number: int) -> str:
    wish = bench.request(number % 40, seconds=dice.choice((0.0, 0.5)), steps=dice.randint(1, 4))
    return engine.submit(replace(wish, seed=number))


class _Held(NamedTuple):
    """What the process has.

    Attributes:
        rss: bytes in memory, where the system says so.
        in_use: the same when the allocator has given back what it keeps of freed blocks (glibc; else as `rss`).
        threads: Python's.
    """

    rss: int
    in_use: int
    threads: int


def _held() -> _Held:
    gc.collect()
    rss = _rss()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    return _Held(rss, _rss(), threading.active_count())


def _rss() -> int:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def _passes_until_free(bench: Bench, *, inside: bool) -> int:
    """Forward passes that end after `cancel` has returned and before the latent of the cancelled one is gone."""
    engine = bench.engine(previews=False)
    for number in range(3):
        engine.submit(bench.request(number, seconds=0.5, steps=8), id=str(number))
    passes = 0
    cancelled_at: int | None = None
    latents: list[weakref.ref[torch.Tensor]] = []

    def cancel() -> None:
        nonlocal cancelled_at
        latents.append(weakref.ref(engine._generations["0"].state.latent_CFHW))
        thread = threading.Thread(target=engine.cancel, args=("0",))
        thread.start()
        thread.join()
        cancelled_at = passes

    def before_pass() -> None:
        nonlocal passes
        if inside and passes == 2:
            cancel()
        passes += 1

    with _watched(bench.model, before_pass):
        for _ in engine.events():
            if cancelled_at is None and not inside and passes == 2:
                cancel()
            if latents and latents[0]() is None:
                assert cancelled_at is not None
                return passes - cancelled_at
    return -1  # never, as long as it ran


@contextmanager
def _watched(model: Model, before_pass: Callable[[], None]) -> Iterator[None]:
    """Call something before each of the model's forward passes."""
    velocity = model.velocity

    def watched(*arguments: Any) -> torch.Tensor:
        before_pass()
        return velocity(*arguments)

    model.velocity = watched  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        del model.__dict__["velocity"]


# ---------------------------------------------------------------- lossy


def lossy(bench: Bench) -> Figures:
    """Each option against the default on the same prompts and seeds; speed counts reading no prompt, but all else."""
    base = bench.request()
    half, third = max(1, round(base.steps / 2)), max(1, round(base.steps / 3))
    options: dict[str, Figures] = {
        "default": {},
        "guidance below 0.9": {"guidance_interval": (0.0, 0.9)},
        "guidance 0.2 to 0.9": {"guidance_interval": (0.2, 0.9)},
        "guidance 0.4 to 0.9": {"guidance_interval": (0.4, 0.9)},
        "reuse below 0.05": {"reuse": 0.05},
        "reuse below 0.1": {"reuse": 0.1},
        "reuse below 0.2": {"reuse": 0.2},
        f"euler, {half} steps": {"steps": half},
        f"adams-bashforth, {base.steps} steps": {"sampler": "adams-bashforth"},
        f"adams-bashforth, {half} steps": {"sampler": "adams-bashforth", "steps": half},
        f"adams-bashforth, {third} steps": {"sampler": "adams-bashforth", "steps": third},
        f"adams-bashforth, {half} steps, guidance 0.2 to 0.9": {
            "sampler": "adams-bashforth",
            "steps": half,
            "guidance_interval": (0.2, 0.9),
        },
    }
    cache = TextCache()
    speed: dict[str, list[float]] = {name: [] for name in options}
    difference: dict[str, list[float]] = {name: [] for name in options}
    decibels: dict[str, list[float]] = {name: [] for name in options}
    bench.frames(base, cache)
    for number in range(bench.prompts):
        cache.encode(bench.model, prompt(number))
        default, default_s = np.zeros(0), 0.0
        for name, changes in options.items():
            wish = replace(bench.request(number), **changes)
            began_s = perf_counter()
            frames = bench.frames(wish, cache).astype(np.float64)
            taken_s = perf_counter() - began_s
            if name == "default":
                default, default_s = frames, taken_s
            speed[name].append(default_s / taken_s)
            difference[name].append(float(np.abs(frames - default).mean()))
            decibels[name].append(psnr(frames, default))
    return {
        name: {
            "speed_ratio": median(speed[name]),
            "mean_difference_of_255": median(difference[name]),
            "psnr_db": median(decibels[name]),
        }
        for name in options
        if name != "default"
    }


# ---------------------------------------------------------------- the command

MEASUREMENTS: dict[str, Callable[[Bench], Figures]] = {
    "load": load,
    "overhead": overhead,
    "rows": rows,
    "kill": kill,
    "churn": churn,
    "lossy": lossy,
}


def show(figures: Figures, indent: str = "") -> None:
    """One figure a line."""
    for name, value in figures.items():
        if isinstance(value, dict):
            print(f"{indent}{name}")
            show(value, indent + "    ")
        else:
            print(f"{indent}{name:<30} {f'{value:.3f}' if isinstance(value, float) else value}")


def main() -> None:
    """Measure, and say it."""
    parser = argparse.ArgumentParser(description="What the engine promises beyond one clip.")
    parser.add_argument("what", nargs="*", help=f"of {', '.join(MEASUREMENTS)}; by default all")
    parser.add_argument("--model", default="mini", choices=("mini", "testcard"))
    parser.add_argument("--steps", type=int, help="sampler steps; by default the model's own")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count, at least 1")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--churn", type=int, default=500, help="generations that come and go")
    parser.add_argument("--prompts", type=int, default=5, help="of the lossy options")
    parser.add_argument("--victim", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if unknown := set(options.what) - MEASUREMENTS.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; known are {', '.join(MEASUREMENTS)}")
    if options.repeats < 1:
        parser.error(f"--repeats is {options.repeats}; must be at least 1")
    model = catalog.load(options.model, device=prepare_torch(Settings.from_environment()))
    bench = Bench(model, options.steps, options.repeats, options.kills, options.churn, options.prompts)
    if options.victim:
        be_victim(bench, options.victim)
        return
    figures: Figures = {"model": options.model}
    for name in options.what or MEASUREMENTS:
        figures[name] = MEASUREMENTS[name](bench)
    figures["machine"] = {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": str(model.device),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        # At the end of the runs; well above the threads, something else was running.
        "load_average": os.getloadavg()[0],
    }
    if options.json:
        print(json.dumps(figures))
    else:
        show(figures)


if __name__ == "__main__":
    main()
