"""hibari-mini as the engine sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from hibari.contracts import ModelSpec
from hibari.models.mini.autoencoder import (
    SPACE_FACTOR,
    TIME_FACTOR,
    Autoencoder,
    frames_from_pixels,
    pixels_from_frames,
)
from hibari.models.mini.text import MAX_TOKENS, TextEncoder
from hibari.models.mini.transformer import Transformer
from hibari.models.protocol import Conditioning

PREVIEW_PX = 4  # pixels of the preview a latent cell, in each direction


class Mini:
    """`models.protocol.Model` of our own networks."""

    def __init__(
        self,
        spec: ModelSpec,
        autoencoder: Autoencoder,
        transformer: Transformer,
        *,
        weights_sha256: str | None,
        device: torch.device,
    ) -> None:
        self.spec = spec
        self.weights_sha256 = weights_sha256
        self.device = device
        # bfloat16 on a CPU without it is hundreds of times slower, and this model is small enough for float32.
        self.dtype = torch.float32
        self._autoencoder = autoencoder.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._transformer = transformer.to(device)
        self.rgb_from_latent = preview_map(autoencoder)

    def untrained(self) -> Mini:
        """The same with a transformer that has learned nothing: evaluation's control."""
        torch.manual_seed(0)
        blank = Transformer(self._transformer.config).eval().requires_grad_(False)
        return Mini(self.spec, self._autoencoder, blank, weights_sha256=None, device=self.device)

    @cached_property
    def _text_encoder(self) -> TextEncoder:
        return TextEncoder(self.device)

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """`text` [B, MAX_TOKENS, 384] and its `mask` [B, MAX_TOKENS]: always of one length, so that requests stack."""
        features, mask = self._text_encoder(prompts)
        spare = MAX_TOKENS - mask.shape[1]
        return {"text": F.pad(features, (0, 0, 0, spare)), "mask": F.pad(mask, (0, spare))}

    def velocity(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, conditioning: Conditioning, start_B: Tensor
    ) -> Tensor:
        """See the protocol."""
        text, mask = conditioning["text"], conditioning["mask"]
        return self._transformer(latent_BCFHW, sigma_BF, text, mask, start_B)

    @torch.inference_mode()
    def decode(self, latent_CFHW: Tensor) -> Iterator[Tensor]:
        """See the protocol; one latent frame a chunk."""
        for pixels in self._autoencoder.stream(latent_CFHW[None].to(self.device), chunk=1):
            yield frames_from_pixels(pixels)[0]

    @torch.inference_mode()
    def encode(self, frames_FHWC: Tensor) -> Tensor:
        """See the protocol."""
        return self._autoencoder.encode(pixels_from_frames(frames_FHWC[None].to(self.device)))[0]


def preview_map(autoencoder: Autoencoder) -> Tensor:
    """[C + 1, 3 * p * p]: the autoencoder's linear way back, averaged over a block's four frames and over the pixels of
    each of p x p fields. Nothing has to be fitted."""
    per_latent = autoencoder.basis * (autoencoder.component_std / autoencoder.latent_std)
    both = torch.cat([per_latent, autoencoder.mean[:, None]], 1).T
    fields = rearrange(
        both,
        "k (c t p y q x) -> k c p q (t y x)",
        c=3, t=TIME_FACTOR, p=PREVIEW_PX, q=PREVIEW_PX, y=SPACE_FACTOR // PREVIEW_PX,
    ).mean(-1)  # fmt: skip
    fields = fields / 2  # [-1, 1] -> [0, 1]
    fields[-1] += 0.5
    return fields.flatten(1)
