"""How fast a model makes video: seconds of video per second of wall time.

What a person waits for is in the figure: reading the prompt, all sampler steps, decoding, and writing the MP4.
Importing and loading are timed apart, since a server pays for them once. The first run is thrown away: it loads the
text encoder and warms caches. Every run has a prompt and a seed of its own, so nothing can come out of a cache.

    .venv/bin/python benchmarks/generate.py [--model mini] [--size 1280x720 --fps 24] [--repeats 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from pathlib import Path
from time import perf_counter

from hibari import catalog
from hibari.cli.sizes import parse_size
from hibari.contracts import GenerationRequest
from hibari.settings import Settings

SUBJECTS = (
    "red balloon",
    "blue car",
    "cat",
    "robot",
    "green fish",
    "penguin",
    "yellow star",
    "rocket",
    "horse",
)
PLACES = ("over the sea", "in a techno club", "in the forest at night", "on the beach", "in the snow")


def prompt(run: int) -> str:
    """Another one for each run, always about as long."""
    return f"a {SUBJECTS[run % len(SUBJECTS)]} moves to the right {PLACES[run % len(PLACES)]}, take {run}"


def cpu_model() -> str:
    """What the processor calls itself, as well as the system knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure(model: str, seconds: float, repeats: int, size: str | None, fps: int | None) -> dict[str, object]:
    """Load the model, make 1 + `repeats` clips, and return the figures."""
    settings = Settings.from_environment()
    began_s = perf_counter()
    import torch

    from hibari import media
    from hibari.engine import generate
    from hibari.engine.runtime import prepare_torch

    imported_s = perf_counter()
    loaded = catalog.load(model, device=prepare_torch(settings))
    loaded_s = perf_counter()

    pixels = parse_size(size, loaded.spec) if size else None
    requests = [
        GenerationRequest.resolve(loaded.spec, prompt(run), seconds=seconds, seed=run, size=pixels, fps=fps)
        for run in range(1 + repeats)
    ]
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for run, request in enumerate(requests):
            start_s = perf_counter()
            native = generate(loaded, request)
            sampled_s = perf_counter()
            clip = media.fit(
                native, width=request.width, height=request.height, fps=request.fps, frames=request.frames
            )
            media.write_clip(clip, Path(folder) / f"{run}.mp4")
            end_s = perf_counter()
            runs.append({"sample_s": sampled_s - start_s, "decode_and_write_s": end_s - sampled_s})
    warm_up, *counted = runs
    request = requests[0]  # all are alike but for prompt and seed
    totals = [sum(run.values()) for run in counted]
    # What the clip lasts, which may differ from what was asked for by less than a frame.
    video_s = request.frames / request.fps
    return {
        "model": model,
        "size": f"{request.width}x{request.height}",
        "fps": request.fps,
        "steps": request.steps,
        "precision": loaded.spec.precision,
        "video_s": video_s,
        "repeats": repeats,
        "video_s_per_s": video_s / statistics.median(totals),
        "median_s": statistics.median(totals),
        "fastest_s": min(totals),
        "slowest_s": max(totals),
        "sample_s": statistics.median(run["sample_s"] for run in counted),
        "decode_and_write_s": statistics.median(run["decode_and_write_s"] for run in counted),
        "import_s": imported_s - began_s,
        "load_s": loaded_s - imported_s,
        "warm_up_s": sum(warm_up.values()),
        "machine": {
            "cpu": cpu_model(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "device": str(loaded.device),
            "torch": torch.__version__,
            "torch_threads": torch.get_num_threads(),
            # At the end of the runs; well above the threads, something else was running and the figure is too low.
            "load_average": os.getloadavg()[0],
        },
    }


def main() -> None:
    """Measure, and say it."""
    parser = argparse.ArgumentParser(description="Seconds of video per second of wall time.")
    parser.add_argument("--model", default="mini", choices=catalog.names())
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each clip")
    parser.add_argument("--size", help="WIDTHxHEIGHT or a name; else the model's own")
    parser.add_argument("--fps", type=int, help="frames a second; else the model's own")
    parser.add_argument("--repeats", type=int, default=5, help="runs that count, at least 1")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error(f"--repeats is {options.repeats}; must be at least 1")
    figures = measure(options.model, options.seconds, options.repeats, options.size, options.fps)
    if options.json:
        print(json.dumps(figures))
        return
    machine = figures.pop("machine")
    for name, value in {**figures, **machine}.items():  # pyright: ignore[reportGeneralTypeIssues]
        print(f"{name:<20} {f'{value:.3f}' if isinstance(value, float) else value}")


if __name__ == "__main__":
    main()
