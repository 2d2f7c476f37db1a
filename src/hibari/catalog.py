"""The table of models: a name, what the outside may know of it, and where its loader is; and the table of families
whose published checkpoints can be used as a model.

Reading the tables loads nothing. `load` imports the one family that was asked for. What a checkpoint holds is decided
by the class that its `model_index.json` (or a transformer's own `config.json`, or a single file's metadata) names, or
by the files of a layout that names none; and by nothing in its path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from hibari.contracts import InvalidRequest, ModelSpec, UnknownModel, WeightsError

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
    """Models that are used as they were published, with `--model PATH`.

    Attributes:
        name: for people.
        summary: one line for a list of models.
        classes: of pipelines, as `model_index.json` has them; or of transformers, as their `config.json` or a single
            file's metadata has them, where what is published has no such index.
        package: has `spec:read`, called as `read(path, name)` and free of torch, and `load:load`, called as
            `load(spec, path, device=...)`.
        needs: what must be there.
        files: of a layout in which no file names a class.
    """

    name: str
    summary: str
    classes: tuple[str, ...]
    package: str
    needs: str
    files: tuple[str, ...] = ()


INDEX = "model_index.json"
_FOLDER = "hibari[models] and the published folder in the layout of diffusers"
_HEADER_BYTES = 100_000_000  # the most that safetensors itself takes

FAMILIES = (
    Family(
        name="LTX-Video",
        summary="2B and 13B, 0.9.0 to 0.9.8: text, picture and clip to video",
        classes=("LTXPipeline", "LTXImageToVideoPipeline", "LTXConditionPipeline", "Transformer3DModel"),
        package="hibari.models.ltx_video",
        needs=f"{_FOLDER}, or the single file",
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
        needs=f"{_FOLDER}, or in that of its authors",
        files=("dit.safetensors", "encoder.safetensors", "decoder.safetensors"),
    ),
    Family(
        name="Pyramid Flow",
        summary="SD3 and miniFLUX: text, picture and clip to video",
        classes=("PyramidFluxTransformer", "PyramidDiffusionMMDiT"),
        package="hibari.models.pyramid_flow",
        needs="the published folder, of which the transformer's (diffusion_transformer_...) is named",
    ),
)


@dataclass(frozen=True, slots=True)
class Hosted:
    """A published model that `hibari pull` knows by a name: where a hub has it, and what in its folder is the model,
    where it is not the folder itself."""

    name: str
    repo: str
    model: str = ""


HOSTED = (
    Hosted("ltx-video-0.9.1", "a-r-r-o-w/LTX-Video-0.9.1-diffusers"),
    Hosted("ltx-video-0.9.5", "Lightricks/LTX-Video-0.9.5"),
    Hosted("ltx-video-0.9.7-dev", "Lightricks/LTX-Video-0.9.7-dev"),
    Hosted("ltx-video-0.9.7-distilled", "Lightricks/LTX-Video-0.9.7-distilled"),
    Hosted("ltx-video-0.9.8-13b-distilled", "Lightricks/LTX-Video-0.9.8-13B-distilled"),
    Hosted("cogvideox-2b", "zai-org/CogVideoX-2b"),
    Hosted("cogvideox-5b", "zai-org/CogVideoX-5b"),
    Hosted("cogvideox-5b-i2v", "zai-org/CogVideoX-5b-I2V"),
    Hosted("cogvideox-1.5-5b", "zai-org/CogVideoX1.5-5B"),
    Hosted("cogvideox-1.5-5b-i2v", "zai-org/CogVideoX1.5-5B-I2V"),
    Hosted("mochi-1", "genmo/mochi-1-preview"),
    Hosted("pyramid-flow-miniflux", "rain1011/pyramid-flow-miniflux", "diffusion_transformer_384p"),
    Hosted("pyramid-flow-sd3", "rain1011/pyramid-flow-sd3", "diffusion_transformer_384p"),
)
RECEIPT = "hibari.json"
"""What `hibari pull` writes into a folder."""

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
    default_steps=12,
    default_guidance=4.0,
    guidance_interval=(0.0, 1.0),
    sigma_shift=2.5,
    default_sampler="adams-bashforth",
    licence="Apache-2.0",
    weights="hibari-mini.safetensors",
    reference_step_s=0.11,  # two cores of an Intel Xeon in float32: benchmarks/generate.py
)

MINI_FAST = replace(
    MINI,
    name="mini-fast",
    summary="hibari-mini in 4 steps without guidance: several times faster, a little rougher",
    default_steps=4,
    default_guidance=1.0,
    default_sampler="euler",
    weights="hibari-mini-fast.safetensors",
    reference_step_s=0.10,  # the same
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
        MINI_FAST.name: Entry(MINI_FAST, "hibari.models.mini.load:load"),
        TESTCARD.name: Entry(TESTCARD, "hibari.models.testcard.load:load"),
    }
)


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model that `hibari pull` has brought whole.

    Attributes:
        path: folder or file that is the model.
        licence: under which it was accepted.
        files: all that came.
    """

    path: Path
    licence: str
    files: tuple[Path, ...]


def names(models: Path | None = None) -> tuple[str, ...]:
    """The known names: the table's, in its order, then those of what was pulled into the folder `models`."""
    return (*MODELS, *(pulled(models) if models else ()))


def spec(name: str, models: Path | None = None, *, also: Sequence[str] = ()) -> ModelSpec:
    """What the outside may know of a model of the table, or of what was pulled into the folder `models`. Never of a
    path, so the name may come from anybody.

    Args:
        also: further names that an error lists.

    Raises:
        UnknownModel: lists the known names, and suggests the nearest or to pull it.
        WeightsError: what was pulled does not say what it is.
    """
    if found := _pulled(name, models):
        return replace(_published(found.path, name), licence=found.licence)
    return _entry(name, models, also).spec


def pulled(models: Path) -> dict[str, Pulled]:
    """What `hibari pull` has brought into a folder whole, by name; without what has the name of one of the table."""
    found: dict[str, Pulled] = {}
    for receipt in sorted(models.glob(f"*/{RECEIPT}")):
        folder = receipt.parent.absolute()  # links have the name, what they lead to may not
        try:
            said: Any = json.loads(receipt.read_bytes())
            one = Pulled(
                folder / str(said["model"]),
                str(said["licence"]),
                tuple(folder / name for name in said["files"]),
            )
            if said["complete"] and folder.name not in MODELS:
                found[folder.name] = one
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not a receipt of ours, or half of one: that model is pulled again
    return found


def find(name: str, models: Path | None = None) -> ModelSpec:
    """As `spec`; and of a checkpoint at a path, whose last part is then the spec's name: no recipe should tell where on
    a machine it is. For what a machine's owner says, and not for what comes over the network.

    Raises:
        UnknownModel: as `spec`, or the checkpoint is of no known family.
        WeightsError: what it says of itself is missing or contradicts the family.
    """
    if name in MODELS or _pulled(name, models) or (path := _at(name)) is None:
        return spec(name, models)
    return _published(path, path.name if path.name not in MODELS else f"{path.name} (published)")


def where(name: str, models: Path | None = None) -> Path | None:
    """The folder or file that `find` means by a name or a path, absolute; None for a model of the table, and for what
    is not there."""
    if known := _pulled(name, models):
        return known.path
    return None if name in MODELS else _at(name)


def load(name: str, *, device: torch.device, models: Path | None = None, quantise: str = "") -> Model:
    """The model itself, with its weights, on `device`: a name or a path as in `find`. Imports torch.

    Args:
        models: folder of what was pulled.
        quantise: "int8" or "fp8" for the weights of a published model's transformer and of T5.

    Raises:
        UnknownModel: as `find`.
        InvalidRequest: the model's weights cannot be quantised.
        WeightsError: its weights are missing or damaged.
        MissingPart: a package that it needs is not installed.
    """
    path = where(name, models)
    if path is not None:
        found = find(name, models)
        if quantise:
            found = replace(found, quantised=quantise, software=(*found.software, "torchao"))
        return import_module(f"{_family(path).package}.load").load(found, path, device=device)
    entry = _entry(name, models)
    if quantise:
        raise InvalidRequest(f"the weights of {name} are small, and are not quantised", field="quantise")
    module, function = entry.loader.split(":")
    return getattr(import_module(module), function)(entry.spec, device=device)


def header(path: Path) -> dict[str, Any]:
    """What a safetensors file says of its tensors, by their names: `dtype`, `shape`; and `__metadata__`.

    Raises:
        WeightsError: it is missing, or is none.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _HEADER_BYTES:
                raise ValueError("its header is too long")
            said: Any = json.loads(file.read(length))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors: {error}") from error
    if not isinstance(said, dict):
        raise WeightsError(f"{path} cannot be read as safetensors: its header is no object")
    return cast("dict[str, Any]", said)


def weights_bytes(name: str, models: Path | None = None) -> int | None:
    """What the files of a model take: of the table, its weights, 0 for one that has none; of what was pulled into
    `models`, all that came. None where one of them is missing. Imports nothing of its family.

    Raises:
        UnknownModel: as `spec`.
    """
    known = _pulled(name, models)
    files = known.files if known else _weights_files(_entry(name, models))
    try:
        return sum(file.stat().st_size for file in files)
    except OSError:
        return None


def _weights_files(entry: Entry) -> tuple[Path, ...]:
    if entry.spec.weights is None:
        return ()
    family = find_spec(entry.loader.split(":")[0].rpartition(".")[0])
    assert family is not None
    assert family.origin is not None
    return (Path(family.origin).parent / "weights" / entry.spec.weights,)


def _pulled(name: str, models: Path | None) -> Pulled | None:
    """For a name of the table the folder is not read: every request asks."""
    return pulled(models).get(name) if models and name not in MODELS else None


def _entry(name: str, models: Path | None, also: Sequence[str] = ()) -> Entry:
    try:
        return MODELS[name]
    except KeyError:
        name, known = name[:60], (*names(models), *also)
        near = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        hint = f" (did you mean {near[0]}?)" if near else ""
        if any(one.name == name for one in HOSTED):
            hint = f" here; `hibari pull {name}` fetches it"
        raise UnknownModel(
            f"there is no model {name!r}{hint}; known models: {', '.join(known)}", field="model"
        ) from None


def _at(path: str) -> Path | None:
    """The folder or the file, absolute; None if there is none."""
    found = Path(path).expanduser()
    return found.absolute() if found.exists() else None  # links have the name, what they lead to may not


def _published(path: Path, name: str) -> ModelSpec:
    found: ModelSpec = import_module(f"{_family(path).package}.spec").read(path, name)
    return found


def _family(path: Path) -> Family:
    for family in FAMILIES:
        if (
            family.files
            and not (path / INDEX).exists()
            and all((path / name).is_file() for name in family.files)
        ):
            return family
    try:
        if path.is_file():
            config: Any = json.loads(header(path)["__metadata__"]["config"])
            said = str(config["transformer"]["_class_name"])
        else:
            said_in = path / INDEX if (path / INDEX).exists() else path / "config.json"
            said = str(json.loads(said_in.read_bytes())["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path} does not say in its metadata what model it is of; of other files, name the folder"
            if path.is_file()
            else f"{path} is no checkpoint folder in the layout of diffusers: no pipeline's class can be read from its "
            f"{INDEX}"
        ) from error
    known = {name: family for family in FAMILIES for name in family.classes}
    if said not in known:
        raise UnknownModel(f"{path} holds a {said}; known are {', '.join(known)}", field="model")
    return known[said]
