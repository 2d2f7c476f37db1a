"""Defends: weights are in memory once, also while they are read and turned into another type, and quantised ones take
what is said of them; a layer's error is small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hibari.contracts import InvalidRequest
from hibari.models.checkpoint import Part
from hibari.models.folder import Source

CPU = torch.device("cpu")
WIDTH, DEPTH = 1024, 24  # 100 MB in float32

# In a process of its own: how far the memory that nothing else can take rose while a network was loaded, in MB.
SCRIPT = """
import json, sys
from pathlib import Path
import torch
from torch import nn
from hibari.models.checkpoint import Part
from hibari.models.folder import Source

def held():
    # With what was written to: pages of a mapped file that nobody has changed are not memory that is taken.
    said = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(said["RssAnon"].split()[0]) / 1000

WIDTH, DEPTH = {width}, {depth}
def build(source):
    with torch.device("meta"):
        return nn.Sequential(*(nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False)) for _ in range(DEPTH)))

part = Part(Source("x", {{}}, {{Path({path!r}): ""}}), build, device=torch.device("cpu"),
            dtype=torch.float32, quantise={quantise!r})
if part._quantised:
    part._quantised(nn.Linear(WIDTH, WIDTH, bias=False))  # loads what torchao wants for itself
before = held()
peak = [before]
real = nn.Module.load_state_dict
def watched(self, *args, **kwargs):
    done = real(self, *args, **kwargs)
    peak.append(held())
    return done
nn.Module.load_state_dict = watched
network = part.network
peak.append(held())
x = torch.ones(1, WIDTH)
print(json.dumps({{"peak": max(peak) - before, "after": held() - before, "said": part.nbytes / 1e6,
                   "out": network(x).float().square().mean().item()}}))
"""


def measured(path: Path, quantise: str = "") -> dict[str, float]:
    script = SCRIPT.format(width=WIDTH, depth=DEPTH, path=str(path), quantise=quantise)
    # What is freed goes back at once: the allocator's own holes are not what is measured.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    run = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment
    )
    return json.loads(run.stdout.splitlines()[-1])


def write(path: Path, dtype: torch.dtype) -> Path:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"{k}.0.weight": (torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH**0.5).to(dtype)
        for k in range(DEPTH)
    }
    save_file(tensors, path)
    return path


def test_a_file_of_the_same_type_is_only_mapped_and_another_is_turned_into_it_once(tmp_path: Path) -> None:
    whole_MB = 4 * WIDTH**2 * DEPTH / 1e6
    same = measured(write(tmp_path / "same.safetensors", torch.float32))
    assert same["said"] == pytest.approx(whole_MB)
    assert same["peak"] < 0.1 * whole_MB, "nothing is copied"
    halves = measured(write(tmp_path / "half.safetensors", torch.bfloat16))
    assert halves["peak"] < 1.1 * whole_MB, "one copy, of the wanted type"
    assert halves["after"] > 0.9 * whole_MB


def test_quantised_weights_are_never_there_in_full(tmp_path: Path) -> None:
    whole_MB = 4 * WIDTH**2 * DEPTH / 1e6
    got = measured(write(tmp_path / "half.safetensors", torch.bfloat16), "int8")
    assert got["said"] == pytest.approx(whole_MB / 4)
    assert got["peak"] < 0.6 * whole_MB, "a quarter, a few layers besides, and what torchao itself takes"
    assert got["out"] > 0


def layers(source: Source) -> nn.Module:
    with torch.device("meta"):
        block = nn.Sequential(nn.Linear(64, 64))
        return nn.ModuleDict({"first": nn.Linear(64, 64), "blocks": nn.Sequential(block)})


@pytest.mark.parametrize(("quantise", "most"), [("int8", 0.01), ("fp8", 0.04)])
def test_the_error_of_a_layer(tmp_path: Path, quantise: str, most: float) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"{name}.{kind}": torch.randn(*shape, generator=generator)
        for name in ("first", "blocks.0.0")
        for kind, shape in (("weight", (64, 64)), ("bias", (64,)))
    }
    save_file(tensors, tmp_path / "a.safetensors")
    source = Source("a", {}, {tmp_path / "a.safetensors": ""})
    plain = Part(source, layers, device=CPU, dtype=torch.float32).network
    quantised = Part(source, layers, device=CPU, dtype=torch.float32, quantise=quantise).network
    x = torch.randn(16, 64, generator=generator)
    with torch.inference_mode():
        assert torch.equal(quantised["first"](x), plain["first"](x)), "only blocks are quantised"
        one, other = quantised["blocks"](x), plain["blocks"](x)
    error = (one - other).norm() / other.norm()
    assert 0 < error < most


def test_another_kind_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="quantise is 'int4'; weights can be had in int8 or fp8"):
        Part(Source("a", {}, {}), layers, device=CPU, dtype=torch.float32, quantise="int4")
