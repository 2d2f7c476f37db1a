"""Defends hibari-mini: its networks keep what the engine relies on, and its file is right or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange
from mini_clips import frames_of, resolved
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hibari import catalog
from hibari.contracts import WeightsError
from hibari.diffusion.convention import x0_from_velocity
from hibari.engine import generate, preview_image
from hibari.models import manifest
from hibari.models.mini import weights
from hibari.models.mini.autoencoder import SPACE_FACTOR, TIME_FACTOR, Autoencoder, AutoencoderConfig
from hibari.models.mini.model import PREVIEW_PX, Mini
from hibari.models.mini.text import MAX_TOKENS, TEXT_WIDTH, TextEncoder
from hibari.models.mini.transformer import (
    LATENT_FRAMES,
    Refiner,
    Transformer,
    TransformerConfig,
    rotary_table,
    rotate,
)
from hibari.models.protocol import Model

CPU = torch.device("cpu")
CHANNELS = 8
BLOCK = 3 * TIME_FACTOR * SPACE_FACTOR**2
AUTOENCODER = AutoencoderConfig(latent_channels=CHANNELS, widths=(8, 12, 16), blocks=(1, 2, 1), out_width=4)
TRANSFORMER = TransformerConfig(
    latent_channels=CHANNELS, text_width=TEXT_WIDTH, width=32, heads=2, blocks=2, mlp_ratio=2,
    cell_width=16, cell_blocks=(1, 2), field_width=8, field_blocks=1,
    middle_width=12, middle_blocks=2,
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


def random_like(shape: torch.Size | tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randomised(network: nn.Module, seed: int = 1) -> None:
    """Fill every parameter: those that begin at zero would let a test pass without saying anything."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.normal_(generator=generator).div_(fan_in**0.5)


def linear_autoencoder() -> Autoencoder:
    """An orthonormal basis and unlike deviations; the decoder's network is as it begins, silent."""
    network = Autoencoder(AUTOENCODER)
    network.basis.copy_(torch.linalg.qr(random_like((BLOCK, CHANNELS)))[0])
    network.mean.copy_(0.1 * random_like((BLOCK,), 1))
    network.component_std.copy_(torch.linspace(4, 0.5, CHANNELS))
    return network.requires_grad_(False)


def small_autoencoder() -> Autoencoder:
    network = linear_autoencoder()
    randomised(network.decoder)
    return network


def small_transformer() -> Transformer:
    network = Transformer(TRANSFORMER)
    randomised(network)
    return network


def small_mini(digest: str | None = "0" * 64) -> Model:
    spec = replace(catalog.spec("mini"), latent_channels=CHANNELS)
    autoencoder, transformer = small_autoencoder(), small_transformer().requires_grad_(False)
    return Mini(spec, autoencoder, transformer, weights_sha256=digest, device=CPU)


# ---------------------------------------------------------------- autoencoder


@pytest.mark.parametrize(("width", "height"), [(32, 32), (48, 32)])
@pytest.mark.parametrize("frames", [1, 5, 13])
def test_a_clip_becomes_latents_and_pixels_again(width: int, height: int, frames: int) -> None:
    network = small_autoencoder()
    latent = network.encode(random_like((2, 3, frames, height, width)))
    assert latent.shape == (2, CHANNELS, 1 + (frames - 1) // 4, height // 16, width // 16)
    assert network.decode(latent).shape == (2, 3, frames, height, width)


@pytest.mark.parametrize("frames", [2, 4, 8])
def test_other_numbers_of_frames_are_refused(frames: int) -> None:
    with pytest.raises(ValueError, match=f"1 \\+ 4k frames, this one has {frames}"):
        small_autoencoder().encode(torch.zeros(1, 3, frames, 32, 32))


@pytest.mark.parametrize("chunk", [1, 2])
def test_decoding_in_chunks_gives_the_same_pixels(chunk: int) -> None:
    network = small_autoencoder()
    latent = random_like((2, CHANNELS, 5, 2, 3))
    whole = network.decode(latent)
    parts = list(network.stream(latent, chunk))
    assert len(parts) == -(-5 // chunk)
    torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-5, rtol=0)
    forgetful = [network.decode_blocks(latent[:, :, k : k + 1], None)[0] for k in range(5)]
    assert (torch.cat(forgetful, 2)[:, :, 3:] - whole).abs().max() > 1e-3, "the past does not matter here"


def test_pixels_know_no_later_latent_frame() -> None:
    network = small_autoencoder()
    latent = random_like((1, CHANNELS, 4, 2, 2))
    changed = latent.clone()
    changed[:, :, 2] += 1
    before, after = network.decode(latent), network.decode(changed)
    assert torch.equal(before[:, :, :5], after[:, :, :5])
    moved = (before - after).abs().amax((0, 1, 3, 4))
    assert (moved[5:] > 1e-3).all(), "the changed frame and the one after it should show it"


def test_latents_know_no_later_pixels() -> None:
    network = small_autoencoder()
    pixels = random_like((1, 3, 13, 32, 32))
    changed = pixels.clone()
    changed[:, :, 5] += 1  # the second latent frame's first
    before, after = network.encode(pixels), network.encode(changed)
    moved = (before - after).abs().amax((0, 1, 3, 4))
    assert moved[:2].max() == 0
    assert moved[2] > 1e-3
    assert moved[3] == 0


def test_what_lies_in_the_span_of_the_components_comes_back() -> None:
    network = linear_autoencoder()
    latent = random_like((2, CHANNELS, 3, 2, 2))
    blocks, _ = network.decode_blocks(latent, None)
    # Any frame may lead: it fills a latent frame of its own.
    again = network.encode(torch.cat([torch.zeros(2, 3, 1, 32, 32), blocks], 2))[:, :, 1:]
    torch.testing.assert_close(again, latent, atol=1e-5, rtol=0)


def test_a_latent_channel_varies_as_the_root_of_its_component() -> None:
    network = linear_autoencoder()
    component = 3 * torch.eye(CHANNELS) * network.component_std  # each alone, three deviations strong
    cells = (component @ network.basis.T + network.mean).view(CHANNELS, 3, TIME_FACTOR, 16, 16)
    latent = network.encode(torch.cat([cells[:, :, :1], cells], 2))[:, :, 1, 0, 0]
    root = (network.component_std / network.component_std.mean()).sqrt()
    torch.testing.assert_close(latent, 3 * torch.diag(root), rtol=0, atol=1e-4)
    assert root.square().mean() == pytest.approx(1)


# ---------------------------------------------------------------- transformer


def inputs(
    batch: int = 2, *, frames: int = 3, height: int = 4, width: int = 4
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Latent, sigma, text, mask and start for `Transformer`, every row unlike the others."""
    mask = torch.arange(6) < torch.tensor([6 - row % 3 for row in range(batch)])[:, None]
    return (
        random_like((batch, CHANNELS, frames, height, width)),
        torch.linspace(0.1, 0.9, batch * frames).view(batch, frames),
        random_like((batch, 6, TEXT_WIDTH), 1) * mask[..., None],
        mask,
        torch.zeros(batch, dtype=torch.long),
    )


@pytest.mark.parametrize("size", catalog.spec("mini").sizes)
def test_velocity_has_the_latents_shape_at_every_native_size(size: tuple[int, int]) -> None:
    width, height = size[0] // SPACE_FACTOR, size[1] // SPACE_FACTOR
    given = inputs(1, frames=2, height=height, width=width)
    with torch.inference_mode():
        velocity = small_transformer()(*given)
    assert velocity.shape == given[0].shape
    assert velocity.isfinite().all()


def test_requests_at_different_steps_stack_without_touching_each_other() -> None:
    network = small_transformer()
    given = inputs(3)
    with torch.inference_mode():
        together = network(*given)
        alone = torch.cat([network(*(tensor[row : row + 1] for tensor in given)) for row in range(3)])
        swapped = network(given[0], given[1].flip(0), *given[2:])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert (swapped - together).abs().max() > 1e-3, "the noise level does not matter here"


def test_padding_of_the_prompt_does_not_matter() -> None:
    network = small_transformer()
    latent, sigma, text, mask, start = inputs()
    rubbish = torch.cat([text, 9 * random_like((2, 5, TEXT_WIDTH), 3)], 1)
    wider = torch.cat([mask, torch.zeros(2, 5, dtype=torch.bool)], 1)
    with torch.inference_mode():
        plain = network(latent, sigma, text, mask, start)
        padded = network(latent, sigma, rubbish, wider, start)
        heard = network(latent, sigma, rubbish, torch.ones_like(wider), start)
    torch.testing.assert_close(padded, plain, atol=1e-5, rtol=1e-5)
    assert (heard - plain).abs().max() > 1e-3, "words do not matter here"


def test_a_prompt_that_was_read_before_changes_no_bit() -> None:
    model = catalog.load("mini", device=torch.device("cpu"))
    assert isinstance(model, Mini)
    conditioning = model.encode_text(["a cat jumps on the beach"])
    prepared = model.prepare(conditioning)
    start = torch.zeros(1, dtype=torch.long)
    with torch.inference_mode():
        for sigma in (0.9, 0.4):
            latent, sigma_BF = random_like((1, 64, 3, 8, 8), 1), torch.full((1, 3), sigma)
            ahead = model.velocity(latent, sigma_BF, prepared, start)
            anew = model._transformer(latent, sigma_BF, conditioning["text"], conditioning["mask"], start)
            assert torch.equal(ahead, anew)


def test_the_empty_prompt_hears_no_words() -> None:
    network = small_transformer()
    latent, sigma, text, mask, start = inputs()
    nothing = torch.zeros_like(mask)
    with torch.inference_mode():
        one = network(latent, sigma, text, nothing, start)
        other = network(latent, sigma, 5 - 3 * text, nothing, start)
        prompted = network(latent, sigma, text, mask, start)
    assert torch.equal(one, other)
    assert (one - prompted).abs().max() > 1e-3


def test_a_network_knows_the_moment_up_to_the_last_that_training_saw() -> None:
    network = small_transformer()
    latent, sigma, text, mask, _ = inputs(1, frames=1)

    def at(start: int) -> Tensor:
        with torch.inference_mode():
            return network(latent, sigma, text, mask, torch.tensor([start]))

    moments = [at(start) for start in range(LATENT_FRAMES)]
    for earlier, later in pairwise(moments):
        assert (earlier - later).abs().max() > 1e-3
    assert torch.equal(at(LATENT_FRAMES + 5), moments[-1])
    with torch.no_grad():
        network.time.zero_()
    assert torch.equal(at(0), at(4))


def test_every_parameter_learns() -> None:
    network = small_transformer()
    latent, sigma, text, mask, start = inputs()
    mask = mask & torch.tensor([[True], [False]])  # one row is the empty prompt
    network(latent, sigma, text, mask, start).square().sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


def test_a_new_network_takes_the_data_for_grey_and_can_leave_that_state() -> None:
    network = Transformer(TRANSFORMER)
    latent, sigma_BF, text, mask, start = inputs()
    velocity = network(latent, sigma_BF, text, mask, start)
    # Walked back along its velocity, every latent comes to 0: the mean of all clips.
    torch.testing.assert_close(x0_from_velocity(latent, velocity, sigma_BF), torch.zeros_like(latent))
    (velocity - latent).square().sum().backward()
    assert network.latent_out.weight.grad is not None
    assert network.latent_out.weight.grad.abs().max() > 0


def test_velocity_stays_finite_where_hardly_any_noise_is_left() -> None:
    latent, sigma_BF, text, mask, start = inputs()
    with torch.inference_mode():
        for sigma in (0.0, 1e-6, 0.01):
            velocity = small_transformer()(latent, torch.full_like(sigma_BF, sigma), text, mask, start)
            assert velocity.abs().max() < 500


def test_scores_depend_on_relative_positions_only() -> None:
    frames, rows, cols = 4, 3, 5
    cos, sin = rotary_table(frames, rows, cols, 16)
    assert cos.shape == sin.shape == (frames * rows * cols, 8)
    query, key = random_like((1, 1, 1, 16)), random_like((1, 1, 1, 16), 1)
    tokens = frames * rows * cols
    turned = [rotate(x.expand(1, 1, tokens, 16), (cos, sin))[0, 0] for x in (query, key)]
    score = (turned[0] @ turned[1].T).view(frames, rows, cols, frames, rows, cols)
    # Both ends moved by (1, 1, 2): the same score.
    torch.testing.assert_close(
        score[1:, 1:, 2:, 1:, 1:, 2:], score[:-1, :-1, :-2, :-1, :-1, :-2], atol=1e-4, rtol=0
    )
    origin = score[0, 0, 0]
    for moved in (origin[1, 0, 0], origin[0, 1, 0], origin[0, 0, 1]):
        assert (moved - origin[0, 0, 0]).abs() > 1e-3, "every axis must show in the score"
    torch.testing.assert_close(turned[0].norm(dim=-1), query.norm().expand(tokens))


def test_cells_see_across_the_borders_of_tokens_and_into_the_frames_beside() -> None:
    network = small_transformer()
    config = network.config
    block = network.cells_out[0]
    cells, level = random_like((1, 5, 4, 4, config.cell_width)), random_like((1, 5, config.width), 2)
    touched = cells.clone()
    touched[0, 2, 1, 1, 0] += 1  # the cell of the first token that lies at the corner where four tokens meet
    with torch.inference_mode():
        change = block(touched, level) - block(cells, level)
    moved = change[0].abs().amax(-1) > 1e-6
    assert moved[2, 2, 2], "the token across the corner"
    assert moved[[1, 3]].flatten(1).any(1).all()
    assert not moved[[0, 4]].any()


def test_a_new_refiner_leaves_the_answer_and_a_trained_one_sees_a_field_beside() -> None:
    config = replace(TRANSFORMER, latent_channels=64, field_width=32)
    torch.manual_seed(0)
    refiner = Refiner(config)
    x0, noisy = random_like((1, 2, 2, 4, 64)), random_like((1, 2, 2, 4, 64), 1)
    cells, level = random_like((1, 2, 2, 4, 16), 2), random_like((1, 2, 32), 3)
    assert torch.equal(refiner(x0, noisy, cells, level), x0)
    randomised(refiner)
    before = refiner(x0, noisy, cells, level)
    other = x0.clone()
    other[0, 0, 0, 1] += 1
    moved = (refiner(other, noisy, cells, level) - before).abs().amax(-1)[0]
    assert (moved[0, :, :3] > 0).all(), "cells beside it, too"
    assert not moved[1].any(), "frame by frame"


# ---------------------------------------------------------------- text encoder


@pytest.fixture(scope="module")
def text_encoder() -> TextEncoder:
    return TextEncoder(CPU)


def test_the_empty_prompt_has_an_empty_mask(text_encoder: TextEncoder) -> None:
    features, mask = text_encoder(["", "a red balloon", "  "])
    assert features.shape == (3, mask.shape[1], TEXT_WIDTH)
    assert mask.dtype == torch.bool
    assert mask.sum(1).tolist() == [0, 5, 0]  # a, red, balloon and the two marks of a sentence
    assert features[[0, 2]].abs().max() == 0


def test_a_long_prompt_is_cut(text_encoder: TextEncoder) -> None:
    features, mask = text_encoder(["a cat and a dog and " * 40])
    assert features.shape == (1, MAX_TOKENS, TEXT_WIDTH)
    assert mask.all()


def test_unknown_words_land_near_known_ones(text_encoder: TextEncoder) -> None:
    features, mask = text_encoder(["a kitten", "a cat", "a volcano"])
    kitten, cat, volcano = nn.functional.normalize(features.sum(1) / mask.sum(1, keepdim=True), dim=-1)
    assert kitten @ cat > kitten @ volcano + 0.2


def test_company_does_not_change_what_a_prompt_means(text_encoder: TextEncoder) -> None:
    alone, _ = text_encoder(["a red balloon"])
    beside, _ = text_encoder(["a red balloon", "a small blue car drives to the left in the city at night"])
    torch.testing.assert_close(beside[:1, : alone.shape[1]], alone, atol=1e-5, rtol=0)


# ---------------------------------------------------------------- weights


def small_networks() -> dict[str, weights.Network]:
    return {"autoencoder": small_autoencoder(), "transformer": small_transformer()}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A weights file of small networks, with its manifest."""
    path = tmp_path / "weights" / "small.safetensors"
    weights.ship(path, small_networks(), {"recipe": "test"})
    return path


def test_weights_come_back_as_they_were_in_half_precision(written: Path) -> None:
    autoencoder, transformer, upscaler = weights.load(written)
    assert (autoencoder.config, transformer.config) == (AUTOENCODER, TRANSFORMER)
    assert upscaler is None, "older files hold none"
    for network, original in ((autoencoder, small_autoencoder()), (transformer, small_transformer())):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
        wanted = original.state_dict()
        for name, value in network.state_dict().items():
            assert value.dtype == torch.float32
            assert torch.equal(value, wanted[name].half().float()), name


def test_saving_says_the_hash_that_checking_finds(written: Path) -> None:
    digest = manifest.check(written)
    assert len(digest) == 64
    other = written.with_name("other.safetensors")
    weights.ship(other, small_networks(), {"recipe": "another"})
    assert sorted(json.loads((written.parent / "manifest.json").read_text())) == [
        "other.safetensors",
        "small.safetensors",
    ]
    assert manifest.check(written) == digest


def test_one_flipped_byte_is_refused(written: Path) -> None:
    content = bytearray(written.read_bytes())
    content[len(content) // 2] ^= 1
    written.write_bytes(content)
    with pytest.raises(WeightsError, match="are damaged") as caught:
        manifest.check(written)
    assert caught.value.exit_code == 2


def test_missing_weights_and_files_that_nobody_listed_are_refused(written: Path) -> None:
    with pytest.raises(WeightsError, match="are missing; install hibari again"):
        manifest.check(written.with_name("gone.safetensors"))
    stranger = written.with_name("stranger.safetensors")
    stranger.write_bytes(written.read_bytes())
    with pytest.raises(WeightsError, match=r"not listed in manifest\.json.*small\.safetensors"):
        manifest.check(stranger)


@pytest.mark.parametrize("content", [None, "", "{"])
def test_a_lost_or_damaged_manifest_is_the_users_error(content: str | None, written: Path) -> None:
    listed = written.parent / manifest.MANIFEST
    if content is None:
        listed.unlink()
    else:
        listed.write_text(content)
    with pytest.raises(WeightsError, match=r"manifest\.json"):
        manifest.check(written)


def _without(tensors: dict[str, Tensor]) -> None:
    del tensors["transformer.patch_in.bias"]


def _with_another(tensors: dict[str, Tensor]) -> None:
    tensors["transformer.surplus"] = torch.zeros(1)


def _of_another_shape(tensors: dict[str, Tensor]) -> None:
    tensors["autoencoder.mean"] = torch.zeros(7)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_without, r"missing \['transformer\.patch_in\.bias'\], left over nothing"),
        (_with_another, r"missing nothing, left over \['transformer\.surplus'\]"),
        (_of_another_shape, r"autoencoder\.mean is \[7\], wanted \[3072\]"),
    ],
)
def test_the_error_names_the_tensor_that_does_not_fit(
    change: Callable[[dict[str, Tensor]], None], says: str, written: Path
) -> None:
    from safetensors import safe_open

    with safe_open(written, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(written)
    change(tensors)
    save_file(tensors, written, metadata)
    with pytest.raises(WeightsError, match=says):
        weights.load(written)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"<!DOCTYPE html><title>Not found</title>")
    with pytest.raises(WeightsError, match="cannot be read"):
        weights.load(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="is of format 'unknown', wanted"):
        weights.load(path)


def test_half_a_model_can_be_read_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "autoencoder.safetensors"
    weights.write(path, {"autoencoder": small_autoencoder()}, torch.float32, {})
    network = weights.read(path)["autoencoder"]
    assert torch.equal(network.state_dict()["basis"], small_autoencoder().basis), "float32 loses nothing"
    with pytest.raises(WeightsError, match="holds autoencoder; wanted are autoencoder and transformer"):
        weights.load(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name], "nothing is left beside it"


def test_the_same_networks_make_the_same_file(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "abcd"]
    for file in files:
        weights.write(file, {"autoencoder": small_autoencoder()}, torch.float16, {"commit": "1", "date": "2"})
    assert len({file.read_bytes() for file in files}) == 1


# ---------------------------------------------------------------- the model as the engine sees it


@pytest.fixture(scope="module")
def mini() -> Model:
    return small_mini()


def test_the_same_seed_makes_the_same_bytes_whatever_ran_before(mini: Model) -> None:
    request = resolved(mini)
    first = frames_of(mini, request)
    assert first.shape == (request.native_frames, 128, 128, 3)
    assert first.dtype == np.uint8
    assert (first != frames_of(mini, resolved(mini, seed=8))).any()
    assert (first != frames_of(mini, resolved(mini, "a whale"))).any()
    assert first.tobytes() == frames_of(mini, request).tobytes()


def test_the_recipe_names_the_weights(mini: Model) -> None:
    assert generate(mini, resolved(mini, seconds=0)).recipe.weights_sha256 == "0" * 64


def test_frames_are_encoded_as_the_networks_pixels(mini: Model) -> None:
    frames = torch.randint(0, 256, (5, 32, 48, 3), dtype=torch.uint8)
    pixels = rearrange(frames.float() / 127.5 - 1, "t h w c -> 1 c t h w")
    latent = mini.encode(frames)
    assert latent.shape == (CHANNELS, 2, 2, 3)
    torch.testing.assert_close(latent, small_autoencoder().encode(pixels)[0], atol=1e-5, rtol=0)


def test_decoding_yields_chunks_of_the_autoencoders_frames(mini: Model) -> None:
    latent = random_like((CHANNELS, 4, 2, 3))
    chunks = list(mini.decode(latent))
    assert [tuple(chunk.shape) for chunk in chunks] == [(9, 32, 48, 3), (4, 32, 48, 3)]
    pixels = small_autoencoder().decode(latent[None])[0].add(1).mul(127.5).clamp(0, 255)
    difference = torch.cat(chunks).float() - rearrange(pixels, "c t h w -> t h w c")
    assert difference.abs().max() <= 0.51


def test_the_untrained_control_keeps_the_autoencoder_and_knows_nothing(mini: Model) -> None:
    assert isinstance(mini, Mini)
    control = mini.untrained()
    assert control.weights_sha256 is None
    latent, sigma, _, _, start = inputs(1)

    def x0(model: Model) -> Tensor:
        prompt = model.prepare(model.encode_text(["a red balloon"]))
        return x0_from_velocity(latent, model.velocity(latent, sigma, prompt, start), sigma)

    assert x0(control).abs().max() < 1e-5
    assert x0(mini).abs().max() > 0.1
    assert all(
        torch.equal(*pair) for pair in zip(control.decode(latent[0]), mini.decode(latent[0]), strict=True)
    )


def test_the_preview_is_the_linear_picture_made_small() -> None:
    network = linear_autoencoder()
    mini = Mini(catalog.spec("mini"), network, small_transformer(), weights_sha256=None, device=CPU)
    latent = random_like((1, CHANNELS, 1, 2, 3))
    blocks, _ = network.decode_blocks(latent, None)
    field = SPACE_FACTOR // PREVIEW_PX
    small = nn.functional.avg_pool2d(blocks[0].mean(1), field).add(1).div(2).mul(255)
    picture = preview_image(latent[0, :, 0], mini.rgb_from_latent)
    assert picture.shape == (2 * PREVIEW_PX, 3 * PREVIEW_PX, 3)
    assert np.ptp(picture) > 10, "a preview of one colour would prove nothing"
    difference = picture.astype(np.float32) - rearrange(small, "c h w -> h w c").numpy()
    assert np.abs(difference).max() <= 0.51


# ---------------------------------------------------------------- what ships
#
# These need the weights files of src/hibari/models/mini/weights, and fail as long as they are not there.
