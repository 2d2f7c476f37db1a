"""Pyramid Flow as the engine sees it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, InvalidRequest, ModelSpec
from hibari.models.checkpoint import dtype_for
from hibari.models.folder import fingerprint
from hibari.models.pixels import preview_map
from hibari.models.plan import Plan
from hibari.models.protocol import Conditioning, Footprint
from hibari.models.pyramid_flow.autoencoder import (
    SPACE_FACTOR,
    TIME_FACTOR,
    Autoencoder,
    frames_from_pixels,
    pixels_from_frames,
)
from hibari.models.pyramid_flow.layers import PATCH
from hibari.models.pyramid_flow.miniflux import MiniFlux
from hibari.models.pyramid_flow.plan import FRAME, plan
from hibari.models.pyramid_flow.pyramid import STAGES
from hibari.models.pyramid_flow.sd3 import Sd3
from hibari.models.pyramid_flow.text import TextEncoder
from hibari.models.pyramid_flow.variants import Variant

SEEN_FRAMES = 4.2  # a frame with all that it sees, in frames: 1 + 1 + 1/4 + 1/16 of each older one, of 31
ROW_WIDTHS = 20  # numbers a token that live at once in a block, in widths of the network; an estimate
DECODE_WIDTHS = (
    6  # numbers a pixel that live at once in the decoder, in widths of its last level; an estimate
)


class PyramidFlow:
    """`models.protocol.Model` of a published folder."""

    def __init__(
        self,
        spec: ModelSpec,
        variant: Variant,
        autoencoder: Autoencoder,
        transformer: MiniFlux | Sd3,
        folder: Path,
        *,
        device: torch.device,
    ) -> None:
        """Of networks that are on the device. The text encoders beside the transformer's `folder` are loaded when a
        prompt is to be read."""
        self.spec, self.device, self.dtype = spec, device, dtype_for(device)
        self._variant, self._autoencoder, self._transformer = variant, autoencoder, transformer
        self._folder = folder
        self._text_encoder: TextEncoder | None = None

    @cached_property
    def weights_sha256(self) -> str | None:
        """See `folder.fingerprint`; of the transformer."""
        return fingerprint(self._folder)

    def plan(
        self, request: GenerationRequest, given_F: tuple[bool, ...] = (), *, changes: bool = False
    ) -> Plan:
        """See `plan.plan`.

        Raises:
            InvalidRequest: the picture is larger than the positions that SD3 knows, too.
        """
        if isinstance(self._transformer, Sd3):
            most = self._transformer.config.table_side * PATCH * SPACE_FACTOR
            if max(request.native_width, request.native_height) > most:
                raise InvalidRequest(
                    f"the size is {request.native_width}x{request.native_height}; {self.spec.name} makes at most "
                    f"{most} px a side",
                    field="size",
                )
        return plan(self.spec, request, given_F, changes=changes)

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """`text` [B, T5_TOKENS, D], its `mask` [B, T5_TOKENS] and `pooled` [B, D']."""
        if self._text_encoder is None:
            self._text_encoder = TextEncoder(
                self._folder.parent, self._variant, dtype=self.dtype, device=self.device
            )
        return self._text_encoder(prompts)._asdict()

    def prepare(self, conditioning: Conditioning) -> Conditioning:
        """See the protocol: text and video change each other in each block, so nothing can be prepared."""
        return conditioning

    def velocity(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, conditioning: Conditioning, start_B: Tensor
    ) -> Tensor:
        """See the protocol. Rows whose prompts are of one length go through the network together: none has padding."""
        before = [conditioning[f"{FRAME}{number}"] for number in range(int(start_B[0]))]
        clips = [*(clip.to(latent_BCFHW) for clip in before), latent_BCFHW]
        levels = zip(conditioning["stage"].tolist(), sigma_BF[:, 0].tolist(), strict=True)
        timestep_B = latent_BCFHW.new_tensor([STAGES[stage].timestep(sigma) for stage, sigma in levels])
        rows_by_length = defaultdict[int, list[int]](list)
        for row, length in enumerate(conditioning["mask"].sum(1).tolist()):
            rows_by_length[length].append(row)
        velocity_BCFHW = torch.empty_like(latent_BCFHW)
        for length, rows in rows_by_length.items():
            velocity_BCFHW[rows], _ = self._transformer(
                [clip[rows] for clip in clips],
                timestep_B[rows],
                conditioning["text"][rows, :length].to(latent_BCFHW),
                conditioning["pooled"][rows].to(latent_BCFHW),
            )
        return velocity_BCFHW

    @torch.inference_mode()
    def decode(self, latent_CFHW: Tensor, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """See the protocol; one latent frame a chunk."""
        latent = self._variant.unscaled(latent_CFHW[None].to(self.device)).to(self.dtype)
        for pixels in self._autoencoder.stream(latent):
            yield frames_from_pixels(pixels)[0]

    @torch.inference_mode()
    def encode(self, frames_FHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the protocol."""
        pixels = pixels_from_frames(frames_FHWC[None].to(self.device)).to(self.dtype)
        latent, std = self._autoencoder.encode(pixels)
        if generator is not None:
            latent = latent + std * torch.randn(latent.shape, generator=generator).to(std)
        return self._variant.scaled(latent.float())[0]

    @cached_property
    def rgb_from_latent(self) -> Tensor:
        """See the protocol."""

        @torch.inference_mode()
        def decode(latent: Tensor) -> Tensor:
            return self._autoencoder.decode(self._variant.unscaled(latent))

        return preview_map(decode, self.spec.latent_channels, device=self.device, dtype=self.dtype)

    def footprint(self, frames: int, height: int, width: int) -> Footprint:
        """Counted from the sizes of the networks, not measured: no GPU was at hand."""
        config = self._transformer.config
        tokens = SEEN_FRAMES * frames * height * width / PATCH**2
        pixels = TIME_FACTOR * height * width * SPACE_FACTOR**2
        networks = (self._transformer, self._autoencoder)
        return Footprint(
            weights=sum(tensor.nbytes for network in networks for tensor in network.state_dict().values()),
            text_encoder=self._text_bytes,
            row=int(self.dtype.itemsize * tokens * config.heads * config.head_width * ROW_WIDTHS),
            decode=self.dtype.itemsize * self._autoencoder.config.decoder_widths[0] * DECODE_WIDTHS * pixels,
        )

    @cached_property
    def _text_bytes(self) -> int:
        """Of the files, which are in float32 or half of it: rather too large than too small."""
        names = (*self._variant.clip_folders, self._variant.t5_folder)
        files = (path for name in names for path in (self._folder.parent / name).glob("*.safetensors"))
        return sum(path.stat().st_size for path in files)

    def release_text_encoder(self) -> None:
        """See the protocol."""
        self._text_encoder = None
