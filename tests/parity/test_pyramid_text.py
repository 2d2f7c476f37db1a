"""Prompts as Pyramid Flow's text encoders read them, with small random encoders."""

from __future__ import annotations

import pytest
import torch
from pyramid_text import clip_class, write_text_encoders

from hibari.contracts import WeightsError
from hibari.models.pyramid_flow.text import Reader
from hibari.models.pyramid_flow.variants import MINIFLUX, SD3, VIDEO

CPU = {"dtype": torch.float32, "device": torch.device("cpu")}


@pytest.fixture(scope="module", params=[MINIFLUX, SD3], ids=lambda variant: variant.name)
def variant(request):
    return request.param


@pytest.fixture(scope="module")
def folder(variant, tmp_path_factory):
    return write_text_encoders(tmp_path_factory.mktemp("checkpoint"), variant)


def test_words_are_read_with_their_mask_and_clips_stand_in_a_row(folder, variant):
    reading = Reader(folder, variant, **CPU)(["ab", "abcdefgh", ""])
    assert reading.text.shape == (3, 128, 8)
    lengths = reading.mask.sum(1).tolist()
    assert lengths[0] < lengths[1]
    assert lengths[2] == 1  # the end of the sentence
    assert reading.mask[0, : lengths[0]].all()
    expected = []
    for name in variant.clip_folders:
        tokens = torch.tensor([[0, 2, 13, *[1] * 6]])  # start, a, "b and the word's end", end, padding
        read = clip_class(variant).from_pretrained(folder / name).eval()(tokens)
        expected.append(read.text_embeds if variant.projected else read.pooler_output)
    torch.testing.assert_close(reading.pooled[:1], torch.cat(expected, 1))


def test_a_prompt_is_read_alike_in_any_company(folder, variant):
    encoder = Reader(folder, variant, **CPU)
    alone, together = encoder(["ab"]), encoder(["ab", "abcdefgh"])
    for one, two in zip(alone, together, strict=True):
        torch.testing.assert_close(one, two[:1])


def test_a_missing_encoder_is_named(folder, variant, tmp_path):
    with pytest.raises(WeightsError, match="text_encoder has no weights"):
        Reader(tmp_path, variant, **CPU)


def test_the_first_frame_has_a_scale_of_its_own(variant):
    latent = torch.randn(1, 2, 3, 4, 4)
    scaled = variant.scaled(latent)
    torch.testing.assert_close(variant.unscaled(scaled), latent)
    shift, spread = variant.picture
    torch.testing.assert_close(scaled[:, :, 0], (latent[:, :, 0] - shift) / spread)
    torch.testing.assert_close(scaled[:, :, 1:], (latent[:, :, 1:] - VIDEO[0]) / VIDEO[1])
