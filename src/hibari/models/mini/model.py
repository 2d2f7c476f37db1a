"""hibari-mini as the engine sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from hibari.contracts import GenerationRequest, ModelSpec
from hibari.models.mini.autoencoder import (
    SPACE_FACTOR,
    TIME_FACTOR,
    Autoencoder,
    frames_from_pixels,
    pixels_from_frames,
)
from hibari.models.mini.text import MAX_TOKENS, TextEncoder
from hibari.models.mini.transformer import FIELDS, PATCH, Transformer, Words
from hibari.models.mini.upscaler import SCALE, Upscaler
from hibari.models.plan import Plan, plan
from hibari.models.precision import precision_of
from hibari.models.protocol import Conditioning, Footprint

TEXT_ENCODER_BYTES = 180_000_000  # half of it weights, half the library that runs them; measured
DECODED_TOGETHER = 3  # latent frames a chunk: faster than one at a time
DECODE_NUMBERS_PER_PIXEL = 30  # float32 numbers alive while a frame is decoded; oneDNN takes what it likes
UPSCALE_NUMBERS_PER_PIXEL = 640  # and while a decoded chunk is upscaled
PREVIEW_PX = 4  # pixels of the preview a latent cell, in each direction


class Mini:
    """`models.protocol.Model` of our own networks."""

    def __init__(
        self,
        spec: ModelSpec,
        autoencoder: Autoencoder,
        transformer: Transformer,
        upscaler: Upscaler | None = None,
        *,
        weights_sha256: str | None,
        device: torch.device,
    ) -> None:
        self.spec = replace(spec, precision=precision_of(transformer.dtype))
        self.weights_sha256 = weights_sha256
        self.device = device
        self.dtype = torch.float32  # of latents; the transformer may compute in another
        self._autoencoder = autoencoder.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._transformer = transformer.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._upscaler = upscaler and upscaler.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.upscale_factor = SCALE if upscaler else 1
        self.rgb_from_latent = preview_map(autoencoder)

    def untrained(self) -> Mini:
        """The same with a transformer that has learned nothing: evaluation's control."""
        torch.manual_seed(0)
        blank = Transformer(self._transformer.config).eval().requires_grad_(False)
        return Mini(
            self.spec, self._autoencoder, blank, self._upscaler, weights_sha256=None, device=self.device
        )

    @cached_property
    def _text_encoder(self) -> TextEncoder:
        return TextEncoder(self.device)

    def plan(
        self, request: GenerationRequest, given_F: tuple[bool, ...] = (), *, changes: bool = False
    ) -> Plan:
        """See the protocol."""
        return plan(self.spec, request, given_F, changes=changes)

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """`text` [B, MAX_TOKENS, 384] and its `mask` [B, MAX_TOKENS]: always of one length, so that requests stack."""
        features, mask = self._text_encoder(prompts)
        spare = MAX_TOKENS - mask.shape[1]
        return {"text": F.pad(features, (0, 0, 0, spare)), "mask": F.pad(mask, (0, spare))}

    @torch.inference_mode()
    def prepare(self, conditioning: Conditioning) -> Conditioning:
        """See the protocol: keys and values [B, blocks, 2, heads, L, head width] of the cross-attention, their mask,
        and the prompts' mean."""
        words = self._transformer.read(conditioning["text"], conditioning["mask"])
        stacked = torch.stack([torch.stack(pair, 1) for pair in words.keys_values], 1)
        return {"keys_values": stacked, "mask": words.mask_B11L, "pooled": words.pooled_BD}

    def velocity(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, conditioning: Conditioning, start_B: Tensor
    ) -> Tensor:
        """See the protocol."""
        blocks = [pair.unbind(1) for pair in conditioning["keys_values"].unbind(1)]
        words = Words(conditioning["pooled"], conditioning["mask"], [(key, value) for key, value in blocks])
        return self._transformer.velocity(latent_BCFHW, sigma_BF, words, start_B)

    @torch.inference_mode()
    def decode(
        self, latent_CFHW: Tensor, generator: torch.Generator | None = None, *, preset: str = ""
    ) -> Iterator[Tensor]:
        """See the protocol."""
        for pixels in self._autoencoder.stream(latent_CFHW[None].to(self.device), DECODED_TOGETHER):
            yield frames_from_pixels(pixels)[0]

    @torch.inference_mode()
    def upscale(self, frames_THWC: Tensor) -> Tensor:
        """See `Upscales`; frame by frame, so that a chunk needs no more memory than a frame."""
        assert self._upscaler, "asked for only where the factor is above 1"
        count, height, width, _ = frames_THWC.shape
        large = torch.empty(count, SCALE * height, SCALE * width, 3, dtype=torch.uint8)
        for index, frame_11HWC in enumerate(frames_THWC[:, None, None]):
            pixels_1CHW = pixels_from_frames(frame_11HWC.to(self.device))[:, :, 0]
            large[index] = frames_from_pixels(self._upscaler(pixels_1CHW)[:, :, None])[0, 0]
        return large

    @torch.inference_mode()
    def encode(self, frames_FHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the protocol."""
        return self._autoencoder.encode(pixels_from_frames(frames_FHWC[None].to(self.device)))[0]

    def footprint(self, frames: int, height: int, width: int) -> Footprint:
        """Counted from the widest tensors that live at once, or measured; a test compares it with the memory of a
        process."""
        config = self._transformer.config
        tokens, cells = frames * height * width // PATCH**2, frames * height * width
        parts = (  # one after the other: tokens, cells, fields
            config.width * (2 * config.mlp_ratio + 8) * tokens,
            8 * config.cell_width * cells,
            8 * FIELDS**2 * config.field_width * cells,
        )
        pixels = height * width * SPACE_FACTOR**2
        upscaling = UPSCALE_NUMBERS_PER_PIXEL if self._upscaler else 0
        return Footprint(
            weights=self._weights_bytes,
            text_encoder=TEXT_ENCODER_BYTES,
            row=4 * (12 * config.latent_channels * cells + max(parts)),
            decode=4 * pixels * max(DECODED_TOGETHER * TIME_FACTOR * DECODE_NUMBERS_PER_PIXEL, upscaling),
        )

    @cached_property
    def _weights_bytes(self) -> int:
        networks = (self._autoencoder, self._transformer, self._upscaler)
        tensors = (tensor for net in networks if net for tensor in (*net.parameters(), *net.buffers()))
        return sum(tensor.nbytes for tensor in tensors)

    def release_text_encoder(self) -> None:
        """See the protocol."""
        self.__dict__.pop("_text_encoder", None)


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
