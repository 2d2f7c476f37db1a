"""The table of models: a name, what the outside may know of it, and where its loader is.

Reading the table loads nothing. `load` imports the one family that was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from hibari.contracts import ModelSpec, UnknownModel

if TYPE_CHECKING:
    import torch

    from hibari.models.protocol import Model


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the table. `loader` is "module:function", called as `function(spec, device=...)`."""

    spec: ModelSpec
    loader: str


_SIZES = ((128, 128), (160, 96), (96, 160))

MINI = ModelSpec(
    name="mini",
    summary="hibari-mini: our own small text-to-video transformer; runs on two CPU cores",
    sizes=_SIZES,
    fps=8,
    time_factor=4,
    space_factor=16,
    latent_channels=64,
    window_frames=9,
    window_overlap=3,
    max_seconds=60,
    default_seconds=4,
    default_steps=20,
    default_guidance=3.0,
    guidance_interval=(0.0, 1.0),
    sigma_shift=2.5,
    licence="Apache-2.0",
    weights="hibari-mini.safetensors",
)

TESTCARD = ModelSpec(
    name="testcard",
    summary="colour bars with the prompt and the frame number, in milliseconds; for tests and demonstrations",
    sizes=_SIZES,
    fps=8,
    time_factor=4,
    space_factor=16,
    latent_channels=4,
    window_frames=9,
    window_overlap=3,
    max_seconds=60,
    default_seconds=4,
    default_steps=4,
    default_guidance=1.0,
    guidance_interval=(0.0, 1.0),
    sigma_shift=1.0,
    licence="Apache-2.0",
    weights=None,
)

MODELS: Mapping[str, Entry] = MappingProxyType(
    {
        MINI.name: Entry(MINI, "hibari.models.mini.load:load"),
        TESTCARD.name: Entry(TESTCARD, "hibari.models.testcard.load:load"),
    }
)


def names() -> tuple[str, ...]:
    """The known names, in the table's order."""
    return tuple(MODELS)


def spec(name: str) -> ModelSpec:
    """What the outside may know of a model.

    Raises:
        UnknownModel: lists the known names and suggests the nearest.
    """
    return _entry(name).spec


def load(name: str, *, device: torch.device) -> Model:
    """The model itself, with its weights, on `device`. Imports torch.

    Raises:
        UnknownModel: as `spec`.
        WeightsError: its weights are missing or damaged.
        MissingPart: a package that it needs is not installed.
    """
    entry = _entry(name)
    module, function = entry.loader.split(":")
    return getattr(import_module(module), function)(entry.spec, device=device)


def _entry(name: str) -> Entry:
    try:
        return MODELS[name]
    except KeyError:
        near = get_close_matches(name.lower(), MODELS, n=1, cutoff=0.5)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UnknownModel(
            f"there is no model {name!r}{hint}; known models: {', '.join(MODELS)}", field="model"
        ) from None
