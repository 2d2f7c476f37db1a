"""Where a run stands: plain tensors and numbers, to be stored, moved and gone on with, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hibari.contracts import GenerationRequest, InputError, ModelSpec, OutputError
from hibari.engine.start import Start, latent_shape

_FORMAT = "hibari generation state 2"


@dataclass(frozen=True, slots=True, eq=False)
class GenerationState:
    """All that the next update needs besides the model and the request.

    Attributes:
        latent_CFHW: float32, the whole clip: data where a stage has finished, noise where none has begun.
        stage: index into the plan.
        step: updates that have been made in that stage; at its number of steps the stage is finished.
        velocity_CFHW: float32, the window's velocity at the last update of this stage; None before the first.
            Multistep samplers look back to it, and it leads from the latent to the predicted x0 of a preview.
        change: by which share of its norm the velocity changed at the last update that computed one; infinite before
            there were two.
        reused: whether the last update took over the velocity of the one before it.
    """

    latent_CFHW: Tensor
    stage: int = 0
    step: int = 0
    velocity_CFHW: Tensor | None = None
    change: float = inf
    reused: bool = False

    def save(self, path: Path, about: Mapping[str, str] | None = None) -> None:
        """Write a safetensors file. It is written aside and renamed, so `path` is never half a state.

        `about` is what else its metadata should say; `read_about` reads it back.

        Raises:
            OutputError: the file cannot be written; what was at `path` is still there.
        """
        tensors = {"latent_CFHW": self.latent_CFHW}
        if self.velocity_CFHW is not None:
            tensors["velocity_CFHW"] = self.velocity_CFHW
        content = safetensors.torch.save(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
            metadata={
                **(about or {}),
                "format": _FORMAT,
                "stage": str(self.stage),
                "step": str(self.step),
                "change": repr(self.change),
                "reused": str(int(self.reused)),
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
        if not {"latent_CFHW"} <= tensors.keys() <= {"latent_CFHW", "velocity_CFHW"}:
            raise InputError(
                f"{path} holds {sorted(tensors)}; a state holds latent_CFHW and perhaps velocity_CFHW"
            )
        for name, tensor in tensors.items():
            if tensor.dtype != torch.float32 or tensor.ndim != 4:
                raise InputError(
                    f"{name} in {path} is {tensor.dtype} {list(tensor.shape)}; it must be float32, 4 axes"
                )
        cursor = [metadata.get(name, "") for name in ("stage", "step", "reused")]
        if not all(number.isdecimal() for number in cursor):
            raise InputError(f"{path} has the stage, step and reuse {cursor}; all must be whole numbers")
        stage, step, reused = (int(number) for number in cursor)
        try:
            change = float(metadata.get("change", ""))
        except ValueError as error:
            raise InputError(f"{path} says no number of its velocity's change") from error
        velocity = tensors.get("velocity_CFHW")
        return cls(tensors["latent_CFHW"], stage, step, velocity, change, bool(reused))


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
    """Noise of the clip's native size, with what is given, at the first step of the first stage, on the CPU."""
    channels, frames, height, width = latent_shape(spec, request)
    noise = torch.stack(
        [frame_noise(request.seed, frame, (channels, height, width)) for frame in range(frames)], dim=1
    )
    return GenerationState(start.mixed_with(noise, request.strength) if start else noise)


def frame_noise(seed: int, frame: int, shape: tuple[int, int, int]) -> Tensor:
    """Standard normal noise of one latent frame, float32: a function of its arguments and of nothing else.

    The noise of a frame thus does not depend on how long its clip is, or on what was drawn before. Philox
    (Salmon et al. 2011) is made for that: seed and frame are its key and the top word of its counter. A
    torch.Generator on the CPU would read only the low 32 bits of the seed.
    """
    generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, frame]))
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
