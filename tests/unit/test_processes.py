"""Defends: a generation that two processes compute is the one that one process computes, a process that is lost is an
error and no endless wait, and what cannot be shared is refused before there is a process."""

from __future__ import annotations

import os
import signal
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from hibari import catalog
from hibari.contracts import GenerationRequest, InvalidRequest, ProcessLost
from hibari.engine import Order, generate_all
from hibari.engine.processes import _Spread, spread

CPU = torch.device("cpu")
LOAD = partial(catalog.load, "mini")


def test_guided_and_unguided_rows_in_two_processes() -> None:
    request = GenerationRequest.resolve(catalog.spec("mini"), "a red balloon", seed=1, seconds=0, steps=3)
    (alone,) = generate_all(LOAD(device=CPU), [Order(request)])
    with spread(LOAD, processes=2, rows=2, threads=1, device=CPU) as model:
        (together,) = generate_all(model, [Order(request)])
        torch.testing.assert_close(together.latent_CFHW, alone.latent_CFHW, atol=1e-4, rtol=1e-4)
        (other,) = cast("Any", model)._others
        os.kill(other.pid, signal.SIGKILL)
        for _ in range(2):  # the second is told at once
            with pytest.raises(ProcessLost):
                generate_all(model, [Order(request)])
    assert not other.is_alive()
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("processes", "wanted"), [(4, "mini cannot share a row; give it at most 2"), (0, "at least 1")]
)
def test_what_cannot_be_shared(processes: int, wanted: str) -> None:
    with (
        pytest.raises(InvalidRequest, match=wanted),
        spread(LOAD, processes=processes, rows=2, threads=1, device=CPU),
    ):
        pass


def test_a_models_tables_are_not_lost() -> None:
    """Python 3.12 and later find no protocol behind `__getattr__`, and the engine asks whether a model has tables."""

    class Tabled:
        def tables(self, conditioning: object, sigmas: object) -> dict[str, torch.Tensor]:
            return {"of": torch.ones(1)}

    member = SimpleNamespace(joined=lambda model: model)
    shared = _Spread(cast("Any", member), cast("Any", Tabled()), [])
    assert "tables" in vars(shared)
    assert cast("Any", shared).tables({}, [])["of"] == 1


def test_heads_that_do_not_divide() -> None:
    class Headed:
        spec = catalog.spec("mini")
        heads = 6

        def split(self, tokens: object) -> None:
            raise AssertionError("there should be no process")

    with (
        pytest.raises(
            InvalidRequest, match="4 cannot share the 6 attention heads of this model; what can: 1, 2, 3, 6"
        ),
        spread(cast("Any", lambda device: Headed()), processes=8, rows=2, threads=1, device=CPU),
    ):
        pass
