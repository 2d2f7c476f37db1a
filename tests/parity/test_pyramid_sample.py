"""Whole runs of Pyramid Flow give what the authors' give for the same seed."""

from __future__ import annotations

import pytest
import torch
from pyramid_golden import golden

from hibari.models.pyramid_flow.autoencoder import frames_from_pixels, pixels_from_frames
from hibari.models.pyramid_flow.pyramid import STAGES, block_noise, sigmas
from hibari.models.pyramid_flow.sample import Manner, Words, generate
from hibari.models.pyramid_flow.variants import VARIANTS

NAMES = ["pyramid_miniflux", "pyramid_sd3"]


def words(tensors, name):
    length = tensors[f"{name}.mask"].sum()
    return Words(tensors[f"{name}.text"][:, :length], tensors[f"{name}.pooled"])


def sampled(name, noise, generator, given=(), **options):
    """A clip of the golden settings."""
    model, settings = golden(name), golden(name).settings
    made = generate(
        model.network,
        words(model.tensors, "prompt"),
        words(model.tensors, "negative"),
        noise,
        first=Manner(tuple(settings["first_steps"]), settings["guidance"]),
        others=Manner(tuple(settings["steps"]), settings["video_guidance"]),
        generator=generator,
        given=given,
        **options,
    )
    return torch.cat([*given, *made], 2)


def noise_of(settings, frames, generator):
    return torch.randn(
        1, 4, frames, settings["height_px"] // 8, settings["width_px"] // 8, generator=generator
    )


@pytest.mark.parametrize("reuse_stages", [0, 1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_text_to_video_equals_the_reference(name, reuse_stages):
    settings = golden(name).settings
    generator = torch.Generator().manual_seed(settings["seed"])
    noise = noise_of(settings, settings["frames"], generator)
    latent = sampled(name, noise, generator, reuse_stages=reuse_stages)
    torch.testing.assert_close(latent, golden(name).tensors["text_to_video.latent"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_image_to_video_equals_the_reference(name):
    model = golden(name)
    variant = VARIANTS[model.settings["class_name"]]
    generator = torch.Generator().manual_seed(model.settings["image_seed"])
    # The reference draws noise for the first frame, too, and leaves out the last.
    noise = noise_of(model.settings, model.settings["image_frames"], generator)[:, :, :-1]
    pixels = pixels_from_frames(model.tensors["image_to_video.image"][None, None])
    moments = golden("pyramid_autoencoder").network.encode(pixels)
    drawn = moments.mean + moments.std * torch.randn(moments.mean.shape, generator=generator)
    latent = sampled(name, noise, generator, given=[variant.scaled(drawn)])
    torch.testing.assert_close(latent, model.tensors["image_to_video.latent"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_decoded_frames_are_the_references(name):
    model = golden(name)
    latent = VARIANTS[model.settings["class_name"]].unscaled(model.tensors["text_to_video.latent"])
    chunks = [frames_from_pixels(chunk)[0] for chunk in golden("pyramid_autoencoder").network.stream(latent)]
    frames, expected = torch.cat(chunks)[:, ::4, ::4], model.tensors["text_to_video.frames_thinned"]
    assert (frames.int() - expected.int()).abs().max() <= 1
    assert (frames == expected).float().mean() > 0.999


def test_stages_and_their_timesteps_are_the_references():
    model = golden("pyramid_miniflux")
    wanted = model.settings["schedule"]
    for index, stage in enumerate(STAGES):
        levels = sigmas(4)
        told = [stage.timestep(sigma) for sigma in levels[:-1]]
        # The reference builds its grid of a thousand timesteps in float32, where they are 6e-5 apart at the most.
        assert told == pytest.approx(model.tensors[f"schedule.timesteps_{index}"].tolist(), abs=6e-5)
        assert levels == pytest.approx(model.tensors[f"schedule.sigmas_{index}"].tolist(), abs=1e-12)
        if index:
            assert stage.signal == pytest.approx(1 / (1 + wanted["ori_start"][index]), abs=1e-7)


def test_a_latent_that_cannot_be_halved_twice_is_refused():
    model = golden("pyramid_sd3")
    some, manner = words(model.tensors, "prompt"), Manner((1, 1, 1), 1)
    run = generate(
        model.network,
        some,
        some,
        torch.zeros(1, 4, 1, 8, 12),
        first=manner,
        others=manner,
        generator=torch.Generator(),
    )
    with pytest.raises(ValueError, match=r"\[8, 12\]"):
        next(run)


def test_block_noise_is_the_references_number_by_number():
    expected = golden("pyramid_miniflux").tensors["block_noise"]
    noise = block_noise(expected.shape, torch.Generator().manual_seed(13))
    torch.testing.assert_close(noise, expected, rtol=0, atol=1e-6)


def test_block_noise_sums_to_nothing_in_each_block_and_varies_by_one():
    noise = block_noise((1, 1, 1, 200, 200), torch.Generator().manual_seed(0))[0, 0, 0]
    blocks = noise.unflatten(0, (-1, 2)).unflatten(2, (-1, 2))
    assert blocks.sum((1, 3)).abs().max() < 1e-5
    assert noise.var().item() == pytest.approx(1, abs=0.03)
    assert (blocks[:, 0, :, 0] * blocks[:, 0, :, 1]).mean().item() == pytest.approx(-1 / 3, abs=0.03)
