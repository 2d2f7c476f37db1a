"""One side of a comparison, in the process that calls it: a clip, step by step, and its decoding.

Nothing else may have been computed in the process, or its peak of memory is somebody else's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from hibari import catalog
from hibari.bench.reference import Reference
from hibari.contracts import GenerationRequest
from hibari.diffusion.noise import generator_at
from hibari.engine.loop import advance, prepare
from hibari.models.protocol import Model

PROMPT = "a red balloon over the sea"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is measured: `model` is a name or a folder, the size in px, and one step more is made, to warm up."""

    model: str
    size: tuple[int, int]
    frames: int
    steps: int
    guidance: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one side.

    Attributes:
        step_s: median of the steps after the first, all rows of guidance together.
        decode_s: of the whole clip, to uint8 frames.
        step_peak_bytes, decode_peak_bytes: the process's largest memory (on a GPU: that torch had in use) while it
            sampled and while it decoded, weights and libraries included.
        decode_added_bytes: by how much decoding lifted it; the decoder's weights are among it where they were not
            there before.
        step_flops: counted multiplications and additions of a step; 0 where they were not counted.
    """

    step_s: float
    decode_s: float
    step_peak_bytes: int
    decode_peak_bytes: int
    decode_added_bytes: int
    step_flops: int

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def request_of(wish: Wish) -> GenerationRequest:
    """The engine's request.

    Raises:
        HibariError: the model does not exist or cannot make this.
    """
    spec = catalog.find(wish.model)
    return GenerationRequest.resolve(
        spec,
        PROMPT,
        seed=0,
        size=wish.size,
        seconds=wish.frames / spec.fps,
        steps=wish.steps + 1,
        guidance_scale=wish.guidance,
    )


@torch.inference_mode()
def ours(wish: Wish, device: torch.device, *, count_flops: bool = False) -> tuple[Cost, Tensor]:
    """Through our engine; with the latent [C, F, H, W]. Without counting, which slows a step."""
    model = catalog.load(wish.model, device=device)
    run = prepare(model, request_of(wish))
    model.release_text_encoder()
    memory, times, work = Peak(device), list[float](), list[int]()

    def step() -> None:
        nonlocal run
        (run,) = advance(model, [run])

    for number in range(wish.steps + 1):
        if count_flops and not number:  # the step that is not measured
            work.append(flops_of(step))
            continue
        times.append(timed(step, device))
    latent, step_peak = run.state.latent_CFHW, memory.taken()
    before = memory.now
    decode_s = timed(partial(_decode, model, latent), device)
    decode_peak = memory.taken()
    cost = Cost(
        median(times[-wish.steps :]), decode_s, step_peak, decode_peak, decode_peak - before, sum(work)
    )
    return cost, latent.float().cpu()


def _decode(model: Model, latent: Tensor) -> None:
    for chunk in model.decode(latent.to(model.dtype), generator_at(None)):
        chunk.cpu()  # as the file's encoder takes them: one at a time


@torch.inference_mode()
def reference(wish: Wish, device: torch.device, *, count_flops: bool = False) -> tuple[Cost, Tensor]:
    """Through the pipeline of diffusers; with the latent [C, F, H, W]. A step is what lies between the ends of two."""
    request = request_of(wish)
    pipeline = Reference(Path(wish.model), device)
    memory, ends = Peak(device), list[float]()

    def ended() -> None:
        wait(device)
        ends.append(perf_counter())

    work = list[int]()
    latent = pipeline.sample(
        request, ended, lambda first_pass: work.append(flops_of(first_pass)) if count_flops else first_pass()
    )
    step_peak, before = memory.taken(), memory.now
    decode_s = timed(lambda: pipeline.decode(latent, request), device)
    decode_peak = memory.taken()
    times = [after - before for before, after in pairwise(ends)]
    cost = Cost(median(times), decode_s, step_peak, decode_peak, decode_peak - before, sum(work))
    return cost, pipeline.latent(latent, request)


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that it takes."""
    began_s = perf_counter()
    work()
    wait(device)
    return perf_counter() - began_s


def flops_of(work: Callable[[], object]) -> int:
    """Multiplications and additions of matrix products, convolutions and attention, counted from their shapes."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def of_attention(query: Any, key: Any, value: Any, *_: object, **__: object) -> int:
        return sdpa_flop_count(query, key, value)

    with FlopCounterMode(display=False, custom_mapping={attention: of_attention}) as counter:
        work()
    return counter.get_total_flops()


class Peak:
    """The largest memory since it was last asked for: of the process, or of torch on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._is_gpu = device, device.type == "cuda"
        self._begin()

    def taken(self) -> int:
        """Bytes."""
        most = torch.cuda.max_memory_allocated(self._device) if self._is_gpu else _status("VmHWM")
        self._begin()
        return most

    @property
    def now(self) -> int:
        """Bytes that are taken at this moment."""
        return torch.cuda.memory_allocated(self._device) if self._is_gpu else _status("VmRSS")

    def _begin(self) -> None:
        if self._is_gpu:
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the high-water mark


def _status(name: str) -> int:
    """Bytes of what Linux says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
