"""The catalog's way in."""

from __future__ import annotations

from pathlib import Path

import torch

from hibari.contracts import ModelSpec
from hibari.models import folder as folders
from hibari.models.cogvideox.model import CogVideoX


def load(spec: ModelSpec, path: Path, *, device: torch.device) -> CogVideoX:
    """The published model. Its weights are checked now, and read when they are first used.

    Raises:
        MissingPart: diffusers, or what quantises, is not installed.
        WeightsError: a file is missing, damaged or does not fit.
    """
    return CogVideoX(spec, folders.read(path), device=device)
