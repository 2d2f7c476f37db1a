"""The evaluator's weights file: fp16 safetensors, with its SHA-256 in a file beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors.torch import load as tensors_of
from safetensors.torch import save_file

from hibari.contracts import WeightsError
from hibari.training.evaluate.network import Evaluator

NAME = "evaluator.safetensors"
SHIPPED = Path(__file__).parent / "weights" / NAME


def save(evaluator: Evaluator, path: Path) -> Path:
    """Write the weights as fp16, and `<path>.sha256` for `load` to check."""
    # Batch norm counts its batches in an integer that nothing reads at inference.
    state = {n: v.half().contiguous() for n, v in evaluator.state_dict().items() if v.is_floating_point()}
    part = path.with_suffix(".part")
    save_file(state, part)
    part.replace(path)
    _hash_path(path).write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    return path


def load(path: Path = SHIPPED) -> Evaluator:
    """The evaluator with the weights of a file.

    Raises:
        WeightsError: if the file is absent, damaged (its hash is checked), or of another network.
    """
    try:
        content, wanted = path.read_bytes(), _hash_path(path).read_text().split()[0]
    except (OSError, IndexError) as error:
        raise WeightsError(
            f"the evaluator's weights {path} cannot be read with their hash ({error}); fetch them again, or fit "
            "them with hibari.training.evaluate.fitting.fit_evaluator"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        raise WeightsError(
            f"the evaluator's weights {path} are damaged: their SHA-256 is {found}, must be {wanted}; "
            "fetch them again"
        )
    evaluator = Evaluator()
    state = {name: value.float() for name, value in tensors_of(content).items()}
    counters = {n: v for n, v in evaluator.state_dict().items() if not v.is_floating_point()}
    try:
        evaluator.load_state_dict(state | counters)
    except RuntimeError as error:
        raise WeightsError(f"the evaluator's weights {path} are of another network: {error}") from error
    return evaluator.eval().requires_grad_(False)


def sha256(path: Path = SHIPPED) -> str:
    """The hash of a weights file, for reports."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _hash_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
