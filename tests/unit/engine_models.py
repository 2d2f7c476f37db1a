"""Small models for the tests of the engine, and short ways to ask an engine for clips."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hibari import catalog
from hibari.contracts import GenerationRequest, ModelSpec
from hibari.engine import Engine, Event, FramesDecoded, Sampled
from hibari.models.plan import Plan, plan
from hibari.models.protocol import Conditioning, Footprint

SQUARE, LANDSCAPE, SMALL = (64, 64), (96, 64), (32, 64)
SPEC = replace(
    catalog.spec("testcard"),
    sizes=(SQUARE, LANDSCAPE, SMALL),
    window_frames=5,
    window_overlap=2,
    default_seconds=1,
    default_guidance=3,
    sigma_shift=3,
)
WIDTH = 32
OUT_OF_MEMORY = (
    "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: out of memory"
)


class Tiny:
    """A real network, small and of fixed random weights, that writes down how many rows it is given.

    Rows of a batch do not see each other, but go through the same matrix products. Its pixels are the bytes of the
    latent, so that frames are equal only where latents are, to the bit.
    """

    device = torch.device("cpu")
    dtype = torch.float32
    rgb_from_latent = torch.full((5, 3), 0.1)

    def __init__(
        self,
        spec: ModelSpec = SPEC,
        *,
        weights_sha256: str = "0" * 64,
        rows_that_fit: int | None = None,
        footprint: Footprint | None = None,
        on_call: Callable[[int], None] | None = None,
    ) -> None:
        """`on_call` is called with the number of rows before each forward pass; one of more than `rows_that_fit` fails
        as torch does on a CPU without memory."""
        self.spec = spec
        self.weights_sha256: str | None = weights_sha256
        self.calls: list[int] = []
        self.prompts_read: list[str] = []
        self.times_released = 0
        self._rows_that_fit = rows_that_fit
        self._footprint = footprint
        self._on_call = on_call
        generator = torch.Generator().manual_seed(0)

        def weight(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator) / shape[0] ** 0.5

        self._in, self._mix, self._out = weight(4, WIDTH), weight(2 * WIDTH, WIDTH), weight(WIDTH, 4)
        self._from_text, self._from_sigma = weight(WIDTH, WIDTH), weight(1, WIDTH)

    def plan(
        self, request: GenerationRequest, given_F: tuple[bool, ...] = (), *, changes: bool = False
    ) -> Plan:
        return plan(self.spec, request, given_F, changes=changes)

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        self.prompts_read += prompts
        seeds = [torch.Generator().manual_seed(zlib.crc32(prompt.encode())) for prompt in prompts]
        return {"text_BD": torch.stack([torch.randn(WIDTH, generator=seed) for seed in seeds])}

    def prepare(self, conditioning: Conditioning) -> Conditioning:
        return {"words_BD": conditioning["text_BD"] @ self._from_text}

    def velocity(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, conditioning: Conditioning, start_B: Tensor
    ) -> Tensor:
        rows = len(latent_BCFHW)
        self.calls.append(rows)
        if self._on_call:
            self._on_call(rows)
        if self._rows_that_fit is not None and rows > self._rows_that_fit:
            raise RuntimeError(OUT_OF_MEMORY)
        cells_BFHWC = latent_BCFHW.movedim(1, -1)
        h = cells_BFHWC @ self._in + (sigma_BF[..., None, None, None] @ self._from_sigma)
        h = h + (conditioning["words_BD"] + 0.1 * start_B[:, None])[:, None, None, None]
        everywhere = h.mean(dim=(1, 2, 3), keepdim=True).expand_as(h)
        h = torch.tanh(torch.cat([h, everywhere], dim=-1) @ self._mix)
        return (h @ self._out).movedim(-1, 1)

    def decode(
        self, latent_CFHW: Tensor, generator: torch.Generator | None = None, *, preset: str = ""
    ) -> Iterator[Tensor]:
        _, _, height, width = latent_CFHW.shape
        for index, latent_CHW in enumerate(latent_CFHW.unbind(1)):
            cells = (
                latent_CHW.movedim(0, -1).contiguous().view(torch.uint8)
            )  # 4 channels of 4 bytes: 16 a cell
            picture = cells[:, None, :, :, None].expand(height, 16, width, 16, 3)
            frames = self.spec.time_factor if index else 1
            yield picture.reshape(1, height * 16, width * 16, 3).repeat(frames, 1, 1, 1)

    def encode(self, frames_FHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        cells = frames_FHWC[:: self.spec.time_factor, ::16, :, 0].contiguous()
        return cells.view(torch.float32).unflatten(-1, (-1, 4)).movedim(-1, 0)

    def footprint(self, frames: int, height: int, width: int) -> Footprint:
        return self._footprint or Footprint(1000, 100, 40 * frames * height * width, 10 * height * width)

    def release_text_encoder(self) -> None:
        self.times_released += 1


def request(prompt: str = "a red balloon", *, spec: ModelSpec = SPEC, **wishes: Any) -> GenerationRequest:
    """A small one: a second of 64x64 in four guided steps, one window."""
    return GenerationRequest.resolve(spec, prompt, **{"seed": 7, **wishes})


def engine_of(model: Tiny, **options: Any) -> Engine:
    """An engine with this one model, and a budget that does not depend on the machine."""
    engine = Engine(lambda _: model, **{"memory_bytes": 2**30, **options})
    engine.adopt(model)
    return engine


def frames_of(events: Iterable[Event]) -> dict[str, np.ndarray]:
    """Each generation's frames [n, height_px, width_px, 3], all that were decoded."""
    chunks: dict[str, list[np.ndarray]] = {}
    for event in events:
        if isinstance(event, FramesDecoded):
            chunks.setdefault(event.id, []).append(event.frames)
    return {id_: np.concatenate(parts) for id_, parts in chunks.items()}


def latents_of(events: Iterable[Event]) -> dict[str, Tensor]:
    """Each generation's finished latent [C, F, H, W]."""
    return {event.id: event.latent_CFHW for event in events if isinstance(event, Sampled)}


def alone(wish: GenerationRequest, model: Tiny | None = None) -> np.ndarray:
    """The frames of one request that has an engine to itself."""
    engine = engine_of(model or Tiny(), previews=False)
    id_ = engine.submit(wish)
    return frames_of(engine.events())[id_]
