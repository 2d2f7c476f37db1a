"""Defends: LTX-Video's published configurations through our engine: guidance lists, skipped blocks, rescaling,
distilled steps, two passes. What diffusers has of it is compared with diffusers; the rest with the formulas written out
beside diffusers' network, on small random weights in float32."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from open_models import (
    TEXT_WIDTH,
    cancelled_after_a_step,
    loaded,
    made,
    quiet,
    randomised,
    request,
    resumed_at_every_step,
    saved,
    tokenizer_and_encoder,
)
from PIL import Image

from hibari import catalog, tools
from hibari.contracts import GenerationRequest, InvalidRequest
from hibari.engine import Start
from hibari.models.checkpoint import diffusers_class
from hibari.models.ltx_video import presets
from hibari.models.ltx_video.plan import pressed
from hibari.models.ltx_video.presets import Configuration, Pass
from hibari.models.protocol import Model

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # the reference's own

CHANNELS, BLOCKS, FRAMES = 8, 3, 9
SIZE = (104, 56)  # of which two thirds are 64 x 32, in whole cells
SMALL = Configuration(
    (
        Pass(
            steps=6,
            leave_last=1,
            floors=(1.0, 0.99, 0.9, 0.5),
            guidance=(1.0, 3.0, 5.0, 2.0),
            skip_scale=(0.0, 2.0, 1.0, 0.5),
            skip_blocks=((), (0, 2), (1,), (2,)),
            rescale=(0.0, 0.5, 0.0, 0.7),
            projects=True,
        ),
    )
)
DISTILLED = (1.0, 0.9937, 0.9094, 0.7250), (0.9094, 0.7250, 0.4219)
TWICE = Configuration(
    tuple(Pass(sigmas=sigmas) for sigmas in DISTILLED), first_pass=presets.DOWNSCALE, tone=0.6
)


@pytest.fixture(scope="module")
def pipeline() -> Any:
    transformer = diffusers_class("LTXVideoTransformer3DModel")(
        in_channels=CHANNELS, out_channels=CHANNELS, num_attention_heads=4, attention_head_dim=8,
        cross_attention_dim=32, num_layers=BLOCKS, caption_channels=TEXT_WIDTH,
    )  # fmt: skip
    autoencoder = diffusers_class("AutoencoderKLLTXVideo")(
        latent_channels=CHANNELS, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False), patch_size=2, timestep_conditioning=True,
    )  # fmt: skip
    tokenizer, text_encoder = tokenizer_and_encoder()
    made = diffusers_class("LTXConditionPipeline")(
        scheduler=diffusers_class("FlowMatchEulerDiscreteScheduler")(shift=1.0),
        transformer=randomised(transformer, 2),
        vae=randomised(autoencoder, 3),
        tokenizer=tokenizer,
        text_encoder=text_encoder,
    )
    made.vae.latents_std.abs_().add_(0.5)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def upsampler() -> Any:
    from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel

    network = LTXLatentUpsamplerModel(in_channels=CHANNELS, mid_channels=32, num_blocks_per_stage=1)
    return randomised(network, 5, scale=0.1)


@pytest.fixture(scope="module")
def folder(pipeline: Any, upsampler: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = saved(pipeline, tmp_path_factory.mktemp("ltx"))
    upsampler.save_pretrained(folder / "latent_upsampler")
    return folder


@pytest.fixture
def model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """With configurations that are like the published ones, for a network of few blocks."""
    small = {"guided": SMALL, "twice": TWICE, "lcm": Configuration((Pass(steps=4),), sampler="lcm")}
    monkeypatch.setattr("hibari.models.ltx_video.presets.CONFIGURATIONS", {**presets.CONFIGURATIONS, **small})
    for user in ("plan", "model"):
        monkeypatch.setattr(f"hibari.models.ltx_video.{user}.CONFIGURATIONS", presets.CONFIGURATIONS)
    return loaded(folder)


def velocity_of(pipeline: Any, model: Any, skips: tuple[int, ...] = ()) -> Callable[..., torch.Tensor]:
    """diffusers' own network; in some blocks a token's attention is to itself."""
    network = deepcopy(pipeline.transformer)
    for index in skips:
        network.transformer_blocks[index].attn1.set_processor(_Values())

    @torch.inference_mode()
    def velocity(x: torch.Tensor, sigma: float, prompt: str) -> torch.Tensor:
        words = model.encode_text([prompt])
        _, _, frames, height, width = x.shape
        told = network(
            hidden_states=x.flatten(2).transpose(1, 2),
            encoder_hidden_states=words["text"],
            encoder_attention_mask=words["mask"],
            timestep=torch.tensor([1000 * sigma]),
            video_coords=model._places(model._moments(frames)[None], height, width),
            return_dict=False,
        )[0]
        return told.transpose(1, 2).unflatten(2, (frames, height, width))

    return velocity


class _Values:
    def __call__(self, attn: Any, hidden_states: torch.Tensor, *_: object) -> torch.Tensor:
        return attn.to_out[0](attn.to_v(hidden_states))


def test_guidance_lists_skipped_blocks_and_rescaling(model: Any, pipeline: Any) -> None:
    """The authors' loop, written out: their names and order, and their configuration's values."""
    wish = request(model, num_frames=FRAMES, size=SIZE, preset="guided", negative_prompt="blur")
    assert (wish.steps, wish.guidance_scale) == (5, 5.0)
    latent, _ = made(model, wish)

    (config,) = SMALL.passes
    timesteps = model.plan(request(model, num_frames=FRAMES, size=SIZE, steps=6))[0].sigmas[:5]
    reached = [
        next((i for i, floor in enumerate(config.floors) if floor <= t), len(config.floors) - 1)
        for t in timesteps
    ]
    assert set(reached) >= {0, 1, 2, 3}, "each row of the lists must be tried"
    plain = velocity_of(pipeline, model)
    x = torch.randn(1, CHANNELS, 3, SIZE[1] // 8, SIZE[0] // 8, generator=torch.Generator().manual_seed(7))
    for (t, t_next), row in zip(pairwise((*timesteps, 0.0)), reached, strict=True):
        text = prediction = plain(x, t, "a red balloon")
        if config.guidance[row] > 1:
            uncond = plain(x, t, "blur")
            uncond = (text * uncond).sum() / ((uncond**2).sum() + 1e-8) * uncond
            prediction = uncond + config.guidance[row] * (text - uncond)
        if config.skip_scale[row] > 0:
            perturbed = velocity_of(pipeline, model, config.skip_blocks[row])(x, t, "a red balloon")
            assert not torch.allclose(perturbed, text, atol=1e-3)
            prediction = prediction + config.skip_scale[row] * (text - perturbed)
            factor = text.std() / prediction.std()
            prediction = prediction * (config.rescale[row] * factor + (1 - config.rescale[row]))
        x = x + (t_next - t) * prediction
    torch.testing.assert_close(latent, x[0], atol=2e-5, rtol=1e-4)


def two_passes(
    pipeline: Any, upsampler: Any, pictures: tuple[Image.Image, Image.Image] | None, frame: int = 0
) -> torch.Tensor:
    """diffusers' chain of three pipelines, at the sizes of the authors' script, out of one generator."""
    call = {
        "prompt": "a red balloon", "num_frames": FRAMES, "frame_rate": 25, "guidance_scale": 1.0,
        "output_type": "latent", "generator": torch.Generator().manual_seed(7), "image_cond_noise_scale": 0.0,
    }  # fmt: skip
    first, second = (
        ({"image": one, "frame_index": frame, "strength": 1.0} for one in pictures) if pictures else ({}, {})
    )
    enlarge = diffusers_class("LTXLatentUpsamplePipeline")(vae=pipeline.vae, latent_upsampler=upsampler)
    with quiet():
        timesteps = [1000 * t for t in DISTILLED[0]]
        small = pipeline(**call, **first, width=64, height=32, timesteps=timesteps).frames
        large = enlarge(latents=small, adain_factor=1.0, output_type="latent").frames
        # The pipeline leaves out as many first steps as `denoise_strength` says: here the one at 1000.
        timesteps = [1000.0, *(1000 * t for t in DISTILLED[1])]
        again = pipeline(
            **call, **second, width=128, height=64, latents=large, timesteps=timesteps, denoise_strength=0.999
        )
    return again.frames[0]


@pytest.mark.parametrize("pictured", ["", "image", "last_image"])
def test_two_passes(model: Model, pipeline: Any, upsampler: Any, pictured: str) -> None:
    """diffusers' chain. A picture is encoded at both sizes, and stays as it is, or is shown beside, in both passes."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    whole = Image.fromarray(picture)
    pictures = (whole.resize((64, 32), Image.Resampling.LANCZOS), whole) if pictured else None
    # With noise in it the seed would not carry over: the chain draws it before the second pass's own.
    options = {"seed": 7, "size": SIZE, "seconds": FRAMES / 25, "preset": "twice", "given_noise": 0.0}
    shown: dict[str, Any] = {pictured: picture} if pictured else {}
    wish = tools.Wish("a red balloon", **shown, options=options)
    job = tools.plan_job(model, wish)
    assert (job.request.native_width, job.request.native_height, job.request.steps) == (128, 64, 7)
    latent, frames = made(model, job.request, job.start)
    wanted = two_passes(pipeline, upsampler, pictures, FRAMES - 1 if pictured == "last_image" else 0)
    torch.testing.assert_close(latent, wanted, atol=1e-4, rtol=1e-4)
    assert frames.shape == (FRAMES, 64, 128, 3)
    assert frames.std() > 5


def test_two_passes_can_be_stopped_and_resumed_and_cancelled(model: Model, tmp_path: Path) -> None:
    wish = request(model, num_frames=5, size=SIZE, preset="twice")
    resumed_at_every_step(model, wish, tmp_path)
    cancelled_after_a_step(model, wish)


def test_values_are_pressed_before_they_are_decoded(model: Model, pipeline: Any) -> None:
    """Only where the preset says so, and as diffusers presses them."""
    latent = 3 * torch.randn(CHANNELS, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    reference = diffusers_class("LTXLatentUpsamplePipeline").tone_map_latents
    torch.testing.assert_close(pressed(latent, 0.6), reference(None, latent, 0.6))
    frames = {
        name: torch.cat(list(model.decode(latent, preset=name)))
        for name in ("twice", "ltxv-2b-0.9.8-distilled")
    }
    assert not torch.equal(frames["twice"], frames["ltxv-2b-0.9.8-distilled"])


def test_lcm_is_the_reference_schedulers_stochastic_step(model: Model, pipeline: Any) -> None:
    """As 0.9.6-distilled is sampled: the same network and the same noise, step by step."""
    wish = request(model, num_frames=FRAMES, size=SIZE, preset="lcm")
    assert (wish.sampler, wish.steps, wish.guidance_scale) == ("lcm", 4, 1.0)
    latent, _ = made(model, wish)
    scheduler = diffusers_class("FlowMatchEulerDiscreteScheduler")(stochastic_sampling=True)
    levels = model.plan(wish)[0].sigmas
    scheduler.set_timesteps(sigmas=list(levels[:-1]))
    generator, velocity = torch.Generator().manual_seed(7), velocity_of(pipeline, model)
    shape = (1, CHANNELS, 3, SIZE[1] // 8, SIZE[0] // 8)
    x = torch.randn(shape, generator=generator)
    for step, t in enumerate(scheduler.timesteps):
        told = velocity(x, levels[step], "a red balloon")
        x = scheduler.step(told, t, x, generator=generator, return_dict=False)[0]
    torch.testing.assert_close(latent, x[0], atol=1e-5, rtol=1e-5)


def test_what_a_preset_cannot_do_is_refused(model: Any, folder: Path, tmp_path: Path) -> None:
    def wish(**options: Any) -> Any:
        return request(model, num_frames=FRAMES, size=SIZE, **options)

    with pytest.raises(InvalidRequest, match=r"has no preset 'best'; it has: ltxv-2b-0\.9, "):
        wish(preset="best")
    with pytest.raises(InvalidRequest, match="has its own 7 steps and guidance"):
        wish(preset="twice", steps=10)
    with pytest.raises(InvalidRequest, match=r"0\.9\.8-dev: it skips block 39, and the network has 3"):
        wish(preset="ltxv-13b-0.9.8-dev")
    clip = np.random.default_rng(0).integers(0, 256, (FRAMES, 64, 128, 3), np.uint8)
    for tool in ("extend", "edit"):
        options = {"seed": 7, "preset": "twice"}
        job = tools.plan_job(
            model, tools.Wish("a balloon", options=options, **cast("dict[str, Any]", {tool: clip}))
        )
        with pytest.raises(InvalidRequest, match="makes a clip twice"):
            made(model, job.request, job.start)
    shutil.copytree(folder, tmp_path / "alone", ignore=shutil.ignore_patterns("latent_upsampler"))
    alone = catalog.find(str(tmp_path / "alone"))
    with pytest.raises(InvalidRequest, match=r"preset twice: it makes a clip twice, .* put latent_upsampler"):
        GenerationRequest.resolve(alone, "a balloon", preset="twice", seed=7)


def test_published_values() -> None:
    """Facts of the authors' files: steps of all passes, the highest guidance, and the noise levels of the last pass."""
    by_name = {preset.name: preset for preset in presets.presets(48, enlarges=True)}
    assert not any(one.missing for one in by_name.values())
    assert by_name["ltxv-2b-0.9"].summary == "40 steps with guidance 3 and rescaling 0.7 and skipped blocks"
    assert by_name["ltxv-13b-0.9.8-dev"].summary == (
        "27 steps with guidance up to 8 and rescaling up to 0.5 and skipped blocks, enlarged to twice the size, 13 "
        "steps with skipped blocks"
    )
    assert {name: (one.steps, one.guidance_scale, one.skips) for name, one in by_name.items()} == {
        "ltxv-2b-0.9": (40, 3.0, True), "ltxv-2b-0.9.1": (40, 3.0, True), "ltxv-2b-0.9.5": (40, 3.0, True),
        "ltxv-2b-0.9.6-dev": (40, 3.0, True), "ltxv-2b-0.9.6-distilled": (8, 1.0, False),
        "ltxv-2b-0.9.8-distilled": (10, 1.0, False), "ltxv-13b-0.9.8-dev": (27 + 13, 8.0, True),
        "ltxv-13b-0.9.8-distilled": (10, 1.0, False),
    }  # fmt: skip
    assert presets.CONFIGURATIONS["ltxv-13b-0.9.8-distilled"].passes[1].sigmas == (0.9094, 0.7250, 0.4219)


def plain_reference(pipeline: Any, **call: Any) -> torch.Tensor:
    """Latent [C, F, H, W] of the pipeline of the later versions."""
    call = {
        "prompt": "a red balloon", "num_frames": FRAMES, "frame_rate": 25, "width": 64, "height": 32,
        "num_inference_steps": 4, "guidance_scale": 3.0, "output_type": "latent",
        "generator": torch.Generator().manual_seed(7), **call,
    }  # fmt: skip
    with quiet():
        return pipeline(**call).frames[0]


@pytest.mark.parametrize("noise", [0.0, 0.15])
def test_a_given_clip_is_a_condition_at_its_first_frames(
    model: Model, pipeline: Any, tmp_path: Path, noise: float
) -> None:
    """How a clip is extended. The reference draws the clip's noise, then what the encoder draws, then at each step what
    the given frames get. Without a word it is as much as the reference gives by itself."""
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    clip = np.random.default_rng(0).integers(0, 256, (5, 32, 64, 3), np.uint8)
    generator = torch.Generator().manual_seed(7)
    clip_noise = torch.randn((CHANNELS, 3, 4, 8), generator=generator)
    given = model.encode(torch.from_numpy(clip), generator)
    start = Start(
        torch.cat([given, torch.zeros(CHANNELS, 1, 4, 8)], 1),
        (True, True, False),
        generator=generator.get_state(),
        noise_CFHW=clip_noise,
    )
    said: dict[str, Any] = {} if noise else {"given_noise": 0.0}
    wish = request(model, num_frames=FRAMES, size=(64, 32), steps=4, guidance_scale=3, **said)
    assert wish.given_noise == noise
    latent, _ = made(model, wish, start)
    condition = LTXVideoCondition(video=list(map(Image.fromarray, clip)))
    call: dict[str, Any] = {} if noise else {"image_cond_noise_scale": 0.0}
    wanted = plain_reference(pipeline, conditions=[condition], **call)
    torch.testing.assert_close(latent, wanted, atol=1e-5, rtol=0)
    assert torch.equal(latent[:, :2], given) == (not noise)
    if noise:
        resumed_at_every_step(model, wish, tmp_path, start)


@pytest.mark.parametrize("noise", [0.0, 0.15])
@pytest.mark.parametrize("places", [(0, 8), (3, 8)], ids=["first and last", "inside and last"])
def test_pictures_inside_a_clip_are_conditions_beside_it(
    model: Model, pipeline: Any, tmp_path: Path, places: tuple[int, ...], noise: float
) -> None:
    """Tokens of their own at their own pixel frame; a first picture lies in the clip."""
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    pictures = dict(
        zip(places, np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8), strict=True)
    )
    options = {
        "seed": 7, "size": (64, 32), "seconds": FRAMES / 25, "steps": 4, "guidance_scale": 3.0, "given_noise": noise,
    }  # fmt: skip
    cards = [tools.StoryCard(3 / 25, image=pictures[3])] if 3 in pictures else []
    wish = tools.Wish(
        "a red balloon", image=pictures.get(0), last_image=pictures[8], cards=cards, options=options
    )
    job = tools.plan_job(model, wish)
    latent, _ = made(model, job.request, job.start)
    conditions = [
        LTXVideoCondition(image=Image.fromarray(one), frame_index=at) for at, one in pictures.items()
    ]
    wanted = plain_reference(pipeline, conditions=conditions, image_cond_noise_scale=noise)
    torch.testing.assert_close(latent, wanted, atol=1e-5, rtol=1e-5)
    if noise and 3 in pictures:
        resumed_at_every_step(model, job.request, tmp_path, job.start)


@pytest.mark.parametrize("length", [5, 13])
def test_a_clip_inside_a_clip_is_shown_beside_it_and_goes_on_inside(
    model: Model, pipeline: Any, length: int
) -> None:
    """Its first two latent frames are tokens of their own, what follows lies in the clip."""
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition

    clip = np.random.default_rng(0).integers(0, 256, (length, 32, 64, 3), np.uint8)
    options = {"seed": 7, "size": (64, 32), "seconds": 17 / 25, "steps": 4, "guidance_scale": 3.0}
    cards = [tools.StoryCard(4 / 25, clip=clip)]
    job = tools.plan_job(model, tools.Wish("a red balloon", cards=cards, options=options))
    latent, _ = made(model, job.request, job.start)
    condition = LTXVideoCondition(video=list(map(Image.fromarray, clip)), frame_index=4)
    wanted = plain_reference(pipeline, conditions=[condition], num_frames=17)
    torch.testing.assert_close(latent, wanted, atol=1e-5, rtol=1e-5)


def test_editing_begins_at_a_mixture(model: Model, pipeline: Any) -> None:
    """The reference's `denoise_strength` is a share of the steps, ours the noise level that they begin at."""
    before = torch.randn(CHANNELS, 3, 4, 8, generator=torch.Generator().manual_seed(1))
    wish = request(model, num_frames=FRAMES, size=(64, 32), steps=4, guidance_scale=3)
    level = model.plan(wish)[0].sigmas[1]
    start = Start(before, (False,) * 3, (True,) * 3)
    latent, _ = made(model, replace(wish, strength=level), start)
    wanted = plain_reference(pipeline, latents=before[None], denoise_strength=0.75)
    torch.testing.assert_close(latent, wanted, atol=1e-5, rtol=0)
