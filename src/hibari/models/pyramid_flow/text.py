"""Prompts as Pyramid Flow reads them: T5's features of each word, and a pooled vector of CLIP (two of them in SD3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hibari.contracts import WeightsError
from hibari.models.checkpoint import silence
from hibari.models.pyramid_flow.variants import Variant

T5_TOKENS = 128  # what is longer is cut


class Reading(NamedTuple):
    """Prompts that were read: features [B, T5_TOKENS, text width], their mask [B, T5_TOKENS] (True for real tokens),
    and pooled vectors [B, pooled width]."""

    text: Tensor
    mask: Tensor
    pooled: Tensor


class TextEncoder:
    """All text encoders of a checkpoint folder."""

    def __init__(self, folder: Path, variant: Variant, *, dtype: torch.dtype, device: torch.device) -> None:
        """Load them.

        Raises:
            WeightsError: one of them cannot be loaded.
        """
        # transformers takes seconds to import, so it is imported when a prompt is to be read, not before.
        silence("transformers")
        from transformers import AutoTokenizer, CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

        self._variant, self._device = variant, device

        def load(kind: Any, name: str) -> tuple[Any, Any]:
            try:
                tokenizer = AutoTokenizer.from_pretrained(
                    folder / name.replace("text_encoder", "tokenizer"), local_files_only=True
                )
                network = kind.from_pretrained(folder / name, local_files_only=True, dtype=dtype)
            except (OSError, ValueError) as error:
                raise WeightsError(f"cannot load {folder / name} and its tokenizer: {error}") from error
            return tokenizer, network.eval().to(device)

        clip = CLIPTextModelWithProjection if variant.projected else CLIPTextModel
        self._clips = [load(clip, name) for name in variant.clip_folders]
        self._t5 = load(T5EncoderModel, variant.t5_folder)

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[str]) -> Reading:
        """See `Reading`."""
        tokenizer, network = self._t5
        tokens, mask = self._tokens(tokenizer, prompts, T5_TOKENS)
        text = network(tokens, attention_mask=mask).last_hidden_state
        pooled = []
        for tokenizer, network in self._clips:
            tokens, _ = self._tokens(tokenizer, prompts, tokenizer.model_max_length)
            read = network(tokens)
            pooled.append(read.text_embeds if self._variant.projected else read.pooler_output)
        return Reading(text, mask.bool(), torch.cat(pooled, 1))

    def _tokens(self, tokenizer: Any, prompts: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
        batch = tokenizer(
            list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        return batch["input_ids"].to(self._device), batch["attention_mask"].to(self._device)
