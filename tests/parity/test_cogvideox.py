"""Defends: CogVideoX through our engine is CogVideoX through diffusers, on small random weights in float32.

Its path keeps the variance and ours does not: that an Euler step of ours is a DDIM step of theirs, and our `dpm` their
scheduler with its own noise, is what the whole runs show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_models import (
    TEXT_WIDTH,
    assert_bfloat16_is_nearly_the_same,
    assert_same_frames,
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

from hibari import tools
from hibari.contracts import InvalidRequest
from hibari.models.checkpoint import diffusers_class
from hibari.models.cogvideox.decoder import Decoder

SIZE = (48, 32)
FRAMES = 9
CHANNELS = 4
STEPS = 5  # a divisor of the 1000 timesteps
UNEVEN_STEPS = 7  # not one: the reference steps beside the levels that it tells next, and ends above 0
VARIANTS: dict[str, dict[str, Any]] = {
    "2B": {},
    "5B": {"use_rotary_positional_embeddings": True},
    "1.5": {"use_rotary_positional_embeddings": True, "patch_size_t": 2, "patch_bias": False},
    "5B picture": {
        "use_rotary_positional_embeddings": True, "use_learned_positional_embeddings": True, "in_channels": 2 * CHANNELS
    },
    "1.5 picture": {
        "use_rotary_positional_embeddings": True, "patch_size_t": 2, "patch_bias": False, "in_channels": 2 * CHANNELS,
        "ofs_embed_dim": 8,
    },
}  # fmt: skip


def pipeline_of(variant: str) -> Any:
    transformer = diffusers_class("CogVideoXTransformer3DModel")(**{
        "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": CHANNELS, "out_channels": CHANNELS,
        "time_embed_dim": 8, "text_embed_dim": TEXT_WIDTH, "num_layers": 2, "sample_width": SIZE[0] // 8,
        "sample_height": SIZE[1] // 8, "sample_frames": FRAMES, "max_text_seq_length": 226, **VARIANTS[variant],
    })  # fmt: skip
    autoencoder = diffusers_class("AutoencoderKLCogVideoX")(
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8), latent_channels=CHANNELS, layers_per_block=1, norm_num_groups=2,
        invert_scale_latents=variant == "1.5 picture",
    )  # fmt: skip
    scheduler = diffusers_class("CogVideoXDDIMScheduler" if variant == "2B" else "CogVideoXDPMScheduler")(
        beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction", rescale_betas_zero_snr=True,
        timestep_spacing="trailing", snr_shift_scale=3.0 if variant == "2B" else 1.0, clip_sample=False,
        set_alpha_to_one=True,
    )  # fmt: skip
    tokenizer, text_encoder = tokenizer_and_encoder()
    name = "CogVideoXImageToVideoPipeline" if "picture" in variant else "CogVideoXPipeline"
    pipeline = diffusers_class(name)(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=randomised(autoencoder, 3),
        transformer=without_lost_positions(transformer),
        scheduler=scheduler,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def without_lost_positions(transformer: Any) -> Any:
    """Random, but for the sinusoids that are in no file: they must be computed."""
    places = getattr(transformer.patch_embed, "pos_embedding", None)
    kept = None if places is None else places.clone()
    randomised(transformer, 2, scale=0.1)
    if kept is not None and "patch_embed.pos_embedding" not in transformer.state_dict():
        transformer.patch_embed.pos_embedding = kept
    return transformer


def reference(pipeline: Any, **call: Any) -> tuple[torch.Tensor, np.ndarray]:
    """Latent [C, F, H, W] and frames [F, H, W, 3] in [0, 1]."""
    call = {
        "prompt": "a red balloon", "negative_prompt": "blur", "height": SIZE[1], "width": SIZE[0],
        "num_frames": FRAMES, "num_inference_steps": STEPS, "guidance_scale": 6, **call,
    }  # fmt: skip
    call = {name: value for name, value in call.items() if value is not None}
    with quiet():
        latent, frames = (
            pipeline(**call, generator=torch.Generator().manual_seed(7), output_type=kind).frames
            for kind in ("latent", "np")
        )
    return latent[0].movedim(0, 1), frames[0]


@pytest.mark.parametrize(
    ("variant", "steps"), [("2B", STEPS), ("2B", UNEVEN_STEPS), ("5B", UNEVEN_STEPS), ("1.5", STEPS)]
)
def test_text_to_video(variant: str, steps: int, tmp_path: Path) -> None:
    pipeline = pipeline_of(variant)
    model = loaded(saved(pipeline, tmp_path))
    assert model.spec.default_sampler == ("euler" if variant == "2B" else "dpm")
    assert model.spec.lead_frames == (variant == "1.5")
    wish = request(model, num_frames=FRAMES, size=SIZE, steps=steps, guidance_scale=6, negative_prompt="blur")
    latent, frames = made(model, wish)
    wanted, pictures = reference(pipeline, num_inference_steps=steps)
    torch.testing.assert_close(latent, wanted, atol=1e-5, rtol=0)
    assert_same_frames(frames, pictures)
    with pytest.raises(InvalidRequest, match="know no given frames"):
        model.plan(wish, (True,) + (False,) * (latent.shape[1] - 1))


@pytest.mark.parametrize("variant", ["5B picture", "1.5 picture"])
def test_picture_to_video(variant: str, tmp_path: Path) -> None:
    pipeline = pipeline_of(variant)
    model = loaded(saved(pipeline, tmp_path))
    picture = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    options = {
        "seed": 7, "size": SIZE, "seconds": FRAMES / model.spec.fps, "steps": STEPS, "guidance_scale": 6.0,
        "negative_prompt": "blur",
    }  # fmt: skip
    job = tools.plan_job(model, tools.Wish("a red balloon", image=picture, options=options))
    latent, frames = made(model, job.request, job.start)
    wanted, pictures = reference(pipeline, image=Image.fromarray(picture))
    torch.testing.assert_close(latent, wanted, atol=1e-5, rtol=0)
    assert_same_frames(frames, pictures)
    resumed_at_every_step(model, job.request, tmp_path / "states", job.start)
    with pytest.raises(InvalidRequest, match="make videos of a picture"):
        made(model, job.request)


def test_in_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(pipeline_of("5B"), tmp_path)
    assert_bfloat16_is_nearly_the_same(monkeypatch, folder, num_frames=FRAMES, size=SIZE)


def test_one_step(tmp_path: Path) -> None:
    pipeline = pipeline_of("5B")
    model = loaded(saved(pipeline, tmp_path))
    latent, _ = made(model, request(model, num_frames=FRAMES, size=SIZE, steps=1, guidance_scale=1))
    wanted, _ = reference(pipeline, num_inference_steps=1, guidance_scale=1)
    torch.testing.assert_close(latent, wanted, atol=1e-5, rtol=0)


def test_a_longer_clip_of_another_size_is_decoded_by_twos(tmp_path: Path) -> None:
    """Other positions than those it was trained on, and a length that ends within two latent frames."""
    pipeline = pipeline_of("2B")
    model = loaded(saved(pipeline, tmp_path))
    wish = request(model, num_frames=15, size=(32, 32), steps=2, guidance_scale=1)
    assert model.spec.latent_frames(15) == 5
    latent, frames = made(model, wish)
    wanted, pictures = reference(
        pipeline, num_frames=17, width=32, height=32, num_inference_steps=2, guidance_scale=1
    )
    torch.testing.assert_close(latent, wanted, atol=1e-5, rtol=0)
    assert_same_frames(frames, pictures[:15])
    cancelled_after_a_step(model, wish)


@pytest.mark.parametrize("first", [1, 2, 3])
@torch.inference_mode()
def test_chunks_of_the_lean_decoder_are_those_of_the_reference(first: int) -> None:
    """Odd and even lengths are enlarged differently, and a single picture is another case."""
    network = pipeline_of("2B").vae.decoder
    latent = torch.randn(1, CHANNELS, first + 2, 4, 6, generator=torch.Generator().manual_seed(first))
    lean, cache = Decoder(network), None
    for chunk in (latent[:, :, :first], latent[:, :, first:]):
        wanted, cache = network(chunk, conv_cache=cache)
        torch.testing.assert_close(lean(chunk), wanted, atol=1e-4, rtol=1e-4)


def test_dynamic_guidance(tmp_path: Path) -> None:
    pipeline = pipeline_of("5B")
    model = loaded(saved(pipeline, tmp_path))
    wish = request(
        model, num_frames=FRAMES, size=SIZE, steps=STEPS, preset="dynamic-guidance", negative_prompt="blur"
    )
    assert wish.guidance_scale == 6
    assert len(set(model.plan(wish)[0].guidance)) == STEPS
    latent, _ = made(model, wish)
    torch.testing.assert_close(latent, reference(pipeline, use_dynamic_cfg=True)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", ["2B", "5B"])
def test_video_to_video(variant: str, tmp_path: Path) -> None:
    """The reference's `strength` is a share of the steps, ours the noise level that they begin at."""
    pipeline = pipeline_of(variant)
    model: Any = loaded(saved(pipeline, tmp_path))
    clip = np.random.default_rng(0).integers(0, 256, (FRAMES, SIZE[1], SIZE[0], 3), np.uint8)
    options = {"seed": 7, "size": SIZE, "steps": STEPS, "guidance_scale": 6.0, "negative_prompt": "blur"}
    level = model._levels.sigmas(STEPS)[1]
    job = tools.plan_job(model, tools.Wish("a red balloon", edit=clip, strength=level, options=options))
    latent, frames = made(model, job.request, job.start)
    editing = diffusers_class("CogVideoXVideoToVideoPipeline")(**pipeline.components)
    editing.set_progress_bar_config(disable=True)
    wanted, pictures = reference(
        editing, video=list(map(Image.fromarray, clip)), strength=(STEPS - 1) / STEPS, num_frames=None
    )
    torch.testing.assert_close(latent, wanted, atol=1e-5, rtol=0)
    assert_same_frames(frames, pictures)


def test_a_clip_of_1_5_can_be_edited(tmp_path: Path) -> None:
    """The latent frame that leads is a copy of the first; the reference takes only lengths that need none."""
    model = loaded(saved(pipeline_of("1.5"), tmp_path))
    clip = np.random.default_rng(0).integers(0, 256, (7, SIZE[1], SIZE[0], 3), np.uint8)
    options = {"seed": 7, "size": SIZE, "steps": 2}
    job = tools.plan_job(model, tools.Wish("a red balloon", edit=clip, strength=0.5, options=options))
    latent, frames = made(model, job.request, job.start)
    assert latent.shape[1] == 1 + 3
    assert (len(frames), job.request.frames) == (9, 7)
