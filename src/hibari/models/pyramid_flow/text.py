"""Prompts as Pyramid Flow reads them: T5's features of each word, and a pooled vector of CLIP (two of them in SD3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from hibari.models.pyramid_flow.variants import Variant
from hibari.models.text_encoder import T5, TextEncoder

T5_TOKENS = 128  # what is longer is cut


class Reading(NamedTuple):
    """Prompts that were read: features [B, T5_TOKENS, text width], their mask [B, T5_TOKENS] (True for real tokens),
    and pooled vectors [B, pooled width]."""

    text: Tensor
    mask: Tensor
    pooled: Tensor


class Reader:
    """All text encoders of a checkpoint folder, each loaded when a prompt is to be read."""

    def __init__(
        self, folder: Path, variant: Variant, *, dtype: torch.dtype, device: torch.device, quantise: str = ""
    ) -> None:
        """Nothing is loaded yet.

        Args:
            quantise: of T5, which is nearly all of them: see `TextEncoder`.

        Raises:
            MissingPart: what quantises is not installed.
            WeightsError: the weights of one of them are not there.
        """
        kind = "CLIPTextModelWithProjection" if variant.projected else "CLIPTextModel"
        self._projected = variant.projected
        self._clips = [
            TextEncoder(folder, kind, "CLIPTokenizer", device=device, dtype=dtype, name=name)
            for name in variant.clip_folders
        ]
        self._t5 = T5(folder, device=device, dtype=dtype, name=variant.t5_folder, quantise=quantise)

    @property
    def encoders(self) -> tuple[TextEncoder, ...]:
        """All of them."""
        return (*self._clips, self._t5)

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[str]) -> Reading:
        """See `Reading`.

        Raises:
            MissingPart, WeightsError: as `TextEncoder.tokens`.
        """
        text, mask = self._t5(prompts, T5_TOKENS, masked=True)
        pooled: list[Tensor] = []
        for clip in self._clips:
            read = clip.network(clip.tokens(prompts)[0])
            pooled.append(read.text_embeds if self._projected else read.pooler_output)
        return Reading(text, mask, torch.cat(pooled, 1))
