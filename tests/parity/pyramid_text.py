"""Small random text encoders in the folders in which Pyramid Flow has its own."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,  # pyright: ignore[reportAttributeAccessIssue] (made when it is asked for)
)

from hibari.models.pyramid_flow.variants import Variant

LETTERS = "abcdefghij"


def clip_class(variant: Variant) -> type:
    return CLIPTextModelWithProjection if variant.projected else CLIPTextModel


def write_text_encoders(folder: Path, variant: Variant, text_width: int = 8, pooled_width: int = 12) -> Path:
    """Text encoders and tokenizers as they lie in a checkpoint folder. They know a letter a token."""
    torch.manual_seed(0)
    vocab = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *[f"{letter}</w>" for letter in LETTERS]]
    tokenizer = CLIPTokenizer(vocab={token: k for k, token in enumerate(vocab)}, merges=[])
    tokenizer.model_max_length = 9
    for name in variant.clip_folders:
        config = CLIPTextConfig(
            vocab_size=len(vocab), hidden_size=pooled_width, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=9, bos_token_id=0, eos_token_id=1,
            projection_dim=pooled_width // len(variant.clip_folders),
        )  # fmt: skip
        clip_class(variant)(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name.replace("text_encoder", "tokenizer"))
    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -2.0),
        *[(letter, -3.0) for letter in LETTERS],
    ]
    config = T5Config(
        vocab_size=16,
        d_model=text_width,
        d_kv=4,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    T5EncoderModel(config).save_pretrained(folder / variant.t5_folder)
    T5TokenizerFast(vocab=pieces, extra_ids=0).save_pretrained(
        folder / variant.t5_folder.replace("text_encoder", "tokenizer")
    )
    return folder
