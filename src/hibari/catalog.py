"""The table of models: a name, what the outside may know of it, and where its loader is; and the table of families
whose published folders can be used as a model.

Reading the tables loads nothing. `load` imports the one family that was asked for. What a folder holds is decided by
the class that its `model_index.json` (or a transformer's own `config.json`) names, and by nothing in its path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hibari.contracts import ModelSpec, UnknownModel, WeightsError

if TYPE_CHECKING:
    import torch

    from hibari.models.protocol import Model


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the table. `loader` is "module:function", called as `function(spec, device=...)`."""

    spec: ModelSpec
    loader: str


@dataclass(frozen=True, slots=True)
class Family:
    """Models that are used from their published folders, as `--model FOLDER`.

    Attributes:
        name: for people.
        summary: one line for a list of models.
        classes: of pipelines, as `model_index.json` has them; or of transformers, as their `config.json` has them,
            where what is published has no such index.
        package: has `spec:read`, called as `read(folder, name)` and free of torch, and `load:load`, called as
            `load(spec, folder, device=...)`.
        needs: what must be there besides the folder.
    """

    name: str
    summary: str
    classes: tuple[str, ...]
    package: str
    needs: str


INDEX = "model_index.json"
_FOLDER = "hibari[models] and the published folder in the layout of diffusers"

FAMILIES = (
    Family(
        name="LTX-Video",
        summary="2B and 13B, 0.9.0 to 0.9.8: text, picture and clip to video",
        classes=("LTXPipeline", "LTXImageToVideoPipeline", "LTXConditionPipeline"),
        package="hibari.models.ltx_video",
        needs=_FOLDER,
    ),
    Family(
        name="CogVideoX",
        summary="2B, 5B and 1.5: text to video, or a picture and text to video",
        classes=("CogVideoXPipeline", "CogVideoXImageToVideoPipeline", "CogVideoXVideoToVideoPipeline"),
        package="hibari.models.cogvideox",
        needs=_FOLDER,
    ),
    Family(
        name="Mochi 1",
        summary="text to video",
        classes=("MochiPipeline",),
        package="hibari.models.mochi",
        needs=_FOLDER,
    ),
    Family(
        name="Pyramid Flow",
        summary="SD3 and miniFLUX: text, picture and clip to video",
        classes=("PyramidFluxTransformer", "PyramidDiffusionMMDiT"),
        package="hibari.models.pyramid_flow",
        needs="the published folder, of which the transformer's (diffusion_transformer_...) is named",
    ),
)

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
    default_guidance=4.0,
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


def find(name: str) -> ModelSpec:
    """As `spec`, and of a checkpoint folder, whose path is then the spec's name. For what a machine's owner says, and
    not for what comes over the network.

    Raises:
        UnknownModel: as `spec`, or the folder is of no known family.
        WeightsError: what the folder says of itself is missing or contradicts the family.
    """
    folder = _folder(name)
    if folder is None:
        return spec(name)
    module = import_module(f"{_family(folder).package}.spec")
    found: ModelSpec = module.read(folder, str(folder))
    return found


def load(name: str, *, device: torch.device) -> Model:
    """The model itself, with its weights, on `device`: a name of the table, or a folder as in `find`. Imports torch.

    Raises:
        UnknownModel: as `find`.
        WeightsError: its weights are missing or damaged.
        MissingPart: a package that it needs is not installed.
    """
    folder = _folder(name)
    if folder is not None:
        return import_module(f"{_family(folder).package}.load").load(find(name), folder, device=device)
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


def _folder(name: str) -> Path | None:
    """The folder that is meant, absolute; None for a name of the table."""
    if name in MODELS:
        return None
    path = Path(name).expanduser()
    return path.resolve() if path.is_dir() else None


def _family(folder: Path) -> Family:
    try:
        said_in = folder / INDEX if (folder / INDEX).exists() else folder / "config.json"
        index: Any = json.loads(said_in.read_bytes())
        said = str(index["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{folder} is no checkpoint folder in the layout of diffusers: no pipeline's class can be read from its "
            f"{INDEX}"
        ) from error
    known = {name: family for family in FAMILIES for name in family.classes}
    if said not in known:
        raise UnknownModel(
            f"{folder} holds a {said}; folders can be used of {', '.join(known)}", field="model"
        )
    return known[said]
