"""How much memory a generation needs, and how much there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from hibari.contracts import GenerationRequest, ModelSpec, OutOfMemory
from hibari.engine.loop import Run
from hibari.engine.start import latent_shape
from hibari.models.protocol import Footprint, Model

SHARE_OF_FREE = (
    0.8  # of the memory that is free when the engine starts; the rest is for the encoder and for others
)


def default_budget_bytes(device: torch.device | None = None, loaded_bytes: int = 0) -> int:
    """What this machine can spare now: of a container's limit or of the free memory, whichever is less; on a GPU, of
    what is free on that, beside the `loaded_bytes` of weights that it holds already."""
    if device is not None and device.type == "cuda":
        return int(SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0]) + loaded_bytes
    limits = [limit for limit in (_free_bytes(), _cgroup_free_bytes()) if limit is not None]
    return int(SHARE_OF_FREE * min(limits)) if limits else 2**62


def _free_bytes() -> int | None:
    """MemAvailable of Linux; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def _cgroup_free_bytes() -> int | None:
    """What a container's limit leaves; None without one. Files that were read and can be dropped count as free."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        if limit == "max":
            return None
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return int(limit) - used + int(stat["active_file"]) + int(stat["inactive_file"])
    except (KeyError, OSError, ValueError):
        return None


def state_bytes(spec: ModelSpec, request: GenerationRequest) -> int:
    """Of a generation that waits between two of its turns: latent, velocity and predicted data."""
    channels, frames, height, width = latent_shape(spec, request)
    return 3 * 4 * channels * frames * height * width


def window_footprint(model: Model, request: GenerationRequest) -> Footprint:
    """Of a request's window."""
    _, frames, height, width = latent_shape(model.spec, request)
    return model.footprint(min(frames, model.spec.window_frames), height, width)


def turn_bytes(model: Model, request: GenerationRequest, rows: int) -> int:
    """The most that one of its turns takes, alone: a forward pass of its rows, or decoding a chunk."""
    footprint = window_footprint(model, request)
    return max(rows * footprint.row, footprint.decode)


def most_rows(spec: ModelSpec, request: GenerationRequest) -> int:
    """Rows of a request's largest batch."""
    prompts, preset = max(1, len(request.cards)), spec.preset(request.preset)
    return prompts * (2 if preset and preset.skips else 1) + (request.guidance_scale != 1)


def check_fits(model: Model, request: GenerationRequest, budget_bytes: int) -> None:
    """That the request fits when nothing else is loaded.

    Raises:
        OutOfMemory: it does not; with what would.
    """
    needed = _needed(model, request)
    if needed <= budget_bytes:
        return
    raise OutOfMemory(
        f"this needs about {_mb(needed)} MB of memory and {_mb(budget_bytes)} MB may be used; "
        + _what_would_fit(model, request, budget_bytes)
    )


def _needed(model: Model, request: GenerationRequest) -> int:
    weights = window_footprint(model, request).weights
    return (
        weights
        + state_bytes(model.spec, request)
        + turn_bytes(model, request, most_rows(model.spec, request))
    )


def _what_would_fit(model: Model, request: GenerationRequest, budget_bytes: int) -> str:
    """The mildest change that helps: no guidance, the smallest native size, one second."""
    spec = model.spec
    width, height = min(spec.sizes, key=lambda size: size[0] * size[1])
    changes: Mapping[str, Mapping[str, Any]] = {
        "without guidance (guidance 1)": {"guidance_scale": 1},
        f"at {width}x{height}": {"native_width": width, "native_height": height},
        "one second of it": {"native_frames": min(request.native_frames, 1 + spec.fps)},
    }
    for count in range(1, len(changes) + 1):
        for names in combinations(changes, count):
            changed = replace(
                request, **{key: value for name in names for key, value in changes[name].items()}
            )
            if _needed(model, changed) <= budget_bytes:
                return f"{', '.join(names)}: so it would fit"
    return "no size of this model fits; give it more memory or choose a smaller model"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch has a type for GPUs only, on a CPU it is a RuntimeError."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(
            sign in str(error) for sign in ("out of memory", "can't allocate memory", "not enough memory")
        )
    )


def out_of_memory(model: Model, run: Run) -> OutOfMemory:
    """What a user is told whose generation ran out of memory although the estimate let it in."""
    needed = _needed(model, run.request)
    return OutOfMemory(
        f"memory ran out in this generation, which was estimated at {_mb(needed)} MB; "
        + _what_would_fit(model, run.request, needed - 1)
    )


def _mb(count: int) -> str:
    return f"{count / 2**20:,.0f}"
