"""Folders as `hibari pull` leaves them, without weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hibari.catalog import RECEIPT

LTX = {
    "model_index.json": {"_class_name": "LTXConditionPipeline"},
    "transformer/config.json": {"in_channels": 8, "num_layers": 28},
    "vae/config.json": {"timestep_conditioning": True},
    "scheduler/scheduler_config.json": {},
    "transformer/diffusion_pytorch_model.safetensors": {},
    "vae/diffusion_pytorch_model.safetensors": {},
}


def pulled(models: Path, name: str, files: Mapping[str, Any] = LTX, *, complete: bool = True) -> Path:
    """A model of that name in the folder `models`; with files that hold these objects."""
    for path, content in files.items():
        (models / name / path).parent.mkdir(parents=True, exist_ok=True)
        (models / name / path).write_text(json.dumps(content))
    sign(models / name, files, complete=complete)
    return models / name


def sign(folder: Path, files: Iterable[str] = (), *, complete: bool = True) -> None:
    """Put into a model's folder what says that it was pulled."""
    receipt = {"licence": "harmless", "model": "", "complete": complete, "files": dict.fromkeys(files, "0")}
    (folder / RECEIPT).write_text(json.dumps(receipt))
