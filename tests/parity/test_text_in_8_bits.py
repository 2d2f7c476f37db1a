"""Defends: the text encoder's layers in 8 bits read as the whole ones do, nearly, and take what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from open_models import CPU, tokenizer_and_encoder
from torch import Tensor

from hibari.models.text_encoder import T5


@pytest.mark.parametrize(("quantise", "most"), [("int8", 0.02), ("fp8", 0.1)])
def test_t5(tmp_path: Path, quantise: str, most: float) -> None:
    tokenizer, encoder = tokenizer_and_encoder()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    encoder.save_pretrained(tmp_path / "text_encoder")
    read: list[Tensor] = []
    sizes: list[int] = []
    for kind in ("", quantise):
        text = T5(tmp_path, device=CPU, dtype=torch.float32, quantise=kind)
        read.append(text(["a red balloon", ""], 16, masked=True)[0])
        sizes.append(text.nbytes)
        weights = [weight.data for weight in text.network.parameters()]
        # Of quantised ones without their scales.
        held = sum(one.nbytes if type(one) is Tensor else one.numel() for one in weights)
        assert text.nbytes == held
    whole, small = read
    assert 0 < (small - whole).norm() / whole.norm() < most
    assert sizes[1] < 0.6 * sizes[0]
