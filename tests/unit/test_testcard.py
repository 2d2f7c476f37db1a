"""Defends an honest twin: what the test card paints comes from the latent, and sampling leads there."""

from __future__ import annotations

import torch
from torch import Tensor

from hibari import catalog
from hibari.diffusion.sampler import sample
from hibari.diffusion.schedule import schedule
from hibari.models.protocol import Model
from hibari.models.testcard.card import card_latent, read_colours, read_letters
from hibari.models.testcard.load import load

SPEC = catalog.spec("testcard")


def card_model() -> Model:
    return load(SPEC, device=torch.device("cpu"))


def sampled(prompt: str, *, frames: int = 2, height: int = 8, width: int = 8, start: int = 0) -> Tensor:
    """A latent_CFHW that four Euler steps made out of noise."""
    model = card_model()
    conditioning = model.encode_text([prompt])
    noise = torch.randn(1, 4, frames, height, width, generator=torch.Generator().manual_seed(0))
    start_B = torch.tensor([start])
    return sample(lambda x, sigma: model.velocity(x, sigma, conditioning, start_B), noise, schedule(4, 1))[0]


def test_sampling_lands_on_the_card_of_the_prompt() -> None:
    conditioning = card_model().encode_text(["a red balloon"])
    card = card_latent(conditioning["letters_BL"], conditioning["hash_B"], torch.tensor([5]), 2, 8, 8)[0]
    torch.testing.assert_close(sampled("a red balloon", start=5), card, atol=1e-6, rtol=0)


def test_the_prompt_is_read_back_from_what_was_sampled() -> None:
    assert read_letters(sampled("ein Käse über Köln ☂")[:, 1]) == "ein Käse über Köln ☂"


def test_a_prompt_longer_than_the_card_is_cut_between_characters() -> None:
    letters = read_letters(
        sampled("x" + "ü" * 100)[:, 0]
    )  # 64 cells hold 1 + 31 * 2 bytes, and half a character
    assert letters == "x" + "ü" * 31


def test_prompts_have_their_own_colours() -> None:
    cards = {
        bytes(read_colours(sampled(prompt)[:, 0]).flatten().tolist()) for prompt in ("a", "b", "c", "d", "e")
    }
    assert len(cards) > 2


def test_the_clock_counts_the_latent_frames_of_the_clip_not_of_the_window() -> None:
    first, second = sampled("a", start=6)[:3, :, -1].unbind(1)
    assert first[0].argmax() == 6
    assert second[0].argmax() == 7


def test_a_frame_shows_the_colours_of_its_latent() -> None:
    latent = sampled("a red balloon", height=6, width=10)
    frames = torch.cat(list(card_model().decode(latent)))
    assert frames.dtype == torch.uint8
    assert frames.shape == (5, 96, 160, 3)
    bare = frames[:, 56::16, 2::16].unique(dim=1)  # cells' corners, below the text
    assert torch.equal(frames[1, 56 : 56 + 16, 2::16].amax(0), read_colours(latent[:, 1])[3])
    assert bare.shape[1] > 1

    frames_of_wrong = torch.cat(list(card_model().decode(-latent)))
    assert not torch.equal(frames, frames_of_wrong)


def test_frames_differ_by_their_number() -> None:
    chunks = list(card_model().decode(sampled("a")))
    assert [len(chunk) for chunk in chunks] == [1, 4]
    assert not torch.equal(chunks[1][0], chunks[1][1])


def test_decoding_does_no_work_before_it_is_asked_for() -> None:
    latent = sampled("a", frames=3)
    chunks = card_model().decode(latent)
    next(chunks)
    latent[:3] = -1  # black: seen by the chunks that are not made yet
    assert next(chunks)[0, 100, 4].sum() == 0


def test_encode_is_the_inverse_of_decode_in_the_colours() -> None:
    latent = sampled("a red balloon rises over the sea", frames=3)
    model = card_model()
    again = model.encode(torch.cat(list(model.decode(latent))))
    assert again.shape == latent.shape
    torch.testing.assert_close(again[:3], latent[:3], atol=5 / 255, rtol=0)
    assert read_letters(again[:, 0]) == ""


def test_the_preview_map_shows_the_colours() -> None:
    latent_CHW = sampled("a")[:, 0]
    cells = torch.cat([latent_CHW.movedim(0, -1), torch.ones(8, 8, 1)], dim=-1)
    rgb = (cells @ card_model().rgb_from_latent * 255).round().to(torch.uint8)
    torch.testing.assert_close(rgb, read_colours(latent_CHW), atol=1, rtol=0)


def test_given_frames_have_no_velocity() -> None:
    model = card_model()
    x, sigma_BF = torch.full((1, 4, 2, 8, 8), 0.3), torch.tensor([[0.0, 0.5]])
    velocity = model.velocity(x, sigma_BF, model.encode_text(["a"]), torch.tensor([0]))
    assert (velocity[:, :, 0] == 0).all()
    assert (velocity[:, :, 1] != 0).any()
    assert velocity.isfinite().all()
