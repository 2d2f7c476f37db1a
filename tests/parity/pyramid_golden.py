"""Golden tensors of Pyramid Flow: small random weights, inputs, and what the authors' code made of them (float32, CPU).

Every parameter is random, none is zero. Weights were rounded to float16 before that code ran, so float16 stores them
exactly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hibari.models.pyramid_flow.weights import NETWORKS, key_of

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Golden:
    """A network of ours with the golden weights, and the tensors by name."""

    network: Any
    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any]


@cache
def golden(name: str) -> Golden:
    """What `golden/NAME.safetensors` holds."""
    path = GOLDEN / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    prefix = "weights."
    weights = {
        key.removeprefix(prefix): value.float() for key, value in tensors.items() if key.startswith(prefix)
    }
    config = json.loads(metadata["config"])
    network: nn.Module = NETWORKS[config["_class_name"]](config, str(path))
    take = key_of(config["_class_name"])
    state = {name: weights.pop(take(name).key) for name in network.state_dict()}
    assert not weights, f"{path} has more than its network: {list(weights)}"
    network.load_state_dict(state, assign=True)
    rest = {key: value for key, value in tensors.items() if not key.startswith(prefix)}
    settings = json.loads(metadata["settings"]) | {"class_name": config["_class_name"]}
    return Golden(network.eval().requires_grad_(False), rest, settings)


def write_folder(
    folder: Path,
    name: str,
    *,
    form: str = "safetensors",
    change: Callable[[dict[str, Tensor]], object] | None = None,
    **settings: object,
) -> dict[str, Tensor]:
    """A folder as the authors publish it, of the golden weights under their original names."""
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        config = json.loads(file.metadata()["config"]) | settings
        tensors = {
            key.removeprefix("weights."): file.get_tensor(key)
            for key in file.keys()  # noqa: SIM118 - not a dict
            if key.startswith("weights.")
        }
    if change:
        change(tensors)
    (folder / "config.json").write_text(json.dumps(config))
    if form == "safetensors":
        save_file(tensors, folder / "diffusion_pytorch_model.safetensors")
    else:
        torch.save(tensors, folder / "diffusion_pytorch_model.bin")
    return tensors
