"""From 8 to 24 frames a second: along the optical flow, as Hibari does it, and by blending neighbours.

Held-out clips of the world are rendered at 24 frames a second; every third frame is given, and what is made of the
others is compared with what they are.

    .venv/bin/python benchmarks/retime.py [--count 24] [--density 4] [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator

import numpy as np

from hibari.media.frames import Frame
from hibari.media.retime import retimed
from hibari.training.world.render import FPS, FRAMES, render
from hibari.training.world.spec import draw

TIMES = 3
SEEDS = 2_200_000_000
Method = Callable[[Iterator[Frame], int, int, int], Iterator[Frame]]


def blended(source: Iterator[Frame], source_fps: int, fps: int, frames: int) -> Iterator[Frame]:
    """Each frame mixed from its neighbours by nearness."""
    given = [frame.astype(np.uint16) for frame in source]
    for i in range(frames):
        index, part = divmod(i * source_fps, fps)
        mixed = (fps - part) * given[index] + part * given[min(index + 1, len(given) - 1)]
        yield ((mixed + fps // 2) // fps).astype(np.uint8)


METHODS: dict[str, Method] = {"flow": retimed, "blend": blended}


def measure(count: int, density: int) -> dict[str, dict[str, float]]:
    """Of each method: PSNR in dB, mean over clips of the mean over frames, and seconds for a clip of four."""
    psnr: dict[str, list[float]] = {name: [] for name in METHODS}
    took_s = dict.fromkeys(METHODS, 0.0)
    for seed in range(SEEDS, SEEDS + count):
        frames = (FRAMES - 1) * TIMES + 1
        clip = render(draw(seed, "held_out"), frames=frames, fps=FPS * TIMES, density=density)
        for name, method in METHODS.items():
            begun = time.perf_counter()
            made = list(method(iter(clip[::TIMES]), FPS, FPS * TIMES, frames))
            took_s[name] += time.perf_counter() - begun
            between = [index for index in range(frames) if index % TIMES]
            square = [np.square(made[index].astype(np.float32) - clip[index]).mean() for index in between]
            psnr[name].append(float(np.mean(-10 * np.log10(np.maximum(square, 0.01) / 255**2))))
    return {name: {"psnr_db": float(np.mean(psnr[name])), "clip_s": took_s[name] / count} for name in METHODS}


def main() -> None:
    """Measure, and say it."""
    parser = argparse.ArgumentParser(description="New frames between given ones, against what they are.")
    parser.add_argument("--count", type=int, default=24, help="clips")
    parser.add_argument("--density", type=int, default=1, help="1: clips of 128x128 px; 4: of 512x512 px")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    figures = measure(options.count, options.density)
    if options.json:
        print(json.dumps(figures))
        return
    for name, of in figures.items():
        print(f"{name}: {of['psnr_db']:.1f} dB, {of['clip_s']:.2f} s for a clip of 4 s")


if __name__ == "__main__":
    main()
