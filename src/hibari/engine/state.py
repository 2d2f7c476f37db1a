"""Where a run stands: plain tensors and numbers, to be stored, moved and gone on with, bit for bit."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hibari.contracts import GenerationRequest, InputError, ModelSpec, OutputError

_FORMAT = "hibari generation state 1"


@dataclass(frozen=True, slots=True, eq=False)
class GenerationState:
    """All that the next update needs besides the model and the request.

    Attributes:
        latent_CFHW: float32, the whole clip: data where a stage has finished, noise where none has begun.
        stage: index into the plan.
        step: updates that have been made in that stage; at its number of steps the stage is finished.
        velocity_CFHW: float32, the window's velocity at the last update of this stage; None before the first.
            Multistep samplers look back to it, and it leads from the latent to the predicted x0 of a preview.
    """

    latent_CFHW: Tensor
    stage: int = 0
    step: int = 0
    velocity_CFHW: Tensor | None = None

    def save(self, path: Path) -> None:
        """Write a safetensors file. It is written aside and renamed, so `path` is never half a state.

        Raises:
            OutputError: the file cannot be written; what was at `path` is still there.
        """
        tensors = {"latent_CFHW": self.latent_CFHW}
        if self.velocity_CFHW is not None:
            tensors["velocity_CFHW"] = self.velocity_CFHW
        content = safetensors.torch.save(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
            metadata={"format": _FORMAT, "stage": str(self.stage), "step": str(self.step)},
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
        cursor = metadata.get("stage", ""), metadata.get("step", "")
        if not all(number.isdecimal() for number in cursor):
            raise InputError(f"{path} has the stage and step {cursor}; both must be whole numbers")
        return cls(tensors["latent_CFHW"], int(cursor[0]), int(cursor[1]), tensors.get("velocity_CFHW"))


def initial_state(spec: ModelSpec, request: GenerationRequest) -> GenerationState:
    """Pure noise of the clip's native size, at the first step of the first stage, on the CPU."""
    height, width = request.native_height // spec.space_factor, request.native_width // spec.space_factor
    frames = range(spec.latent_frames(request.native_frames))
    noise = [frame_noise(request.seed, frame, (spec.latent_channels, height, width)) for frame in frames]
    return GenerationState(torch.stack(noise, dim=1))


def frame_noise(seed: int, frame: int, shape: tuple[int, int, int]) -> Tensor:
    """Standard normal noise of one latent frame, float32: a function of its arguments and of nothing else.

    The noise of a frame thus does not depend on how long its clip is, or on what was drawn before. Philox
    (Salmon et al. 2011) is made for that: seed and frame are its key and the top word of its counter. A
    torch.Generator on the CPU would read only the low 32 bits of the seed.
    """
    generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, frame]))
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
