"""The evaluator's weights file: fp16 safetensors, with its hash in the manifest beside it."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file

from hibari.contracts import WeightsError
from hibari.models import manifest
from hibari.training.evaluate.network import Evaluator

NAME = "evaluator.safetensors"
SHIPPED = Path(__file__).parent / "weights" / NAME


def save(evaluator: Evaluator, path: Path) -> Path:
    """Write the weights as fp16, and their hash for `load` to check."""
    # Batch norm counts its batches in an integer that nothing reads at inference.
    state = {n: v.half().contiguous() for n, v in evaluator.state_dict().items() if v.is_floating_point()}
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
    manifest.check(path)
    evaluator = Evaluator()
    state = {name: value.float() for name, value in load_file(path).items()}
    counters = {n: v for n, v in evaluator.state_dict().items() if not v.is_floating_point()}
    try:
        evaluator.load_state_dict(state | counters)
    except RuntimeError as error:
        raise WeightsError(f"the evaluator's weights {path} are of another network: {error}") from error
    return evaluator.eval().requires_grad_(False)
