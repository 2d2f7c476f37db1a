"""Loading hibari-mini from the weights that are installed with the package."""

from __future__ import annotations

import torch

from hibari.contracts import ModelSpec
from hibari.models import manifest
from hibari.models.mini import weights
from hibari.models.mini.model import Mini


def load(spec: ModelSpec, *, device: torch.device) -> Mini:
    """The model of `spec.weights`, checked against its hash.

    Raises:
        WeightsError: if the file is missing, damaged or does not fit.
    """
    assert spec.weights is not None, "hibari-mini has a weights file"
    path = weights.FOLDER / spec.weights
    digest = manifest.check(path)
    return Mini(spec, *weights.load(path), weights_sha256=digest, device=device)
