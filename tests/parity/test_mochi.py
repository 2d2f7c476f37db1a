"""Defends: Mochi 1 through our engine is Mochi 1 through diffusers, on small random weights in float32, and its decoder
a latent frame at a time is its decoder on the whole clip."""

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

from hibari.contracts import InvalidRequest
from hibari.models.checkpoint import diffusers_class
from hibari.models.mochi.model import Mochi
from hibari.models.mochi.streaming import stream

SIZE = (32, 16)
FRAMES = 13
# The reference asks for an autocast that a processor does not have.
pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")


@pytest.fixture(scope="module")
def pipeline() -> Any:
    transformer = diffusers_class("MochiTransformer3DModel")(
        num_attention_heads=2, attention_head_dim=8, num_layers=2, pooled_projection_dim=16, in_channels=12,
        text_embed_dim=TEXT_WIDTH, time_embed_dim=4,
    )  # fmt: skip
    autoencoder = diffusers_class("AutoencoderKLMochi")(
        encoder_block_out_channels=(32,) * 4, decoder_block_out_channels=(32,) * 4, layers_per_block=(1,) * 5
    )
    tokenizer, text_encoder = tokenizer_and_encoder()
    made = diffusers_class("MochiPipeline")(
        scheduler=diffusers_class("FlowMatchEulerDiscreteScheduler")(invert_sigmas=True),
        vae=randomised(autoencoder, 3, scale=0.1),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=randomised(transformer, 2, scale=0.1),
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def model(pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    found = loaded(saved(pipeline, tmp_path_factory.mktemp("mochi")))
    assert isinstance(found, Mochi)
    return found


def reference(pipeline: Any, **call: Any) -> tuple[torch.Tensor, np.ndarray]:
    """Latent [C, F, H, W] and frames [F, H, W, 3] in [0, 1]."""
    call = {"prompt": "a red balloon", "height": SIZE[1], "width": SIZE[0], "num_frames": FRAMES, **call}
    with quiet():
        latent, frames = (
            pipeline(**call, generator=torch.Generator().manual_seed(7), output_type=kind).frames
            for kind in ("latent", "np")
        )
    return latent[0], frames[0]


@pytest.mark.parametrize("negative", ["blur", ""])
def test_text_to_video(pipeline: Any, model: Any, negative: str) -> None:
    wish = request(model, num_frames=FRAMES, size=SIZE, steps=4, guidance_scale=4.5, negative_prompt=negative)
    latent, frames = made(model, wish)
    wanted, pictures = reference(
        pipeline, num_inference_steps=4, guidance_scale=4.5, negative_prompt=negative
    )
    torch.testing.assert_close(latent, wanted, atol=1e-5, rtol=0)
    assert_same_frames(frames, pictures)


def test_in_bfloat16(pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(pipeline, tmp_path)
    assert_bfloat16_is_nearly_the_same(monkeypatch, folder, num_frames=FRAMES, size=SIZE)


def test_an_empty_prompt_that_has_no_token(pipeline: Any, tmp_path: Path) -> None:
    pipeline.register_to_config(force_zeros_for_empty_prompt=True)
    try:
        model = loaded(saved(pipeline, tmp_path))
        latent, _ = made(model, request(model, num_frames=FRAMES, size=SIZE, steps=2, guidance_scale=4.5))
        wanted, _ = reference(pipeline, num_inference_steps=2, guidance_scale=4.5)
        torch.testing.assert_close(latent, wanted, atol=1e-5, rtol=0)
    finally:
        pipeline.register_to_config(force_zeros_for_empty_prompt=False)


@pytest.mark.parametrize("chunk", [1, 2, 3])
@torch.inference_mode()
def test_a_stream_of_chunks_is_the_whole_clip(pipeline: Any, model: Any, chunk: int) -> None:
    latent = torch.randn(1, 12, 4, 2, 3, generator=torch.Generator().manual_seed(0))
    whole = pipeline.vae.decode(latent).sample
    chunks = list(stream(model._autoencoder.network, latent, chunk))
    assert len(chunks) == -(-4 // chunk)
    torch.testing.assert_close(torch.cat(chunks, dim=2), whole, atol=1e-5, rtol=0)
    assert whole.std() > 0.01


def test_it_knows_no_pictures(model: Any) -> None:
    wish = request(model, num_frames=FRAMES, size=SIZE, steps=2)
    with pytest.raises(InvalidRequest, match="text alone"):
        model.plan(wish, (True, False, False))


def test_a_clip_is_encoded_as_the_reference_encodes_it(pipeline: Any, model: Any) -> None:
    frames = torch.randint(
        0, 256, (7, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    vae = pipeline.vae
    with torch.inference_mode():
        raw = vae.encode(frames.permute(3, 0, 1, 2)[None] / 255 * 2 - 1).latent_dist.mode()[0]
    mean, std = (
        torch.tensor(values)[:, None, None, None]
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    latent = model.encode(frames)
    assert latent.shape == (12, 2, 2, 2)
    torch.testing.assert_close(latent, (raw - mean) * vae.config.scaling_factor / std, atol=1e-4, rtol=1e-5)


def test_stopped_and_resumed_and_cancelled(model: Any, tmp_path: Path) -> None:
    wish = request(model, num_frames=7, size=(16, 16), steps=3)
    resumed_at_every_step(model, wish, tmp_path)
    cancelled_after_a_step(model, wish)
