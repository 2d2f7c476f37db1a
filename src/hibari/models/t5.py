"""The text encoder of a checkpoint folder: T5, loaded when a prompt is to be read, and freed on demand."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hibari.contracts import MissingPart, WeightsError
from hibari.models.checkpoint import silence
from hibari.models.folder import tensor_files


class T5:
    """`tokenizer` and `text_encoder` of a folder."""

    def __init__(self, folder: Path, *, device: torch.device, dtype: torch.dtype) -> None:
        """Nothing is loaded yet.

        Raises:
            WeightsError: the weights are not there.
        """
        self._folder, self._device, self._dtype = folder, device, dtype
        self._files = tensor_files(folder / "text_encoder")
        self._loaded: tuple[Any, Any] | None = None

    @property
    def nbytes(self) -> int:
        """Of its weights, once they are in memory."""
        count = 0
        for path in self._files:
            try:
                with safe_open(path, framework="pt") as file:
                    for name in file.keys():  # noqa: SIM118 - not a dict
                        count += torch.Size(file.get_slice(name).get_shape()).numel()
            except (OSError, SafetensorError) as error:
                raise WeightsError(f"the weights {path} cannot be read: {error}") from error
        return count * self._dtype.itemsize

    @torch.inference_mode()
    def __call__(
        self, prompts: Sequence[str], tokens: int, *, masked: bool, zero_empty: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Features [B, tokens, D] and mask [B, tokens], True for real tokens. What is longer is cut.

        Args:
            masked: whether the encoder itself is told the mask.
            zero_empty: whether an empty prompt has no real token and only padding.

        Raises:
            MissingPart: what reads the vocabulary is not installed.
            WeightsError: the weights do not fit.
        """
        tokenizer, encoder = self._load()
        batch = tokenizer(
            list(prompts), padding="max_length", max_length=tokens, truncation=True, return_tensors="pt"
        )
        ids, mask = batch["input_ids"], batch["attention_mask"].bool()
        if zero_empty:
            empty = torch.tensor([not prompt for prompt in prompts])[:, None]
            ids, mask = ids.masked_fill(empty, 0), mask & ~empty
        ids, mask = ids.to(self._device), mask.to(self._device)
        features = encoder(ids, attention_mask=mask if masked else None)[0]
        return features.to(self._dtype), mask

    def release(self) -> None:
        """Free it; the next call loads it again."""
        self._loaded = None

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            silence("transformers")
            transformers: Any = import_module("transformers")
            try:
                tokenizer = transformers.T5TokenizerFast.from_pretrained(
                    self._folder / "tokenizer", local_files_only=True
                )
            except ImportError as error:
                raise MissingPart(
                    f"reading the vocabulary in {self._folder / 'tokenizer'} needs another package: {error}; "
                    "install it with: pip install 'hibari[models]'"
                ) from error
            except (OSError, ValueError) as error:
                raise WeightsError(
                    f"no vocabulary can be read from {self._folder / 'tokenizer'}: {error}"
                ) from error
            folder = self._folder / "text_encoder"
            try:
                encoder, told = transformers.T5EncoderModel.from_pretrained(
                    folder, dtype=self._dtype, local_files_only=True, output_loading_info=True
                )
            except (OSError, ValueError, RuntimeError, SafetensorError) as error:
                raise WeightsError(f"no text encoder can be read from {folder}: {error}") from error
            wrong = {kind: sorted(map(str, told[kind])) for kind in told if told[kind]}
            if wrong:
                raise WeightsError(f"the weights in {folder} do not fit their config.json: {wrong}")
            self._loaded = tokenizer, encoder.to(self._device).eval().requires_grad_(False)
        return self._loaded
