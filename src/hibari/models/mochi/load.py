"""The catalog's way in."""

from __future__ import annotations

from pathlib import Path

import torch

from hibari.contracts import ModelSpec
from hibari.models.mochi import layout
from hibari.models.mochi.model import Mochi


def load(spec: ModelSpec, path: Path, *, device: torch.device) -> Mochi:
    """The published model. Its weights are checked now, and read when they are first used.

    Raises:
        MissingPart: diffusers, or what quantises, is not installed.
        WeightsError: a file is missing, damaged or does not fit.
    """
    return Mochi(spec, layout.read(path), device=device)
