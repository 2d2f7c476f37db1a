"""Pictures and clips that somebody gives, read as the model sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hibari import media
from hibari.contracts import Clip, GenerationRequest, InputError, InvalidRequest, ModelSpec, Recipe
from hibari.engine.state import GenerationState, read_about
from hibari.models.protocol import Model

MAX_SOURCE_BYTES = 2 * 2**30
LATENT_SUFFIX = ".latent"

Source = str | Path | Clip | np.ndarray
"""A file; a clip that was made before; or pixels: uint8 [height, width, 3] of a picture, [frames, height, width, 3] of
a clip at the model's own rate."""


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """A clip as the tools use it.

    Attributes:
        latent_CFHW: float32; its first latent frame is a single picture.
        first: uint8 [h, w, 3], the first frame at native size.
        frames: pixel frames of the clip at the model's rate, as it was shown.
        padding: how often its last frame is repeated in the latent, which holds whole latent frames only.
        recipe_request: how it was made, where it carries a recipe of ours.
        size: (width, height) in px of what was given.
        name: for messages.
        native: (width, height) in px of the model's size it was read at.
    """

    latent_CFHW: Tensor
    first: np.ndarray
    frames: int
    padding: int
    recipe_request: GenerationRequest | None
    size: tuple[int, int]
    name: str
    native: tuple[int, int]


def read_picture(source: Source, native: tuple[int, int]) -> np.ndarray:
    """uint8 [1, h, w, 3] at the native (width, height): the first frame of whatever it is, cropped to the shape.

    Raises:
        InputError: it cannot be read, or is no picture.
    """
    frame = next(iter(_pixels(source)), None)
    if frame is None:
        raise InputError(f"{_name(source)} has no pictures in it")
    return _at_size(frame, native)[None]


def read_clip(
    model: Model,
    source: Source,
    native: tuple[int, int] | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Given:
    """A clip at the model's rate, as latents: its own if they were kept, else through the autoencoder.

    Args:
        native: the model's size that it must fit; by default the one that is nearest to its shape.
        generator: for a draw from what the autoencoder says; by default its mode.

    Raises:
        InputError: it cannot be read, or has fewer than two frames.
        InvalidRequest: it is longer than the model makes, or of another shape than `native`.
    """
    spec = model.spec
    request = _recipe_request(source)
    frames, size, fitting = _native_frames(spec, source)
    if native is not None and fitting != native:
        raise InvalidRequest(
            f"{_name(source)} is {size[0]}x{size[1]}, which is made at {fitting[0]}x{fitting[1]}; both clips must have "
            f"one shape, here that of {native[0]}x{native[1]}",
            field="size",
        )
    latent = _kept_latent(model, source, fitting)
    padding = 0
    if latent is None:
        padding = -(len(frames) - 1) % (spec.time_factor * spec.latent_step)
        latent = encode(model, np.concatenate([frames, frames[-1:].repeat(padding, axis=0)]), generator)
    return Given(
        latent_CFHW=latent,
        first=frames[0],
        # A kept latent may reach further than what was shown of it.
        frames=min(len(frames), 1 + spec.time_factor * (latent.shape[1] - 1) - padding),
        padding=padding,
        recipe_request=request,
        size=size,
        name=_name(source),
        native=fitting,
    )


def read_frames(spec: ModelSpec, source: Source, native: tuple[int, int], most: int) -> np.ndarray:
    """uint8 [n, h, w, 3] at the model's rate and the native (width, height), cropped to its shape: the first frames
    of a clip, `most` of them at most.

    Raises:
        InputError: it cannot be read, or has fewer than two frames.
    """
    return _native_frames(spec, source, native, most)[0]


@torch.inference_mode()
def encode(model: Model, frames: np.ndarray, generator: torch.Generator | None = None) -> Tensor:
    """Latent [C, F, H, W], float32 on the CPU, of uint8 frames [1 + time_factor * k, h, w, 3]."""
    return model.encode(torch.from_numpy(np.array(frames)), generator).float().cpu().clone()


def encode_inside(model: Model, frames: np.ndarray) -> Tensor:
    """The same of frames [time_factor * k, h, w, 3] that do not begin a clip: the first latent frame is a full one."""
    return encode(model, np.concatenate([frames[:1], frames]))[:, 1:]


def still_inside(model: Model, picture: np.ndarray) -> Tensor:
    """Latent [C, 1, H, W] of a picture [h, w, 3] that stands still somewhere inside a clip."""
    return encode_inside(model, picture[None].repeat(model.spec.time_factor, axis=0))


def keep_latent(path: Path, latent_CFHW: Tensor, recipe: Recipe) -> Path:
    """Store a clip's latent beside its file, where `read_clip` finds it as long as the file is this clip's. Returns
    where.

    Raises:
        OutputError: it cannot be written.
    """
    beside = _beside(path)
    GenerationState(latent_CFHW).save(beside, {"recipe": recipe.to_json()})
    return beside


def _beside(path: Path) -> Path:
    return path.with_name(path.name + LATENT_SUFFIX)


def _kept_latent(model: Model, source: Source, native: tuple[int, int]) -> Tensor | None:
    """A clip's latent, if it was kept and belongs to this clip, these weights and this size."""
    recipe = _recipe(source)
    if isinstance(source, Clip):
        latent = source.latent_CFHW
    elif isinstance(source, (str, Path)) and (beside := _beside(Path(source))).exists():
        of = json.loads(read_about(beside).get("recipe", "null"))
        latent = GenerationState.load(beside).latent_CFHW if of == recipe else None
    else:
        return None
    spec = model.spec
    cells = native[1] // spec.space_factor, native[0] // spec.space_factor
    fits = latent is not None and latent.shape[0] == spec.latent_channels and latent.shape[2:] == cells
    return latent if fits and recipe and recipe["weights_sha256"] == model.weights_sha256 else None


def _recipe(source: Source) -> dict[str, Any] | None:
    """As JSON has it; None for somebody else's clip."""
    if isinstance(source, Clip):
        return json.loads(source.recipe.to_json())
    if isinstance(source, np.ndarray):
        return None
    try:
        return media.read_recipe(Path(source))
    except InputError:
        return None


def _recipe_request(source: Source) -> GenerationRequest | None:
    if isinstance(source, Clip):
        return source.recipe.request
    try:
        return GenerationRequest.from_dict((_recipe(source) or {})["request"])
    except (InputError, KeyError):
        return None


def _native_frames(
    spec: ModelSpec, source: Source, native: tuple[int, int] | None = None, most: int | None = None
) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
    """Frames at the model's rate and `native` size (None is the nearest), (width, height) of the source, and that size.
    Of more than `most` frames only the first are read; None is all, up to the longest clip of the model."""
    rate = _rate(spec, source)
    frames: list[np.ndarray] = []
    size = (0, 0)
    longest = 1 + round(spec.max_seconds * spec.fps)
    for index, frame in enumerate(_pixels(source)):
        # Whole source frames, never mixed ones: those nearest to the model's own moments.
        if index < len(frames) * rate / spec.fps - 0.5:
            continue
        if not frames:
            size = frame.shape[1], frame.shape[0]
        native = native or spec.native_size(*size)
        if most is not None and len(frames) >= most:
            break
        if len(frames) == longest:
            raise InvalidRequest(
                f"{_name(source)} is longer than {spec.max_seconds:g} s, the most {spec.name} makes; trim it first",
                field="seconds",
            )
        small = _at_size(frame, native)
        frames += [small] * max(1, int(spec.fps / rate)) if rate < spec.fps else [small]
    if len(frames) < 2:
        raise InputError(
            f"{_name(source)} is a single picture; a clip is wanted here (a picture goes to --image)"
        )
    assert native is not None
    return np.stack(frames[:most]), size, native


def _rate(spec: ModelSpec, source: Source) -> float:
    if isinstance(source, Clip):
        return source.fps
    return spec.fps if isinstance(source, np.ndarray) else max(media.frame_rate(_file(source)), 0.1)


def _pixels(source: Source) -> Iterator[np.ndarray]:
    """Frames of whatever is given, uint8 [height, width, 3].

    Raises:
        InputError: it cannot be read, is too large, or is no picture.
    """
    if isinstance(source, (str, Path)):
        yield from media.decode_frames(_file(source))
        return
    frames = source.frames if isinstance(source, Clip) else source
    if frames.ndim == 3:
        frames = frames[None]
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise InputError(
            f"the given pixels are {frames.dtype} {list(frames.shape)}; wanted is uint8 [height, width, 3] or "
            "[frames, height, width, 3]"
        )
    yield from frames


def _file(source: str | Path) -> Path:
    """The path of a file that is there and not too large.

    Raises:
        InputError: it is not, or is.
    """
    path = Path(source)
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if size_bytes > MAX_SOURCE_BYTES:
        raise InputError(
            f"{path} has {size_bytes / 2**30:.1f} GB; at most {MAX_SOURCE_BYTES / 2**30:g} GB are read; trim it"
        )
    return path


def _at_size(frame: np.ndarray, native: tuple[int, int]) -> np.ndarray:
    height, width = frame.shape[:2]
    if (width, height) == native:
        return frame
    box = media.central_box(width, height, *native)
    return np.asarray(Image.fromarray(frame).resize(native, Image.Resampling.LANCZOS, box=box))


def _name(source: Source) -> str:
    return str(source) if isinstance(source, (str, Path)) else "the given clip"
