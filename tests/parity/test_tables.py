"""Defends: what depends on the noise level and the prompt alone is computed once a generation, its weights are not in
memory, and clips at different steps in one forward pass come out as those of the network as diffusers has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from open_models import CPU, request

from hibari import catalog
from hibari.bench.random import RANDOM, write
from hibari.engine import Order, generate_all

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")


@pytest.mark.parametrize("family", ["cogvideox", "mochi"])
def test_tables_are_the_layers(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{family}-tiny"
    write(name, tmp_path)
    model: Any = catalog.load(str(tmp_path), device=CPU)
    clip = {"num_frames": RANDOM[name].frames, "size": RANDOM[name].size, "guidance_scale": 3.0}
    wishes = [request(model, "a red balloon", steps=2, **clip), request(model, "sea", steps=4, **clip)]
    asked: list[int] = []
    modulated = model._modulated
    monkeypatch.setattr(model, "_modulated", lambda level: asked.append(len(level)) or modulated(level))
    together = generate_all(model, [Order(wish) for wish in wishes])
    rows = 2 if family == "mochi" else 1  # Mochi's depend on the prompt, and there is the negative one
    assert asked == [2 * rows, 4 * rows]
    small = model._transformer.nbytes
    model.plain = True
    model._transformer.release()
    for one, wish in zip(together, wishes, strict=True):
        (alone,) = generate_all(model, [Order(wish)])
        assert alone.latent_CFHW.std() > 0.1
        torch.testing.assert_close(one.latent_CFHW, alone.latent_CFHW, atol=1e-4, rtol=0)
    assert small < model._transformer.nbytes
