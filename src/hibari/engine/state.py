"""Where a run stands: plain tensors and numbers, to be stored, moved and gone on with, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hibari.contracts import GenerationRequest, InputError, InvalidRequest, ModelSpec, OutputError
from hibari.diffusion.noise import clip_noise
from hibari.engine.start import Start, first_shape, latent_shape

_FORMAT = "hibari generation state 3"
_KEYFRAMES = ("keyframes_CKHW", "first_keyframes_CKHW")
_LATENTS = ("latent_CFHW", "velocity_CFHW", "x0_CFHW", "window_CFHW", "given_CFHW", *_KEYFRAMES)


@dataclass(frozen=True, slots=True, eq=False)
class GenerationState:
    """All that the next update needs besides the model and the request.

    Attributes:
        latent_CFHW: float32, the whole clip: data where a stage has finished, noise where none has begun.
        stage: index into the plan.
        step: updates that have been made in that stage; at its number of steps the stage is finished.
        velocity_CFHW: float32, the window's velocity at the last update of this stage; None before the first.
            Multistep samplers look back to it.
        x0_CFHW: float32, the data that it led to from where the window was then: a preview. None with the velocity.
        change: by which share of its norm the velocity changed at the last update that computed one; infinite before
            there were two.
        reused: whether the last update took over the velocity of the one before it.
        window_CFHW: float32, the window in work where it has fewer cells than the clip; else None, and it lies in the
            clip.
        given_CFHW: float32, frames that the network is shown beside the clip, 0 where there is none; None for models
            that are given frames in the clip.
        keyframes_CKHW: float32, pictures that the network is shown beside the clip at one moment each, or None.
        first_keyframes_CKHW: the same for stages that work on fewer cells than the clip has.
        keyframes_at: the pixel frame of each, counted in the clip.
        generator: uint8, from where random numbers go on; None where none are wanted any more.
    """

    latent_CFHW: Tensor
    stage: int = 0
    step: int = 0
    velocity_CFHW: Tensor | None = None
    change: float = inf
    reused: bool = False
    x0_CFHW: Tensor | None = None
    window_CFHW: Tensor | None = None
    given_CFHW: Tensor | None = None
    keyframes_CKHW: Tensor | None = None
    first_keyframes_CKHW: Tensor | None = None
    keyframes_at: tuple[int, ...] = ()
    generator: Tensor | None = None

    def save(self, path: Path, about: Mapping[str, str] | None = None) -> None:
        """Write a safetensors file. It is written aside and renamed, so `path` is never half a state.

        `about` is what else its metadata should say; `read_about` reads it back.

        Raises:
            OutputError: the file cannot be written; what was at `path` is still there.
        """
        tensors = {name: getattr(self, name) for name in (*_LATENTS, "generator")}
        content = safetensors.torch.save(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items() if tensor is not None},
            metadata={
                **(about or {}),
                "format": _FORMAT,
                "stage": str(self.stage),
                "step": str(self.step),
                "change": repr(self.change),
                "reused": str(int(self.reused)),
                "keyframes_at": " ".join(map(str, self.keyframes_at)),
            },
        )
        aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except OSError as error:
            raise OutputError(f"cannot write the state to {path}: {error.strerror}") from error
        finally:
            with suppress(OSError):  # gone if all went well; what went wrong has been said
                aside.unlink()

    @classmethod
    def load(cls, path: Path) -> GenerationState:
        """Read what `save` wrote, onto the CPU.

        Raises:
            InputError: there is no such file, it is damaged, or it holds something other than one state.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        except (OSError, SafetensorError) as error:
            raise InputError(f"cannot read a generation state from {path}: {error}") from error
        if (found := metadata.get("format")) != _FORMAT:
            raise InputError(f"{path} has format {found!r}; a generation state has {_FORMAT!r}")
        if not {"latent_CFHW"} <= tensors.keys() <= {*_LATENTS, "generator"}:
            raise InputError(
                f"{path} holds {sorted(tensors)}; a state holds latent_CFHW and perhaps "
                f"{', '.join(_LATENTS[1:])} and generator"
            )
        for name, tensor in tensors.items():
            dtype, axes = (torch.uint8, 1) if name == "generator" else (torch.float32, 4)
            if tensor.dtype != dtype or tensor.ndim != axes:
                raise InputError(
                    f"{name} in {path} is {tensor.dtype} {list(tensor.shape)}; it must be {dtype}, {axes} axes"
                )
        keyframes_at = metadata.get("keyframes_at", "").split()
        held = {tensors[name].shape[1] for name in _KEYFRAMES if name in tensors} or {0}
        if held != {len(keyframes_at)} or not all(number.isdecimal() for number in keyframes_at):
            raise InputError(f"{path} holds keyframes of {sorted(held)}, at the pixel frames {keyframes_at}")
        cursor = [metadata.get(name, "") for name in ("stage", "step", "reused")]
        if not all(number.isdecimal() for number in cursor):
            raise InputError(f"{path} has the stage, step and reuse {cursor}; all must be whole numbers")
        stage, step, reused = (int(number) for number in cursor)
        try:
            change = float(metadata.get("change", ""))
        except ValueError as error:
            raise InputError(f"{path} says no number of its velocity's change") from error
        return cls(
            **tensors,
            keyframes_at=tuple(map(int, keyframes_at)),
            stage=stage,
            step=step,
            change=change,
            reused=bool(reused),
        )


def read_about(path: Path) -> dict[str, str]:
    """The metadata of a saved state.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read a generation state from {path}: {error}") from error


def initial_state(spec: ModelSpec, request: GenerationRequest, start: Start | None = None) -> GenerationState:
    """Noise of the clip's native size, with what is given, at the first step of the first stage, on the CPU.

    Raises:
        InvalidRequest: the clip is made twice, and `start` does not say of the first pass what it does of the second.
    """
    generator = torch.Generator().manual_seed(request.seed)
    if start and start.generator is not None:
        generator.set_state(start.generator)
    shape, small = latent_shape(spec, request), first_shape(spec, request)
    first = start.first_CFHW if start else None
    if small and start is None:
        first = clip_noise(request.seed, small, spec.noise, generator)
    if small and (first is None or tuple(first.shape) != small):
        raise InvalidRequest(
            f"the preset {request.preset} makes a clip twice, of a prompt and pictures; it goes on from no other clip",
            field="preset",
        )
    noise = start.noise_CFHW if start else None
    if noise is None:
        noise = clip_noise(request.seed, shape, spec.noise, generator)
    given = None
    if spec.given == "beside":
        given = (
            start.latent_CFHW * torch.tensor(start.given_F)[:, None, None] if start else torch.zeros(shape)
        )
        start = replace(start, given_F=(False,) * shape[1]) if start else None
    return GenerationState(
        start.mixed_with(noise, request.strength) if start else noise,
        window_CFHW=first,
        given_CFHW=given,
        keyframes_CKHW=start.keyframes_CKHW if start else None,
        first_keyframes_CKHW=start.first_keyframes_CKHW if start else None,
        keyframes_at=start.keyframes_at if start else (),
        generator=generator.get_state(),
    )
