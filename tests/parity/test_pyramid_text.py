"""Prompts as Pyramid Flow's text encoders read them, with small random encoders."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from hibari.contracts import WeightsError
from hibari.models.pyramid_flow.text import TextEncoder
from hibari.models.pyramid_flow.variants import MINIFLUX, SD3, VIDEO

CPU = {"dtype": torch.float32, "device": torch.device("cpu")}
LETTERS = "abcdefghij"


@pytest.fixture(scope="module", params=[MINIFLUX, SD3], ids=lambda variant: variant.name)
def variant(request):
    return request.param


@pytest.fixture(scope="module")
def folder(variant, tmp_path_factory):
    """Text encoders and tokenizers as they lie in a checkpoint folder."""
    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    clip_vocab = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *[f"{letter}</w>" for letter in LETTERS]]
    clip_tokenizer = CLIPTokenizer(vocab={token: k for k, token in enumerate(clip_vocab)}, merges=[])
    clip_tokenizer.model_max_length = 9
    kind = CLIPTextModelWithProjection if variant.projected else CLIPTextModel
    for name in variant.clip_folders:
        config = CLIPTextConfig(
            vocab_size=len(clip_vocab), hidden_size=8, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=9, projection_dim=6, bos_token_id=0, eos_token_id=1,
        )  # fmt: skip
        kind(config).save_pretrained(folder / name)
        clip_tokenizer.save_pretrained(folder / name.replace("text_encoder", "tokenizer"))
    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -2.0),
        *[(letter, -3.0) for letter in LETTERS],
    ]
    t5_tokenizer = T5TokenizerFast(vocab=pieces, extra_ids=0)
    config = T5Config(
        vocab_size=16, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    T5EncoderModel(config).save_pretrained(folder / variant.t5_folder)
    t5_tokenizer.save_pretrained(folder / variant.t5_folder.replace("text_encoder", "tokenizer"))
    return folder


def test_words_are_read_with_their_mask_and_clips_stand_in_a_row(folder, variant):
    reading = TextEncoder(folder, variant, **CPU)(["ab", "abcdefgh", ""])
    assert reading.text.shape == (3, 128, 8)
    lengths = reading.mask.sum(1).tolist()
    assert lengths[0] < lengths[1]
    assert lengths[2] == 1  # the end of the sentence
    assert reading.mask[0, : lengths[0]].all()
    kind = CLIPTextModelWithProjection if variant.projected else CLIPTextModel
    expected = []
    for name in variant.clip_folders:
        tokens = torch.tensor([[0, 2, 13, *[1] * 6]])  # start, a, "b and the word's end", end, padding
        read = kind.from_pretrained(folder / name).eval()(tokens)
        expected.append(read.text_embeds if variant.projected else read.pooler_output)
    torch.testing.assert_close(reading.pooled[:1], torch.cat(expected, 1))


def test_a_prompt_is_read_alike_in_any_company(folder, variant):
    encoder = TextEncoder(folder, variant, **CPU)
    alone, together = encoder(["ab"]), encoder(["ab", "abcdefgh"])
    for one, two in zip(alone, together, strict=True):
        torch.testing.assert_close(one, two[:1])


def test_a_missing_encoder_is_named(folder, variant, tmp_path):
    with pytest.raises(WeightsError, match="text_encoder and its tokenizer"):
        TextEncoder(tmp_path, variant, **CPU)


def test_the_first_frame_has_a_scale_of_its_own(variant):
    latent = torch.randn(1, 2, 3, 4, 4)
    scaled = variant.scaled(latent)
    torch.testing.assert_close(variant.unscaled(scaled), latent)
    shift, spread = variant.picture
    torch.testing.assert_close(scaled[:, :, 0], (latent[:, :, 0] - shift) / spread)
    torch.testing.assert_close(scaled[:, :, 1:], (latent[:, :, 1:] - VIDEO[0]) / VIDEO[1])
