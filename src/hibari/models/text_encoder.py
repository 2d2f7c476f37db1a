"""The text encoders of a checkpoint, loaded when a prompt is to be read, and freed on demand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hibari.contracts import MissingPart, WeightsError
from hibari.models.checkpoint import block_layers, is_in_a_block, quantiser, silence
from hibari.models.folder import tensor_files


class TextEncoder:
    """A network of transformers with its vocabulary: `text_encoder` and `tokenizer` of a folder, or `text_encoder_2`
    and `tokenizer_2`, and so on."""

    def __init__(
        self,
        folder: Path,
        network: str,
        tokenizer: str,
        *,
        device: torch.device,
        dtype: torch.dtype,
        name: str = "text_encoder",
        quantise: str = "",
    ) -> None:
        """Nothing is loaded yet.

        Args:
            folder: of the checkpoint.
            network, tokenizer: classes of transformers.
            name: of the network's folder in it.
            quantise: as `checkpoint.Part` has it: the layers of the blocks in 8 bits, before they reach the device.

        Raises:
            MissingPart: what quantises is not installed.
            WeightsError: the weights are not there.
        """
        self.device, self.dtype = device, dtype
        self._network, self._vocabulary = folder / name, folder / name.replace("text_encoder", "tokenizer")
        self._classes = network, tokenizer
        self._files = tensor_files(self._network)
        self._quantised = quantiser(quantise) if quantise else None
        self._loaded: tuple[Any, Any] | None = None

    @cached_property
    def nbytes(self) -> int:
        """Of its weights, once they are in memory; of quantised ones without their scales."""
        count = 0
        for path in self._files:
            try:
                with safe_open(path, framework="pt") as file:
                    for name in file.keys():  # noqa: SIM118 - not a dict
                        shape = torch.Size(file.get_slice(name).get_shape())
                        small = (
                            self._quantised and len(shape) == 2 and is_in_a_block(name) and "bias" not in name
                        )
                        count += shape.numel() * (1 if small else self.dtype.itemsize)
            except (OSError, SafetensorError) as error:
                raise WeightsError(f"the weights {path} cannot be read: {error}") from error
        return count

    def tokens(self, prompts: Sequence[str], length: int | None = None) -> tuple[Tensor, Tensor]:
        """Ids [B, length] and mask [B, length], True for real tokens; by default of the vocabulary's own length. What
        is longer is cut.

        Raises:
            MissingPart: what reads the vocabulary is not installed.
            WeightsError: the vocabulary or the weights do not fit.
        """
        vocabulary = self._load()[0]
        batch = vocabulary(
            list(prompts),
            padding="max_length",
            max_length=length or vocabulary.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return batch["input_ids"].to(self.device), batch["attention_mask"].bool().to(self.device)

    @property
    def network(self) -> Any:
        """The network, ready to run. Raises as `tokens`."""
        return self._load()[1]

    def release(self) -> None:
        """Free it; the next use loads it again."""
        self._loaded = None

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            silence("transformers")
            transformers: Any = import_module("transformers")
            network_class, tokenizer_class = (getattr(transformers, name) for name in self._classes)
            try:
                vocabulary = tokenizer_class.from_pretrained(self._vocabulary, local_files_only=True)
            except ImportError as error:
                raise MissingPart(
                    f"reading the vocabulary in {self._vocabulary} needs another package: {error}; "
                    "install it with: pip install 'hibari[models]'"
                ) from error
            except (OSError, ValueError) as error:
                raise WeightsError(f"no vocabulary can be read from {self._vocabulary}: {error}") from error
            try:
                network, told = network_class.from_pretrained(
                    self._network, dtype=self.dtype, local_files_only=True, output_loading_info=True
                )
            except (OSError, ValueError, RuntimeError, SafetensorError) as error:
                raise WeightsError(f"no text encoder can be read from {self._network}: {error}") from error
            wrong = {kind: sorted(map(str, told[kind])) for kind in told if told[kind]}
            if wrong:
                raise WeightsError(f"the weights in {self._network} do not fit their config.json: {wrong}")
            network.eval().requires_grad_(False)
            if self._quantised:
                for _, layer in [*block_layers(network)]:
                    self._quantised(layer)
            self._loaded = vocabulary, network.to(self.device)
        return self._loaded


class T5(TextEncoder):
    """The text encoder of all open models: features of each token."""

    def __init__(
        self,
        folder: Path,
        *,
        device: torch.device,
        dtype: torch.dtype,
        name: str = "text_encoder",
        quantise: str = "",
    ) -> None:
        """As `TextEncoder`."""
        classes = "T5EncoderModel", "T5TokenizerFast"
        super().__init__(folder, *classes, device=device, dtype=dtype, name=name, quantise=quantise)

    @torch.inference_mode()
    def __call__(
        self, prompts: Sequence[str], tokens: int, *, masked: bool, zero_empty: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Features [B, tokens, D] and mask [B, tokens], True for real tokens. What is longer is cut.

        Args:
            masked: whether the encoder itself is told the mask.
            zero_empty: whether an empty prompt has no real token and only padding.

        Raises:
            MissingPart, WeightsError: as `tokens`.
        """
        ids, mask = self.tokens(prompts, tokens)
        if zero_empty:
            empty = torch.tensor([not prompt for prompt in prompts], device=self.device)[:, None]
            ids, mask = ids.masked_fill(empty, 0), mask & ~empty
        features = self.network(ids, attention_mask=mask if masked else None)[0]
        return features.to(self.dtype), mask
