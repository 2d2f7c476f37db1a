"""Pyramid Flow as the engine sees it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, InvalidRequest, ModelSpec, WeightsError
from hibari.models.folder import read_json
from hibari.models.pixels import preview_map
from hibari.models.plan import Plan
from hibari.models.protocol import Conditioning, Footprint
from hibari.models.published import Published
from hibari.models.pyramid_flow.autoencoder import (
    SPACE_FACTOR,
    TIME_FACTOR,
    frames_from_pixels,
    pixels_from_frames,
)
from hibari.models.pyramid_flow.history import Key, Shelf, digest, row_of, together
from hibari.models.pyramid_flow.layers import PATCH
from hibari.models.pyramid_flow.plan import FRAME, plan
from hibari.models.pyramid_flow.pyramid import STAGES, settled
from hibari.models.pyramid_flow.sd3 import Sd3
from hibari.models.pyramid_flow.spec import AUTOENCODER
from hibari.models.pyramid_flow.text import Reader
from hibari.models.pyramid_flow.variants import VARIANTS
from hibari.models.pyramid_flow.weights import part
from hibari.models.text_encoder import TextEncoder

SEEN_FRAMES = 4.2  # a frame with all that it sees, in frames: 1 + 1 + 1/4 + 1/16 of each older one, of 31
ROW_WIDTHS = 20  # numbers a token that live at once in a block, in widths of the network; an estimate
DECODE_WIDTHS = (
    6  # numbers a pixel that live at once in the decoder, in widths of its last level; an estimate
)


class PyramidFlow(Published):
    """`models.protocol.Model` of a published folder."""

    def __init__(
        self, spec: ModelSpec, folder: Path, *, device: torch.device, history_bytes: int = 0
    ) -> None:
        """Check the folder of the transformer and those beside it. See `load.load`.

        Args:
            history_bytes: what may be kept of frames for those that follow; the outcome is the same to rounding.
        """
        self._shelf = Shelf(history_bytes)
        beside = folder.parent
        self._open(spec, (folder,), device)
        kind = str(read_json(folder / "config.json").get("_class_name"))
        if kind not in VARIANTS:
            raise WeightsError(
                f"{folder} holds a {kind}; the transformers of Pyramid Flow are {', '.join(VARIANTS)}"
            )
        self._transformer = part(folder, device=device, dtype=self.dtype, quantise=spec.quantised)
        self._autoencoder = part(beside / AUTOENCODER, device=device, dtype=self.dtype)
        self._variant = VARIANTS[kind]
        self._reader = Reader(beside, self._variant, dtype=self.dtype, device=device, quantise=spec.quantised)

    def plan(
        self, request: GenerationRequest, given_F: tuple[bool, ...] = (), *, changes: bool = False
    ) -> Plan:
        """See `plan.plan`.

        Raises:
            InvalidRequest: the picture is larger than the positions that SD3 knows, too.
        """
        if isinstance(self._transformer.blank, Sd3):
            most = self._transformer.blank.config.table_side * PATCH * SPACE_FACTOR
            if max(request.native_width, request.native_height) > most:
                raise InvalidRequest(
                    f"the size is {request.native_width}x{request.native_height}; {self.spec.name} makes at most "
                    f"{most} px a side",
                    field="size",
                )
        # What is kept rounds otherwise, and after a crash it is not there.
        histories = None if request.deterministic else self._shelf.opened()
        return plan(self.spec, request, given_F, changes=changes, histories=histories)

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """`text` [B, T5_TOKENS, D], its `mask` [B, T5_TOKENS] and `pooled` [B, D']."""
        return self._reader(prompts)._asdict()

    def prepare(self, conditioning: Conditioning) -> Conditioning:
        """See the protocol: text and video change each other in each block, so nothing can be prepared but a number
        that tells the words from others."""
        return conditioning | {"words": digest(*(conditioning[name] for name in ("text", "mask", "pooled")))}

    def velocity(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, conditioning: Conditioning, start_B: Tensor
    ) -> Tensor:
        """See the protocol. Rows whose prompts are of one length go through the network together: none has padding.
        What is known of earlier frames is not computed again."""
        before = [conditioning[f"{FRAME}{number}"] for number in range(int(start_B[0]))]
        clips = [*(clip.to(latent_BCFHW) for clip in before), latent_BCFHW]
        stages = conditioning["stage"].tolist()
        times = [
            STAGES[stage].timestep(sigma)
            for stage, sigma in zip(stages, sigma_BF[:, 0].tolist(), strict=True)
        ]
        keys = list(map(Key, conditioning["words"].tolist(), stages, times))
        numbers = conditioning["histories"].tolist()
        pasts = list(map(self._shelf.past, numbers, keys))
        keeps = list(map(self._shelf.keeps, numbers, keys))
        groups = defaultdict[tuple[int, int, int], list[int]](list)
        for row, length in enumerate(conditioning["mask"].sum(1).tolist()):
            keep = settled(len(before), stages[row]) if keeps[row] else 0
            groups[length, pasts[row].frames, keep].append(row)
        velocity_BCFHW = torch.empty_like(latent_BCFHW)
        for (length, known, keep), rows in groups.items():
            velocity_BCFHW[rows], history = self._transformer.network(
                [clip[rows] for clip in clips[known:]],
                latent_BCFHW.new_tensor([times[row] for row in rows]),
                conditioning["text"][rows, :length].to(latent_BCFHW),
                conditioning["pooled"][rows].to(latent_BCFHW),
                past=together([pasts[row] for row in rows]),
                keep=keep,
            )
            if keep:
                for place, row in enumerate(rows):
                    self._shelf.keep(numbers[row], keys[row], row_of(history, place))
        return velocity_BCFHW

    @torch.inference_mode()
    def decode(
        self, latent_CFHW: Tensor, generator: torch.Generator | None = None, *, preset: str = ""
    ) -> Iterator[Tensor]:
        """See the protocol; one latent frame a chunk."""
        latent = self._variant.unscaled(latent_CFHW[None].to(self.device)).to(self.dtype)
        for pixels in self._autoencoder.network.stream(latent):
            yield frames_from_pixels(pixels)[0]

    @torch.inference_mode()
    def encode(self, frames_FHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the protocol."""
        pixels = pixels_from_frames(frames_FHWC[None].to(self.device)).to(self.dtype)
        latent, std = self._autoencoder.network.encode(pixels)
        if generator is not None:
            latent = latent + std * torch.randn(latent.shape, generator=generator).to(std)
        return self._variant.scaled(latent.float())[0]

    @cached_property
    def rgb_from_latent(self) -> Tensor:
        """See the protocol."""

        @torch.inference_mode()
        def decode(latent: Tensor) -> Tensor:
            return self._autoencoder.network.decode(self._variant.unscaled(latent))

        return preview_map(decode, self.spec.latent_channels, device=self.device, dtype=self.dtype)

    def footprint(self, frames: int, height: int, width: int) -> Footprint:
        """See the protocol."""
        config = self._transformer.blank.config
        tokens = SEEN_FRAMES * frames * height * width / PATCH**2
        pixels = TIME_FACTOR * height * width * SPACE_FACTOR**2
        counted = self._footprint(
            row=tokens * config.heads * config.head_width * ROW_WIDTHS,
            decode=self._autoencoder.blank.config.decoder_widths[0] * DECODE_WIDTHS * pixels,
        )
        return replace(counted, weights=counted.weights + self._shelf.nbytes)

    @property
    def _text_encoders(self) -> tuple[TextEncoder, ...]:
        return self._reader.encoders
