"""The evaluator's weights files: fp16 safetensors, with their hashes in the manifest beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from safetensors.torch import load_file, save_file
from torch import nn

from hibari.contracts import WeightsError
from hibari.models import manifest
from hibari.training.evaluate.network import Evaluator
from hibari.training.evaluate.pairs import PairJudge

NAME = "evaluator.safetensors"
SHIPPED = Path(__file__).parent / "weights" / NAME
SHIPPED_PAIRS = SHIPPED.with_name("pairs.safetensors")

Network = TypeVar("Network", bound=nn.Module)


def save(network: nn.Module, path: Path) -> Path:
    """Write the weights as fp16, and their hash for `load` to check."""
    # Batch norm counts its batches in an integer that nothing reads at inference.
    state = {n: v.half().contiguous() for n, v in network.state_dict().items() if v.is_floating_point()}
    part = path.with_suffix(".part")
    save_file(state, part)
    part.replace(path)
    manifest.record(path)
    return path


def load(path: Path = SHIPPED) -> Evaluator:
    """The evaluator with the weights of a file.

    Raises:
        WeightsError: if the file is absent, damaged (its hash is checked), or of another network.
    """
    return _filled(Evaluator(), path)


def load_pairs(path: Path = SHIPPED_PAIRS) -> PairJudge:
    """The few numbers for clips of two figures, that go with `load`'s evaluator.

    Raises:
        WeightsError: as `load`.
    """
    return _filled(PairJudge(), path)


def _filled(network: Network, path: Path) -> Network:
    manifest.check(path)
    state = {name: value.float() for name, value in load_file(path).items()}
    counters = {n: v for n, v in network.state_dict().items() if not v.is_floating_point()}
    try:
        network.load_state_dict(state | counters)
    except RuntimeError as error:
        raise WeightsError(f"the evaluator's weights {path} are of another network: {error}") from error
    return network.eval().requires_grad_(False)
