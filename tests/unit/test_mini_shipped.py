"""Defends the weights that ship: they are whole, make what is asked for, and take the memory that is counted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mini_clips import frames_of, resolved

from hibari import catalog
from hibari.contracts import WeightsError
from hibari.engine import generate
from hibari.models import manifest
from hibari.models.mini import weights
from hibari.models.mini.model import PREVIEW_PX
from hibari.models.protocol import Model

CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=["mini", "mini-fast"])
def shipped(request: pytest.FixtureRequest) -> Model:
    return catalog.load(request.param, device=CPU)


@pytest.mark.parametrize(("seconds", "frames"), [(0, 1), (1, 8)])
def test_shipped_weights_make_what_is_asked_for(seconds: float, frames: int, shipped: Model) -> None:
    request = resolved(shipped, seconds=seconds, steps=3)
    clip = generate(shipped, request)
    made = np.stack(list(clip.frames))
    assert len(made[: request.frames]) == frames
    assert made.shape[1:] == (128, 128, 3)
    assert made.std() > 10, "a picture is not one colour"
    other = frames_of(shipped, resolved(shipped, "a whale swims underwater", seconds=seconds, steps=3))
    assert np.abs(made.astype(int) - other).mean() > 5, "another prompt makes another picture"
    assert clip.recipe.weights_sha256 == manifest.check(
        weights.FOLDER / f"hibari-{shipped.spec.name}.safetensors"
    )


def test_what_bfloat16_makes_cannot_be_told_from_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = {}
    for precision in ("float32", "bfloat16"):
        monkeypatch.setenv("HIBARI_PRECISION", precision)
        model = catalog.load("mini-fast", device=CPU)
        clip = generate(model, resolved(model, seconds=0))
        assert clip.recipe.extra.get("precision", "float32") == precision
        clips[precision] = np.stack(list(clip.frames)).astype(float)
    error = np.square(clips["float32"] - clips["bfloat16"]).mean()
    assert 0 < error < 255**2 / 10**4, "40 dB; 52 were measured"


def test_shipped_weights_fit_the_catalog(shipped: Model) -> None:
    assert shipped.rgb_from_latent.shape == (shipped.spec.latent_channels + 1, 3 * PREVIEW_PX**2)


def test_a_damaged_copy_of_the_shipped_weights_is_refused(tmp_path: Path) -> None:
    for name in ("hibari-mini.safetensors", manifest.MANIFEST):
        (tmp_path / name).write_bytes((weights.FOLDER / name).read_bytes())
    copy = tmp_path / "hibari-mini.safetensors"
    manifest.check(copy)
    with copy.open("r+b") as file:
        file.seek(-100, 2)
        byte = file.read(1)[0]
        file.seek(-100, 2)
        file.write(bytes([byte ^ 255]))
    with pytest.raises(WeightsError, match="are damaged") as caught:
        manifest.check(copy)
    assert caught.value.exit_code == 2


MEASURED = """
import ctypes, pathlib, re, torch
from hibari import catalog
torch.set_num_threads(1)
model = catalog.load("mini", device=torch.device("cpu"))
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status)[1])
def grown(work, *arguments):
    ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: loading's was higher
    before = peak()
    work(*arguments)
    return peak() - before
said = model.prepare(model.encode_text(["a cat"]))
def forward(rows):
    words = {name: tensor.expand(rows, *tensor.shape[1:]) for name, tensor in said.items()}
    sigma, start = torch.full((rows, 9), 0.5), torch.zeros(rows, dtype=torch.long)
    model.velocity(torch.randn(rows, 64, 9, 8, 8), sigma, words, start)
def decode(side):
    for chunk in model.decode(torch.randn(64, 3, side, side)):
        model.upscale(chunk)
with torch.inference_mode():
    forward(1), decode(4)
    print(grown(forward, 41) / 41, grown(decode, 32))
"""


def test_the_footprint_is_what_a_process_takes() -> None:
    model = catalog.load("mini", device=CPU)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HIBARI_PRECISION": "float32"}  # what takes more
    done = subprocess.run(
        [sys.executable, "-c", MEASURED], env=environment, capture_output=True, text=True, check=True
    )
    row, decode = (float(figure) for figure in done.stdout.split())
    assert 0.5 < row / model.footprint(9, 8, 8).row < 1.2
    assert 0.4 < decode / model.footprint(3, 32, 32).decode < 1.2
