"""The catalog's way in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hibari.contracts import ModelSpec, WeightsError
from hibari.models.checkpoint import dtype_for
from hibari.models.folder import read_json
from hibari.models.pyramid_flow.model import PyramidFlow
from hibari.models.pyramid_flow.spec import AUTOENCODER
from hibari.models.pyramid_flow.variants import VARIANTS
from hibari.models.pyramid_flow.weights import read


def load(spec: ModelSpec, folder: Path, *, device: torch.device) -> PyramidFlow:
    """The model whose transformer is in `folder`.

    Raises:
        WeightsError: a file is missing, damaged or does not fit.
    """
    kind = str(read_json(folder / "config.json").get("_class_name"))
    if kind not in VARIANTS:
        raise WeightsError(
            f"{folder} holds a {kind}; the transformers of Pyramid Flow are {', '.join(VARIANTS)}"
        )
    transformer: Any = read(folder, dtype=dtype_for(device), device=device)
    autoencoder: Any = read(folder.parent / AUTOENCODER, dtype=dtype_for(device), device=device)
    return PyramidFlow(spec, VARIANTS[kind], autoencoder, transformer, folder, device=device)
