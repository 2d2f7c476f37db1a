"""Defends: networks compute in bfloat16 only where that is fast, or where somebody says so."""

from __future__ import annotations

import pytest
import torch

from hibari.contracts import InvalidRequest
from hibari.models.precision import dtype_for

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("said", "amx", "device", "on_amx", "dtype"),
    [
        ("", True, CPU, "bfloat16", torch.bfloat16),
        ("", False, CPU, "bfloat16", torch.float32),
        ("", True, CPU, "float32", torch.float32),
        ("", False, GPU, "float32", torch.bfloat16),
        ("float32", True, CPU, "bfloat16", torch.float32),
        ("float32", False, GPU, "float32", torch.float32),
        ("bfloat16", False, CPU, "float32", torch.bfloat16),
    ],
)
def test_precision(
    monkeypatch, said: str, amx: bool, device: torch.device, on_amx, dtype: torch.dtype
) -> None:
    monkeypatch.setenv("HIBARI_PRECISION", said)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx}, raising=False)
    assert dtype_for(device, on_amx=on_amx) == dtype


def test_an_unknown_precision_is_named(monkeypatch) -> None:
    monkeypatch.setenv("HIBARI_PRECISION", "int4")
    with pytest.raises(InvalidRequest, match="HIBARI_PRECISION is 'int4'; must be auto, float32 or bfloat16"):
        dtype_for(CPU)
