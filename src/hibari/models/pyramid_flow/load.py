"""The catalog's way in."""

from __future__ import annotations

from pathlib import Path

import torch

from hibari.contracts import ModelSpec
from hibari.models.pyramid_flow.model import PyramidFlow
from hibari.settings import Settings


def load(spec: ModelSpec, folder: Path, *, device: torch.device) -> PyramidFlow:
    """The model whose transformer is in `folder`. Its weights are checked now, and read when they are first used.

    Raises:
        MissingPart: what quantises is not installed.
        WeightsError: a file is missing, damaged or does not fit.
    """
    history_bytes = Settings.from_environment().history_bytes
    return PyramidFlow(spec, folder, device=device, history_bytes=history_bytes)
