"""What a model must answer so that the engine can run it. The engine knows nothing else about it.

Shape letters of the whole package: B batch, C channels, F H W latent frames, height, width, S video tokens,
L text tokens, D width, N heads, E head width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from hibari.contracts import ModelSpec

Conditioning = dict[str, Tensor]
"""All that the network gets besides x, sigma and position. The model chooses the names; every tensor's first axis
is the batch, so that the engine can stack requests, and the dictionary is what a checkpoint stores."""


class Model(Protocol):
    """Four answers: `spec`, `encode_text`, `velocity`, `decode`; and `encode` where frames can be given."""

    spec: ModelSpec
    weights_sha256: str | None
    device: torch.device
    dtype: torch.dtype

    rgb_from_latent: Tensor
    """Linear preview map [C + 1, 3 * p * p]: a latent cell (and a constant 1) to p x p RGB pixels in [0, 1],
    ordered (colour, row, column)."""

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """Conditioning of a batch of prompts. "" is the empty prompt (the unconditional branch)."""
        ...

    def velocity(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, conditioning: Conditioning, start_B: Tensor
    ) -> Tensor:
        """Predicted `noise - x0`, of the latent's shape.

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
