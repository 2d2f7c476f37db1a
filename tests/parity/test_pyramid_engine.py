"""Pyramid Flow through our engine is Pyramid Flow in its plain loop, which the golden tensors defend."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from open_models import (
    CPU,
    assert_bfloat16_is_nearly_the_same,
    cancelled_after_a_step,
    made,
    request,
    taken_until,
)
from pyramid_golden import write_folder
from pyramid_text import write_text_encoders

from hibari import catalog, tools
from hibari.contracts import Card, InvalidRequest, WeightsError
from hibari.engine import Engine, Order, Sampled, Start, generate_all
from hibari.engine.loop import advance
from hibari.models.pyramid_flow import load, spec
from hibari.models.pyramid_flow.history import Shelf
from hibari.models.pyramid_flow.plan import manners
from hibari.models.pyramid_flow.sample import Words, generate
from hibari.models.pyramid_flow.variants import MINIFLUX, SD3
from hibari.models.pyramid_flow.weights import key_of

SIZE = (128, 64)
WISHES = {"size": SIZE, "steps": 2, "guidance_scale": 2.8, "negative_prompt": "b"}


@pytest.fixture(scope="module", params=[MINIFLUX, SD3], ids=lambda variant: variant.name)
def folder(request, tmp_path_factory):
    """The transformer's folder inside one that is as published."""
    variant = request.param
    folder = tmp_path_factory.mktemp(variant.name)
    write_text_encoders(folder, variant, text_width=20)
    for name, part in (
        (f"pyramid_{variant.name}", "a_transformer"),
        ("pyramid_autoencoder", spec.AUTOENCODER),
    ):
        (folder / part).mkdir()
        write_folder(folder / part, name)
    return folder / "a_transformer"


@pytest.fixture(scope="module")
def model(folder):
    return catalog.load(str(folder), device=CPU)


def in_the_plain_loop(model, wish, frames, generator=None, given=(), noise=None):
    def words(prompt):
        read = model.encode_text([prompt])
        return Words(read["text"][:, : read["mask"].sum()], read["pooled"])

    if generator is None:
        generator = torch.Generator().manual_seed(wish.seed)
    if noise is None:
        noise = torch.randn(1, 4, frames, SIZE[1] // 8, SIZE[0] // 8, generator=generator)[:, :, len(given) :]
    first, others = manners(wish.steps, wish.guidance_scale)
    latents = generate(
        model._transformer.network, words(wish.prompt), words(wish.negative_prompt), noise,
        first=first, others=others, generator=generator, given=given,
    )  # fmt: skip
    return torch.cat([*given, *latents], 2)[0]


def test_a_clip_of_five_frames(model):
    wish = request(model, "abc", num_frames=33, **WISHES)
    latent, frames = made(model, wish)
    torch.testing.assert_close(latent, in_the_plain_loop(model, wish, 5), rtol=0, atol=1e-5)
    assert frames.shape == (33, SIZE[1], SIZE[0], 3)
    assert frames.std() > 5


def test_without_guidance_and_with_the_default_preset(model):
    wish = request(model, "abc", num_frames=9, **WISHES | {"guidance_scale": 1})
    latent, _ = made(model, wish)
    torch.testing.assert_close(latent, in_the_plain_loop(model, wish, 2), rtol=0, atol=1e-5)
    first, others = manners(model.spec.default_steps, model.spec.default_guidance)
    assert (first.steps, first.guidance_scale) == ((20, 20, 20), 7)
    assert (others.steps, others.guidance_scale) == ((10, 10, 10), 5)


def test_in_bfloat16(folder, monkeypatch):
    assert_bfloat16_is_nearly_the_same(monkeypatch, folder, num_frames=17, size=SIZE)


def test_from_a_picture(model):
    wish = request(model, "abc", num_frames=17, **WISHES)
    picture = np.random.default_rng(0).integers(0, 256, (1, SIZE[1], SIZE[0], 3), np.uint8)
    latent = torch.zeros(4, 3, SIZE[1] // 8, SIZE[0] // 8)
    generator = torch.Generator().manual_seed(wish.seed)
    latent[:, :1] = model.encode(torch.from_numpy(picture), generator)
    start = Start(latent, (True, False, False), generator=generator.get_state())
    got, frames = made(model, wish, start)
    assert torch.equal(got[:, 0], latent[:, 0])
    expected = in_the_plain_loop(model, wish, 3, generator, [latent[None, :, :1]])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    assert len(frames) == 17


def test_several_at_once_are_as_each_alone(model, monkeypatch):
    """Also where they see more or less of what was made before, or have the same window at another size; and no pass is
    made of what does not fit together."""
    batches = []

    def watched(model, runs):
        try:
            after = advance(model, runs)
        except Exception as error:
            batches.append(error)
            raise
        batches.append(len(runs))
        return after

    monkeypatch.setattr("hibari.engine.engine.advance", watched)
    wishes = [
        request(model, prompt, num_frames=frames, **WISHES | {"size": (side, side), "seed": seed})
        for prompt, frames, side, seed in [
            ("abc", 17, 64, 1),
            ("ab", 17, 64, 2),
            ("abc", 9, 64, 3),
            ("abc", 9, 128, 4),
        ]
    ]
    together = list(generate_all(model, [Order(wish) for wish in wishes]))
    assert set(batches) == {1, 2, 3}
    for wish, sampled in zip(wishes, together, strict=True):
        alone, _ = made(model, wish)
        torch.testing.assert_close(sampled.latent_CFHW, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("stop", [2, 3, 8])
def test_stopped_and_resumed(model, tmp_path, stop):
    """After any step, at a stage's end and in its midst, in the same bits."""
    wish = request(model, "abc", num_frames=17, **WISHES | {"deterministic": True})
    whole, _ = made(model, wish)
    assert torch.equal(resumed(model, wish, tmp_path, stop), whole)


def resumed(model, wish, tmp_path, stop):
    """The latent of a generation that was stopped after a step, and went on in another engine."""
    engine = Engine(lambda _: model, checkpoints=tmp_path, checkpoint_every_s=0)
    engine.adopt(model)
    engine.submit(wish)
    seen = list(taken_until(engine.events(), stop))
    assert all(event.preview is not None and event.preview.std() > 0 for event in seen)
    after = Engine(lambda _: model, checkpoints=tmp_path)
    after.adopt(model)
    assert after.restore()
    (latent,) = [event.latent_CFHW for event in after.events() if isinstance(event, Sampled)]
    return latent


def test_what_earlier_frames_left_is_used_and_changes_nothing(model, monkeypatch, tmp_path):
    """Nor where two prompts follow each other, where there is no room for it, and after a crash, when it is gone."""
    wish = request(model, "abc", num_frames=33, **WISHES)
    tokens, held = [], []
    forward = type(model._transformer.network).forward

    def counted(network, clips, *args, **kwargs):
        tokens.append(sum(clip.shape[2:].numel() for clip in clips))
        held.append(model._shelf.nbytes)
        return forward(network, clips, *args, **kwargs)

    monkeypatch.setattr(type(model._transformer.network), "forward", counted)

    def made_with(room, wish=wish):
        tokens.clear()
        monkeypatch.setattr(model, "_shelf", Shelf(room))
        latent, _ = made(model, wish)
        return latent, sum(tokens)

    without, all_tokens = made_with(0)
    latent, fewer = made_with(2**30)
    torch.testing.assert_close(latent, without, rtol=0, atol=1e-5)
    assert fewer < all_tokens
    assert model._shelf.nbytes == 0, "it goes with its generation"
    latent, some = made_with(max(held) // 2)
    torch.testing.assert_close(latent, without, rtol=0, atol=1e-5)
    assert fewer < some < all_tokens
    assert made_with(2**30, replace(wish, deterministic=True))[1] == all_tokens
    cards = replace(wish, cards=(Card(0, "abc"), Card(0.5, "b"), Card(1, "abc")), transition_s=0.4)
    torch.testing.assert_close(made_with(2**30, cards)[0], made_with(0, cards)[0], rtol=0, atol=1e-5)
    monkeypatch.setattr(model, "_shelf", Shelf(2**30))
    torch.testing.assert_close(resumed(model, wish, tmp_path, 14), without, rtol=0, atol=1e-5)


def test_a_picture_through_the_tools_has_the_references_noise(model):
    """The authors draw the clip's noise first, then the picture's; and a frame has the noise of the one before it."""
    picture = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    options = {**WISHES, "seed": 7, "seconds": 17 / 24}
    job = tools.plan_job(model, tools.Wish("abc", image=picture, options=options))
    latent, _ = made(model, job.request, job.start)
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(1, 4, 3, SIZE[1] // 8, SIZE[0] // 8, generator=generator)[:, :, :-1]
    given = [model.encode(torch.from_numpy(picture)[None], generator)[None]]
    expected = in_the_plain_loop(model, job.request, 3, generator, given, noise)
    torch.testing.assert_close(latent, expected, rtol=0, atol=1e-5)


def test_a_clip_goes_on(model):
    """Its latent frames are what the plain loop is given; those of the new seconds follow."""
    clip = np.random.default_rng(0).integers(0, 256, (15, SIZE[1], SIZE[0], 3), np.uint8)
    options = {**WISHES, "seed": 7, "seconds": 16 / 24}
    job = tools.plan_job(model, tools.Wish("abc", extend=clip, options=options))
    latent, frames = made(model, job.request, job.start)
    held = torch.from_numpy(np.concatenate([clip, clip[-1:], clip[-1:]]))
    given = model.encode(held)[None].split(1, 2)
    assert latent.shape[1] == 3 + 2
    expected = in_the_plain_loop(model, job.request, 5, given=given)
    torch.testing.assert_close(latent, expected, rtol=0, atol=1e-5)
    assert len(frames) - len(job.cut) == 15 + 16


def test_cancelled(model):
    cancelled_after_a_step(model, request(model, "abc", num_frames=9, **WISHES))


def test_a_picture_larger_than_the_table_of_places_is_refused(model):
    if model._variant is SD3:
        with pytest.raises(InvalidRequest, match="at most 192 px a side"):
            model.plan(request(model, "abc", num_frames=1, size=(256, 128)))


def test_what_it_cannot_make_is_refused(model):
    wish = request(model, "abc", num_frames=17, **WISHES)
    with pytest.raises(InvalidRequest, match="how a clip begins"):
        model.plan(wish, (True, False, True))
    with pytest.raises(InvalidRequest, match="change neither"):
        model.plan(replace(wish, strength=0.5), changes=True)


def test_a_folder_is_known_by_its_transformers_class(folder, model):
    assert catalog.find(str(folder)) == model.spec
    assert model.spec.latent_channels == 4
    copy = folder.parent / "another"
    shutil.copytree(folder, copy)
    assert catalog.load(str(copy), device=CPU).weights_sha256 == model.weights_sha256
    (copy / "diffusion_pytorch_model.safetensors").unlink()
    take = key_of(model._transformer.config["_class_name"])
    tensors = {take(name).key: value for name, value in model._transformer.network.state_dict().items()}
    torch.save(tensors, copy / "diffusion_pytorch_model.bin")
    as_pickled = catalog.load(str(copy), device=CPU)
    assert as_pickled.weights_sha256 != model.weights_sha256
    torch.save(
        {key: value + 1 for key, value in tensors.items()},
        copy / "diffusion_pytorch_model.bin",
    )
    assert catalog.load(str(copy), device=CPU).weights_sha256 != as_pickled.weights_sha256


def test_another_network_is_refused(tmp_path):
    (tmp_path / "a_transformer").mkdir()
    (tmp_path / spec.AUTOENCODER).mkdir()
    write_folder(tmp_path / spec.AUTOENCODER, "pyramid_autoencoder")
    (tmp_path / "a_transformer" / "config.json").write_text(json.dumps({"_class_name": "Another"}))
    found = spec.read(tmp_path / "a_transformer", "pyramid")
    with pytest.raises(WeightsError, match="holds a Another"):
        load.load(found, tmp_path / "a_transformer", device=CPU)
