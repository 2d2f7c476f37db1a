"""Defends: LTX-Video through our engine is LTX-Video through diffusers, on small random weights in float32."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_models import (
    CHANNELS,
    DYNAMIC,
    assert_bfloat16_is_nearly_the_same,
    assert_same_frames,
    cancelled_after_a_step,
    loaded,
    ltx_parts,
    made,
    quiet,
    request,
    resumed_at_every_step,
    saved,
    spoilt,
)
from PIL import Image

from hibari import catalog, tools
from hibari.contracts import MissingPart, UnknownModel, WeightsError
from hibari.models.checkpoint import diffusers_class
from hibari.models.ltx_video.model import LtxVideo
from hibari.models.protocol import Model

SIZE = (64, 32)
FRAMES = 9


@pytest.fixture(scope="module")
def networks() -> dict[str, Any]:
    return ltx_parts()


@pytest.fixture(scope="module")
def folder(networks: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(diffusers_class("LTXPipeline")(**networks), tmp_path_factory.mktemp("ltx"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return loaded(folder)


def reference(pipeline: Any, **call: Any) -> tuple[torch.Tensor, np.ndarray]:
    """Latent [C, F, H, W] and frames [F, H, W, 3] in [0, 1] of a pipeline of diffusers."""
    pipeline.set_progress_bar_config(disable=True)
    call = {
        "prompt": "a red balloon", "height": SIZE[1], "width": SIZE[0], "num_frames": FRAMES, "frame_rate": 25, **call
    }  # fmt: skip
    with quiet():
        latent, frames = (
            pipeline(**call, generator=torch.Generator().manual_seed(7), output_type=kind).frames
            for kind in ("latent", "np")
        )
    space = pipeline.vae.spatial_compression_ratio
    cells = 1 + (FRAMES - 1) // pipeline.vae.temporal_compression_ratio, SIZE[1] // space, SIZE[0] // space
    return (latent if latent.ndim == 5 else pipeline._unpack_latents(latent, *cells))[0], frames[0]


@pytest.mark.parametrize(("steps", "guidance"), [(1, 1), (4, 3)], ids=["a step", "guided run"])
def test_text_to_video(networks: dict[str, Any], tmp_path: Path, steps: int, guidance: float) -> None:
    # With a level to end on, which is what DYNAMIC has, one step is impossible.
    scheduler = diffusers_class("FlowMatchEulerDiscreteScheduler")(
        **(DYNAMIC | {"shift_terminal": None} if steps == 1 else DYNAMIC)
    )
    pipeline = diffusers_class("LTXPipeline")(**networks | {"scheduler": scheduler})
    model = loaded(saved(pipeline, tmp_path))
    latent, frames = made(
        model,
        request(
            model, num_frames=FRAMES, size=SIZE, steps=steps, guidance_scale=guidance, negative_prompt="blur"
        ),
    )
    wanted, pictures = reference(
        pipeline, num_inference_steps=steps, guidance_scale=guidance, negative_prompt="blur"
    )
    torch.testing.assert_close(latent, wanted, atol=1e-5, rtol=0)
    assert_same_frames(frames, pictures)


def test_picture_to_video(networks: dict[str, Any], model: Model) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    options = {"seed": 7, "size": SIZE, "seconds": FRAMES / 25, "steps": 4, "guidance_scale": 3.0}
    job = tools.plan_job(model, tools.Wish("a red balloon", image=picture, options=options))
    latent, frames = made(model, job.request, job.start)
    wanted, pictures = reference(
        diffusers_class("LTXImageToVideoPipeline")(**networks),
        image=Image.fromarray(picture),
        num_inference_steps=4,
        guidance_scale=3,
    )
    torch.testing.assert_close(latent, wanted, atol=1e-5, rtol=0)
    assert_same_frames(frames, pictures)
    assert not torch.equal(latent, made(model, job.request)[0]), "the picture must make a difference"


def test_in_bfloat16(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_bfloat16_is_nearly_the_same(monkeypatch, folder, num_frames=FRAMES, size=SIZE)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # the reference's own
def test_later_versions_have_other_noise_levels_and_decode_from_a_little_noise(tmp_path: Path) -> None:
    pipeline = diffusers_class("LTXConditionPipeline")(
        **ltx_parts(timestep_conditioning=True, scheduler={"shift": 1.0})
    )
    model = loaded(saved(pipeline, tmp_path))
    wish = request(model, num_frames=FRAMES, size=SIZE, steps=4, guidance_scale=3)
    latent, frames = made(model, wish)
    wanted, pictures = reference(
        pipeline,
        num_inference_steps=4,
        guidance_scale=3,
        decode_timestep=0.05,
        decode_noise_scale=0.025,
    )
    torch.testing.assert_close(latent, wanted, atol=1e-5, rtol=0)
    assert_same_frames(frames, pictures)


def test_a_folder_says_what_it_is_without_torch_and_by_its_class_alone(folder: Path, tmp_path: Path) -> None:
    spec = catalog.find(str(folder))
    assert (spec.name, spec.space_factor, spec.time_factor, spec.latent_channels) == (
        folder.name,
        8,
        4,
        CHANNELS,
    )
    assert spec.native_size(*SIZE) == SIZE
    script = f"import sys; from hibari import catalog; catalog.find({str(folder)!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    with pytest.raises(WeightsError, match="no pipeline's class can be read"):
        catalog.find(str(tmp_path))
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(UnknownModel, match="holds a StableDiffusionPipeline; known are LTXPipeline"):
        catalog.find(str(tmp_path))
    with pytest.raises(UnknownModel, match="no model"):
        catalog.spec(str(folder))


def test_loading_is_strict(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"

    def refused(part: str, change: Callable[[dict[str, torch.Tensor]], object]) -> str:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        spoilt(copy, part, change)
        with pytest.raises(WeightsError) as caught:
            loaded(copy)
        return str(caught.value)

    assert "missing proj_in.bias, left over nothing" in refused(
        "transformer", lambda t: t.pop("proj_in.bias")
    )
    assert "left over more" in refused("vae", lambda t: t.update(more=torch.zeros(1)))
    assert "proj_in.bias is [7], wanted [32]" in refused(
        "transformer", lambda t: t.update({"proj_in.bias": torch.zeros(7)})
    )
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    (copy / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"broken")
    with pytest.raises(WeightsError, match="cannot be read"):
        loaded(copy)
    (copy / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"has no weights in safetensors; it holds config.json"):
        loaded(copy)


def test_without_diffusers_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingPart, match=r"need the package diffusers; .* pip install 'hibari\[models\]'"):
        loaded(folder)


def test_other_weights_are_told_apart(folder: Path, tmp_path: Path, model: Model) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert loaded(tmp_path / "copy").weights_sha256 == model.weights_sha256
    spoilt(tmp_path / "copy", "transformer", lambda t: t["proj_in.bias"].add_(1))
    assert loaded(tmp_path / "copy").weights_sha256 != model.weights_sha256


def test_networks_come_into_memory_when_they_are_used_and_the_text_encoder_goes(folder: Path) -> None:
    model = loaded(folder)
    assert isinstance(model, LtxVideo)
    assert model._transformer._network is model._autoencoder._network is model._text._loaded is None
    first = model.encode_text(["a"])
    assert model._transformer._network is None
    model.release_text_encoder()
    assert model._text._loaded is None
    assert torch.equal(model.encode_text(["a"])["text"], first["text"])


def test_stopped_and_resumed_and_cancelled(model: Model, tmp_path: Path) -> None:
    wish = request(model, num_frames=5, size=(32, 32), steps=3)
    resumed_at_every_step(model, wish, tmp_path)
    cancelled_after_a_step(model, wish)
