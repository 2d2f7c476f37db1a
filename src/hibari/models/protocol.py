"""What a model must answer so that the engine can run it. The engine knows nothing else about it.

Shape letters of the whole package: B batch, C channels, F H W latent frames, height, width, S video tokens,
L text tokens, D width, N heads, E head width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, ModelSpec
from hibari.models.parallel import Tokens
from hibari.models.plan import Plan

Conditioning = dict[str, Tensor]
"""All that the network gets besides x, sigma and position. The model chooses the names; every tensor's first axis
is the batch, so that the engine can stack requests."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory that a model needs, in bytes: estimates, rather too large than too small.

    Attributes:
        weights: of the networks, as long as the model is loaded, without the text encoder.
        text_encoder: of the text encoder, while it is loaded.
        row: of one row of a forward pass, while it runs.
        decode: of decoding a chunk, while it runs.
    """

    weights: int
    text_encoder: int
    row: int
    decode: int


class Model(Protocol):
    """Six answers: `spec`, `plan`, `encode_text`, `prepare`, `velocity`, `decode`; `encode` where frames can be given.

    Random numbers are drawn on the CPU, from a generator whose state is kept with a generation: first those of what
    is given (`encode`), then the clip's noise (`ModelSpec.noise`), or these two the other way round
    (`ModelSpec.noise_first`), then those of a stochastic sampler, then those of `decode`.
    """

    spec: ModelSpec
    weights_sha256: str | None
    device: torch.device
    dtype: torch.dtype

    rgb_from_latent: Tensor
    """Linear preview map [C + 1, 3 * p * p]: a latent cell (and a constant 1) to p x p RGB pixels in [0, 1],
    ordered (colour, row, column)."""

    def plan(
        self, request: GenerationRequest, given_F: tuple[bool, ...] = (), *, changes: bool = False
    ) -> Plan:
        """The stages of a request: windows, noise levels, guidance and sampler. See `models.plan.plan`, which makes
        them where a clip's windows have the model's own noise levels.

        Raises:
            InvalidRequest: the model cannot make this, as where it wants a picture and none is given.
        """
        ...

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """What the text encoder says of a batch of prompts; kept by prompt, on disk too. "" is the empty prompt (the
        unconditional branch)."""
        ...

    def prepare(self, conditioning: Conditioning) -> Conditioning:
        """What `velocity` wants of prompts that `encode_text` has read: once a generation, whatever depends on the
        words and not on the step."""
        ...

    def velocity(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, conditioning: Conditioning, start_B: Tensor
    ) -> Tensor:
        """Predicted `noise - x0`, of the latent's shape. `conditioning` comes from `prepare` and the stage's
        `context`; where the spec says that frames are given beside, it has them as `given_BCFHW`, 0 where there is
        none; where pictures are shown beside the clip, they are `keyframes_BCKHW` and their pixel frames, counted in
        the clip, `keyframes_at_BK`; where the stage's steps skip blocks, it says as `skipped` (bool, a row and a block)
        which.

        `sigma_BF` is in [0, 1], 0 for a given (clean) frame. `start_B` (int64) is where the window begins in its
        clip, in latent frames; latent frame 0 of a clip is a single picture.
        """
        ...

    def decode(
        self, latent_CFHW: Tensor, generator: torch.Generator | None = None, *, preset: str = ""
    ) -> Iterator[Tensor]:
        """Chunks of uint8 frames [frames, height_px, width_px, 3], in order, each as soon as it is ready.
        Together 1 + time_factor * (F - 1) frames. The generator is for decoders that want noise; by default a new one
        of seed 0. `preset` is the request's, for those that say how to decode."""
        ...

    def encode(self, frames_FHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Latent [C, F, H, W] of uint8 frames [1 + time_factor * k, height_px, width_px, 3]: with a generator a draw
        from what a variational encoder says, else its mode."""
        ...

    def footprint(self, frames: int, height: int, width: int) -> Footprint:
        """What a window of F x H x W latents needs."""
        ...

    def release_text_encoder(self) -> None:
        """Free the text encoder; the next `encode_text` loads it again."""
        ...


@runtime_checkable
class HasTables(Protocol):
    """A model that can say before the first step what depends on noise level and prompt, and not on the latent."""

    def tables(self, conditioning: Conditioning, sigmas: Sequence[float]) -> Conditioning:
        """Tensors [B, sigmas, ...] for prompts that `prepare` has seen. `velocity` has them as further conditioning
        [B, ...], each row at its own noise level; without them it computes them itself."""
        ...


@runtime_checkable
class Upscales(Protocol):
    """A model that knows a better way to larger frames than interpolation."""

    upscale_factor: int
    """By how much `upscale` enlarges in each direction; 1 where its weights have no network for it."""

    def upscale(self, frames_THWC: Tensor) -> Tensor:
        """uint8 frames [T, n H, n W, 3] of decoded ones [T, H, W, 3], each by itself, on the CPU."""
        ...


@runtime_checkable
class SplitsTokens(Protocol):
    """A model that can compute a row of a forward pass in several processes, too."""

    @property
    def heads(self) -> int:
        """Of its attention; the number of processes must divide it."""
        ...

    def split(self, tokens: Tokens) -> None:
        """From now on `velocity`, called in each process with the same, has each compute its own tokens; all get the
        whole outcome."""
        ...
