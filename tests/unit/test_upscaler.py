"""Defends the upscaler of hibari-mini: it starts as interpolation, sees frames one by one, comes back from its file,
and is used where a clip is to be larger than the model makes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hibari import catalog, tools
from hibari.contracts import GenerationRequest
from hibari.engine import generate
from hibari.models.mini import weights
from hibari.models.mini.autoencoder import Autoencoder, AutoencoderConfig
from hibari.models.mini.model import Mini
from hibari.models.mini.transformer import Transformer, TransformerConfig
from hibari.models.mini.upscaler import SCALE, Upscaler, UpscalerConfig, bicubic
from hibari.tools import Job

CPU = torch.device("cpu")
CONFIG = UpscalerConfig(width=8, blocks=1, out_width=8)
CHANNELS = 4


def random_like(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


T = TypeVar("T", bound=nn.Module)


def filled(network: T) -> T:
    """With every parameter random: those that begin at zero would let a test pass without saying anything."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.normal_(generator=generator).div_(fan_in**0.5)
    return network.eval().requires_grad_(False)


def small_mini(upscaler: Upscaler | None) -> Mini:
    autoencoder = filled(Autoencoder(AutoencoderConfig(CHANNELS, (4, 4, 4), (1, 1, 1), 4)))
    autoencoder.basis.copy_(torch.linalg.qr(random_like((3072, CHANNELS)))[0])
    transformer = filled(
        Transformer(
            TransformerConfig(
                latent_channels=CHANNELS, text_width=384, width=32, heads=2, blocks=1, mlp_ratio=2,
                cell_width=16, cell_blocks=(1, 1), field_width=4, field_blocks=1,
                middle_width=4, middle_blocks=1,
            )
        )
    )  # fmt: skip
    spec = replace(catalog.spec("mini"), latent_channels=CHANNELS)
    return Mini(spec, autoencoder, transformer, upscaler, weights_sha256="0" * 64, device=CPU)


@pytest.fixture(scope="module")
def mini() -> Mini:
    return small_mini(filled(Upscaler(CONFIG)))


def wish(model: Mini, size: tuple[int, int], **more: object) -> GenerationRequest:
    said = {"seed": 7, "steps": 1, "seconds": 0.6, "size": size, **more}
    return GenerationRequest.resolve(model.spec, "a red balloon", **said)


# ---------------------------------------------------------------- the network


def test_a_new_upscaler_interpolates_and_can_leave_that_state() -> None:
    network, pixels = Upscaler(CONFIG), random_like((2, 3, 6, 10))
    large = network(pixels)
    assert large.shape == (2, 3, 24, 40)
    assert torch.equal(large, bicubic(pixels))
    large.square().sum().backward()
    assert network.head.weight.grad is not None
    assert network.head.weight.grad.abs().max() > 0


def test_every_parameter_learns() -> None:
    network = filled(Upscaler(CONFIG)).requires_grad_(True)
    network(random_like((1, 3, 8, 8))).square().sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


def test_a_pixel_changes_only_what_is_near() -> None:
    network = filled(Upscaler(CONFIG))
    pixels = torch.zeros(1, 3, 32, 32)
    dotted = pixels.clone()
    dotted[..., 20, 8] = 1
    moved = (network(dotted) - network(pixels)).abs().sum((0, 1))
    assert moved[20 * SCALE : 21 * SCALE, 8 * SCALE : 9 * SCALE].min() > 0
    reach = 2 * (2 + 2 * CONFIG.blocks) + 3  # px of the small frame that a network of so many layers sees
    far = moved.clone()
    far[(20 - reach) * SCALE : (20 + reach) * SCALE, : (8 + reach) * SCALE] = 0
    assert far.max() == 0


# ---------------------------------------------------------------- its file


def test_it_comes_back_from_the_weights_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    network = filled(Upscaler(UpscalerConfig(width=16, blocks=2, out_width=8)))
    weights.write(path, {"upscaler": network}, torch.float16, {})
    back = weights.read(path)["upscaler"]
    assert isinstance(back, Upscaler)
    assert back.config == network.config
    for name, value in back.state_dict().items():
        assert torch.equal(value, network.state_dict()[name].half().float()), name


# ---------------------------------------------------------------- as the engine uses it


def test_larger_clips_are_upscaled_and_the_recipe_says_so(mini: Mini) -> None:
    native = generate(mini, wish(mini, (128, 128)))
    assert (native.width, native.height) == (128, 128)
    assert native.recipe.postprocess == ()
    small = torch.from_numpy(np.stack(list(native.frames)))

    clip = generate(mini, wish(mini, (640, 640)))
    assert (clip.width, clip.height, clip.frame_count) == (512, 512, native.frame_count)
    assert clip.recipe.postprocess == ("upscaled from 128x128 to 512x512 px by the model's own network",)
    large = np.stack(list(clip.frames))
    assert large.shape[1:] == (512, 512, 3)
    assert torch.equal(torch.from_numpy(large), mini.upscale(small)), "each frame by itself, chunks or not"
    between = bicubic((small[:1].permute(0, 3, 1, 2).float() / 127.5) - 1)
    plain = ((between + 1) * 127.5).round().clamp(0, 255)
    assert (plain[0].permute(1, 2, 0) - torch.from_numpy(large[0]).float()).abs().mean() > 2


def test_the_rest_of_the_way_is_interpolated(mini: Mini) -> None:
    request = wish(mini, (1280, 720), fps=12)
    job = Job(request, None)
    clip = tools.finished(job, generate(mini, request))
    assert [text.split(" ")[0] for text in clip.recipe.postprocess] == [
        "upscaled", "retimed", "cropped", "resized",
    ]  # fmt: skip
    assert "from 640x384 to 640x360 px" in clip.recipe.postprocess[2]
    frames = list(clip.frames)
    assert len(frames) == clip.frame_count == request.frames
    assert frames[-1].shape == (720, 1280, 3)


def test_a_model_whose_weights_hold_none_makes_larger_clips_as_before() -> None:
    model = small_mini(None)
    clip = generate(model, wish(model, (640, 640)))
    assert (clip.width, clip.height) == (128, 128)
    assert clip.recipe.postprocess == ()


def test_memory_counts_the_upscaler(mini: Mini) -> None:
    without, counted = small_mini(None).footprint(9, 8, 8), mini.footprint(9, 8, 8)
    assert counted.decode > without.decode
    assert counted.weights > without.weights
