"""The most memory that one command takes: a 10 s clip at 1920x1080 and 30 frames a second.

The command runs as a process of its own, and the system counts its peak, so imports and libraries are in the figure.

    .venv/bin/python benchmarks/memory.py [--model mini] [--steps N] [--json]
"""

from __future__ import annotations

# This process must stay small and must not import torch: Linux lets a child's peak begin at its parent's.
import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path


def measure(model: str, steps: int | None) -> dict[str, object]:
    """Run the command once; MB are 10^6 bytes."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "clip.mp4"
        command = [sys.executable, "-m", "hibari", "generate", "a red balloon rises over the sea at sunset"]
        command += ["--model", model, "--seconds", "10", "--size", "1920x1080", "--fps", "30", "--seed", "0"]
        command += ["--steps", str(steps)] if steps is not None else []
        subprocess.run([*command, "--quiet", "-o", str(out)], check=True, stdout=subprocess.DEVNULL)
        file_mb = out.stat().st_size / 1e6
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak_bytes = peak if sys.platform == "darwin" else 1024 * peak
    return {"model": model, "peak_mb": peak_bytes / 1e6, "file_mb": file_mb}


def main() -> None:
    """Measure, and say it."""
    parser = argparse.ArgumentParser(description="Peak memory of making a 10 s clip at 1920x1080, 30 fps.")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--steps", type=int, help="sampler steps; by default the model's own")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    figures = measure(options.model, options.steps)
    if options.json:
        print(json.dumps(figures))
    else:
        print(f"{figures['model']}: peak {figures['peak_mb']:.0f} MB (file {figures['file_mb']:.1f} MB)")


if __name__ == "__main__":
    main()
