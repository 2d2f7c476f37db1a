"""The catalog's way in."""

from __future__ import annotations

from pathlib import Path

import torch

from hibari.contracts import ModelSpec
from hibari.models.cogvideox.model import CogVideoX


def load(spec: ModelSpec, folder: Path, *, device: torch.device) -> CogVideoX:
    """The model of a folder. Its weights are checked now, and read when they are first used.

    Raises:
        MissingPart: diffusers is not installed.
        WeightsError: a file is missing, damaged or does not fit.
    """
    return CogVideoX(spec, folder, device=device)
