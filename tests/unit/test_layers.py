"""Defends: linear layers that are joined, as on a GPU, give what they give apart, as on a processor."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hibari.models.layers import Joined, SideBySide, fused


@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_joined_layers_give_what_they_give_apart(bias: bool) -> None:
    layers = [nn.Linear(8, width, bias=bias) for width in (4, 6, 4)]
    x = torch.randn(2, 3, 8)
    for one, other in zip(Joined(layers)(x), SideBySide(layers)(x), strict=True):
        torch.testing.assert_close(one, other)


def test_layers_of_a_processor_stay_apart_and_leave_their_module() -> None:
    module = nn.Module()
    module.to_q, module.to_k = nn.Linear(4, 4), nn.Linear(4, 4)
    weight = module.to_q.weight
    together = fused(module, "to_q", "to_k")
    assert isinstance(together, SideBySide)
    assert together.layers[0].weight is weight
    assert not [*module.children()]
