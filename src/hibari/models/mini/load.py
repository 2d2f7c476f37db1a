"""Loading hibari-mini from the weights that are installed with the package."""

from __future__ import annotations

import torch

from hibari.contracts import ModelSpec
from hibari.models import manifest
from hibari.models.mini import weights
from hibari.models.mini.model import Mini
from hibari.models.precision import dtype_for


def load(spec: ModelSpec, *, device: torch.device) -> Mini:
    """The model of `spec.weights`, checked against its hash.

    Raises:
        WeightsError: if the file is missing, damaged or does not fit.
    """
    assert spec.weights is not None, "hibari-mini has a weights file"
    path = weights.FOLDER / spec.weights
    digest = manifest.check(path)
    autoencoder, transformer, upscaler = weights.load(path)
    # With AMX that takes half the time, and clips differ by less than can be seen: docs/hibari-mini.md.
    dtype = dtype_for(device, on_amx="bfloat16")
    for network in (autoencoder.decoder, transformer, upscaler):
        if network:
            network.to(dtype)
    return Mini(spec, autoencoder, transformer, upscaler, weights_sha256=digest, device=device)
