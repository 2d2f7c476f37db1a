"""What a model must answer so that the engine can run it. The engine knows nothing else about it.

Shape letters of the whole package: B batch, C channels, F H W latent frames, height, width, S video tokens,
L text tokens, D width, N heads, E head width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hibari.contracts import ModelSpec

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
    """Five answers: `spec`, `encode_text`, `prepare`, `velocity`, `decode`; and `encode` where frames can be given."""

    spec: ModelSpec
    weights_sha256: str | None
    device: torch.device
    dtype: torch.dtype

    rgb_from_latent: Tensor
    """Linear preview map [C + 1, 3 * p * p]: a latent cell (and a constant 1) to p x p RGB pixels in [0, 1],
    ordered (colour, row, column)."""

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
        """Predicted `noise - x0`, of the latent's shape. `conditioning` comes from `prepare`.

        `sigma_BF` is in [0, 1], 0 for a given (clean) frame. `start_B` (int64) is where the window begins in its
        clip, in latent frames; latent frame 0 of a clip is a single picture.
        """
        ...

    def decode(self, latent_CFHW: Tensor) -> Iterator[Tensor]:
        """Chunks of uint8 frames [frames, height_px, width_px, 3], in order, each as soon as it is ready.
        Together 1 + time_factor * (F - 1) frames."""
        ...

    def encode(self, frames_FHWC: Tensor) -> Tensor:
        """Latent [C, F, H, W] of uint8 frames [1 + time_factor * k, height_px, width_px, 3]."""
        ...

    def footprint(self, frames: int, height: int, width: int) -> Footprint:
        """What a window of F x H x W latents needs."""
        ...

    def release_text_encoder(self) -> None:
        """Free the text encoder; the next `encode_text` loads it again."""
        ...
