"""Defends: a row that two or four processes compute together is the row that one computes, for the families whose
tokens can be divided; and our attention is that of diffusers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from parallel_ranks import CPU, SIZES, inputs

from hibari import catalog
from hibari.bench.random import write

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parallel")
    for family in SIZES:
        write(f"{family}-tiny", folder / family)
    return folder


def test_two_and_four_processes_are_one(folder: Path) -> None:
    script = Path(__file__).parent / "parallel_ranks.py"
    ended = subprocess.run(
        [sys.executable, script, folder], capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("family", SIZES)
@torch.inference_mode()
def test_our_attention_is_that_of_diffusers(folder: Path, family: str) -> None:
    model: Any = catalog.load(str(folder / family), device=CPU)
    given = inputs(model, family, *SIZES[family])
    ours = model.velocity(*given)
    assert "to_qkv" in dict(model._transformer.network.transformer_blocks[0].attn1.named_children())
    model.plain = True
    model._transformer.release()
    theirs = model.velocity(*given)
    assert "to_q" in dict(model._transformer.network.transformer_blocks[0].attn1.named_children())
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)
