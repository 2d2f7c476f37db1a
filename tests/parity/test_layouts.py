"""Defends: what the authors of LTX-Video and Mochi published in their own layout is the model that diffusers' folder
is; each tensor is found, and one that is missing, left over or of another shape is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from open_models import (
    CPU,
    TEXT_WIDTH,
    loaded,
    made,
    quiet,
    randomised,
    request,
    saved,
    tokenizer_and_encoder,
)
from original_layouts import VERSIONS, as_published, write_single
from safetensors.torch import load_file, save_file

from hibari import catalog
from hibari.contracts import UnknownModel, WeightsError
from hibari.engine import Order, generate_all
from hibari.models.checkpoint import Part, diffusers_class
from hibari.models.folder import Source
from hibari.models.ltx_video import layout as ltx_layout
from hibari.models.mochi import layout as mochi_layout
from hibari.models.mochi.model import Mochi

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")


def parts_of(path: Path, version: str) -> tuple[Source, Source]:
    """What the layout makes of a version's configuration; no tensor is there yet."""
    write_single(path, version, {})
    checkpoint = ltx_layout.read(path)
    return checkpoint.transformer, checkpoint.autoencoder


def network(class_name: str, source: Source, seed: int) -> Any:
    with quiet():
        return randomised(diffusers_class(class_name).from_config(dict(source.config)), seed)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tokenizer` and `text_encoder`."""
    folder = tmp_path_factory.mktemp("text")
    tokenizer, encoder = tokenizer_and_encoder()
    tokenizer.save_pretrained(folder / "tokenizer")
    encoder.save_pretrained(folder / "text_encoder")
    return folder


@pytest.fixture
def beside(text: Path, tmp_path: Path) -> Path:
    for name in ("tokenizer", "text_encoder"):
        (tmp_path / name).symlink_to(text / name)
    return tmp_path


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_of_ltx_video_is_what_diffusers_reads(version: str, beside: Path) -> None:
    """Diffusers finds a version by shapes of the published sizes, and renames by a table of each; ours follows the list
    of blocks."""
    from diffusers.loaders import single_file_utils as theirs

    path = beside / "ltxv.safetensors"
    transformer, autoencoder = parts_of(path, version)
    vae = network("AutoencoderKLLTXVideo", autoencoder, 3)
    tensors = as_published(autoencoder, vae.state_dict())
    tensors |= as_published(transformer, network("LTXVideoTransformer3DModel", transformer, 2).state_dict())
    write_single(path, version, tensors)
    shown = tensors.copy()
    if version not in ("0.9.0", "0.9.1"):  # by which their table is chosen
        shown["vae.encoder.conv_out.conv.weight"] = torch.zeros(1, 2048, 1, 1, 1)
    converted = theirs.convert_ltx_transformer_checkpoint_to_diffusers(shown.copy())
    converted |= theirs.convert_ltx_vae_checkpoint_to_diffusers(shown.copy())
    ours = {}
    for source, name in ((transformer, "LTXVideoTransformer3DModel"), (autoencoder, "AutoencoderKLLTXVideo")):
        part = Part(source, name, device=CPU, dtype=torch.float32)
        ours |= part.network.state_dict()
    converted["encoder.conv_out.conv.weight"] = ours["encoder.conv_out.conv.weight"]
    assert ours.keys() == converted.keys()
    for key, tensor in ours.items():
        assert torch.equal(tensor, converted[key]), key
    spec = catalog.find(str(path))
    later = version not in ("0.9.0", "0.9.1")
    assert (spec.name, spec.space_factor, spec.time_factor) == ("ltxv.safetensors", 32, 8)
    assert ltx_layout.read(path).index["quadratic"] == later


def test_the_published_sizes_of_ltx_video() -> None:
    """The configurations that diffusers converts each version with."""
    said = {
        "0.9.0": {
            "block_out_channels": [128, 256, 512, 512], "layers_per_block": [4, 3, 3, 3, 4],
            "spatio_temporal_scaling": [True, True, True, False], "decoder_layers_per_block": [4, 3, 3, 3, 4],
            "decoder_block_out_channels": [128, 256, 512, 512],
            "decoder_spatio_temporal_scaling": [True, True, True, False],
            "decoder_inject_noise": [False] * 5, "upsample_residual": [False] * 4, "upsample_factor": [1] * 4,
        },
        "0.9.1": {
            "block_out_channels": [128, 256, 512, 512], "decoder_block_out_channels": [256, 512, 1024],
            "decoder_layers_per_block": [5, 6, 7, 8], "decoder_spatio_temporal_scaling": [True] * 3,
            "decoder_inject_noise": [True, True, True, False], "upsample_residual": [True] * 3,
            "upsample_factor": [2] * 3, "timestep_conditioning": True,
        },
        "0.9.5": {
            "block_out_channels": [128, 256, 512, 1024, 2048], "layers_per_block": [4, 6, 6, 2, 2],
            "decoder_layers_per_block": [5] * 4, "decoder_block_out_channels": [256, 512, 1024],
            "downsample_type": ["spatial", "temporal", "spatiotemporal", "spatiotemporal"],
            "down_block_types": ["LTXVideo095DownBlock3D"] * 4, "spatio_temporal_scaling": [True] * 4,
            "spatial_compression_ratio": 32, "temporal_compression_ratio": 8,
        },
    }  # fmt: skip
    for version, wanted in said.items():
        vae = dict(VERSIONS[version]["vae"])
        del vae["encoder_base_channels"], vae["decoder_base_channels"]  # which no published file says
        _, config = ltx_layout._autoencoder(vae, version)
        assert {name: config[name] for name in wanted} == wanted


def test_a_single_file_makes_the_clip_of_the_folder(beside: Path, tmp_path_factory: Any) -> None:
    path = beside / "ltxv.safetensors"
    sources = parts_of(path, "0.9.0")
    names = ("LTXVideoTransformer3DModel", "AutoencoderKLLTXVideo")
    transformer, vae = (
        network(name, source, seed) for seed, (name, source) in enumerate(zip(names, sources, strict=True))
    )
    tensors = as_published(sources[0], transformer.state_dict()) | as_published(sources[1], vae.state_dict())
    write_single(path, "0.9.0", tensors)
    tokenizer, encoder = tokenizer_and_encoder()
    scheduler = diffusers_class("FlowMatchEulerDiscreteScheduler")(**ltx_layout.read(path).scheduler)
    pipeline = diffusers_class("LTXPipeline")(scheduler, vae, encoder, tokenizer, transformer)
    folder = saved(pipeline, tmp_path_factory.mktemp("ltx"))
    one, other = loaded(path), loaded(folder)
    wish = {"num_frames": 9, "size": (64, 64), "steps": 3, "guidance_scale": 3}
    latent, frames = made(one, request(one, **wish))
    wanted, pictures = made(other, request(other, **wish))
    assert torch.equal(latent, wanted)
    assert (frames == pictures).all()
    assert frames.std() > 5

    rounded = catalog.load(str(path), device=CPU, quantise="int8")
    (clip,) = generate_all(rounded, [Order(request(rounded, **wish))])
    assert 0 < (clip.latent_CFHW - latent).norm() / latent.norm() < 0.1
    assert rounded.footprint(2, 2, 2).weights < one.footprint(2, 2, 2).weights
    assert rounded.footprint(2, 2, 2).text_encoder < one.footprint(2, 2, 2).text_encoder
    assert rounded.weights_sha256 != one.weights_sha256
    recipe = clip.stream.recipe
    assert recipe.extra["quantised"] == "int8"
    assert {"diffusers", "transformers", "torchao"} < recipe.versions.keys()
    assert recipe.request.model == "ltxv.safetensors"
    assert str(path.parent) not in recipe.to_json()


@pytest.fixture(scope="module")
def mochi(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of Mochi's authors and beside it `diffusers`, the same in that of diffusers."""
    folder = tmp_path_factory.mktemp("mochi")
    for name in ("tokenizer", "text_encoder"):
        (folder / name).symlink_to(text / name)
    transformer = diffusers_class("MochiTransformer3DModel")(
        num_attention_heads=2, attention_head_dim=8, num_layers=48, pooled_projection_dim=16, in_channels=12,
        text_embed_dim=TEXT_WIDTH, time_embed_dim=4,
    )  # fmt: skip
    autoencoder = diffusers_class("AutoencoderKLMochi")(
        encoder_block_out_channels=(32, 64, 32, 64), decoder_block_out_channels=(32, 64, 32, 64),
        layers_per_block=(1, 2, 1, 2, 1),
    )  # fmt: skip
    tokenizer, encoder = tokenizer_and_encoder()
    pipeline = diffusers_class("MochiPipeline")(
        scheduler=diffusers_class("FlowMatchEulerDiscreteScheduler")(invert_sigmas=True),
        vae=randomised(autoencoder, 3, scale=0.1), text_encoder=encoder, tokenizer=tokenizer,
        transformer=randomised(transformer, 2, scale=0.1),
    )  # fmt: skip
    saved(pipeline, folder / "diffusers")
    take = mochi_layout._AutoencoderNames(1)
    whole = as_published(replace(EMPTY, take=take), autoencoder.state_dict())
    save_file(
        as_published(replace(EMPTY, take=mochi_layout._of_transformer), transformer.state_dict()),
        folder / "dit.safetensors",
    )
    for half in ("encoder", "decoder"):
        own = {
            key.removeprefix(f"{half}."): value for key, value in whole.items() if key.startswith(f"{half}.")
        }
        save_file(own, folder / f"{half}.safetensors")
    return folder


EMPTY = Source("", {}, {})


def test_mochis_transformer_is_what_diffusers_reads(mochi: Path) -> None:
    from diffusers.loaders import single_file_utils as theirs

    converted = theirs.convert_mochi_transformer_checkpoint_to_diffusers(load_file(mochi / "dit.safetensors"))
    checkpoint = mochi_layout.read(mochi)
    part = Part(checkpoint.transformer, "MochiTransformer3DModel", device=CPU, dtype=torch.float32)
    ours = part.network.state_dict()
    assert ours.keys() == converted.keys()
    for key, tensor in ours.items():
        assert torch.equal(tensor, converted[key]), key


def test_mochis_autoencoder_has_the_names_of_its_files(mochi: Path) -> None:
    """Diffusers converts it in a script only; these are the names in it."""
    decoder, encoder = (load_file(mochi / f"{half}.safetensors") for half in ("decoder", "encoder"))
    assert {
        "blocks.0.0.weight", "blocks.0.1.stack.0.weight", "blocks.0.1.stack.5.bias", "blocks.1.blocks.1.stack.3.bias",
        "blocks.3.proj.weight", "blocks.4.0.stack.2.weight", "output_proj.bias",
    } < decoder.keys()  # fmt: skip
    assert {
        "layers.0.weight", "layers.1.stack.2.weight", "layers.2.layers.0.weight", "layers.2.layers.2.stack.5.weight",
        "layers.4.layers.1.attn_block.attn.qkv.weight", "layers.4.layers.1.attn_block.attn.out.bias",
        "layers.4.layers.1.attn_block.norm.weight", "layers.5.attn_block.attn.qkv.weight", "output_norm.weight",
        "output_proj.weight",
    } < encoder.keys()  # fmt: skip
    numbers = {int(key.split(".")[1]) for key in encoder if key.startswith("layers.")}
    assert numbers == set(range(6))


def test_mochis_three_files_make_the_clip_of_the_folder(mochi: Path) -> None:
    one, other = loaded(mochi), loaded(mochi / "diffusers")
    wish = {"num_frames": 7, "size": (32, 16), "steps": 2, "guidance_scale": 4.5}
    latent, frames = made(one, request(one, **wish))
    wanted, pictures = made(other, request(other, **wish))
    assert torch.equal(latent, wanted)
    assert (frames == pictures).all()
    assert isinstance(one, Mochi)
    assert isinstance(other, Mochi)
    state, theirs = (model._autoencoder.network.state_dict() for model in (one, other))
    assert state.keys() == theirs.keys()
    assert all(torch.equal(state[key], theirs[key]) for key in state), "the encoder, too"


def test_what_does_not_fit_is_named(mochi: Path, beside: Path, tmp_path: Path) -> None:
    path = beside / "ltxv.safetensors"
    sources = parts_of(path, "0.9.0")
    names = ("LTXVideoTransformer3DModel", "AutoencoderKLLTXVideo")
    good: dict[str, torch.Tensor] = {}
    for source, name in zip(sources, names, strict=True):
        good |= as_published(source, network(name, source, 1).state_dict())

    def refused(change: Callable[[dict[str, torch.Tensor]], object]) -> str:
        tensors = good.copy()
        change(tensors)
        write_single(path, "0.9.0", tensors)
        with pytest.raises(WeightsError) as caught:
            loaded(path)
        return str(caught.value)

    key = "model.diffusion_model.patchify_proj.bias"
    assert f"missing {key}, left over nothing" in refused(lambda t: t.pop(key))
    assert "left over vae.more" in refused(lambda t: t.update({"vae.more": torch.zeros(1)}))
    assert "neither network: text.more" in refused(lambda t: t.update({"text.more": torch.zeros(1)}))
    assert f"{key} is [7], wanted [32]" in refused(lambda t: t.update({key: torch.zeros(7)}))
    assert "take the file without fp8" in refused(
        lambda t: t.update({key: good[key].to(torch.float8_e4m3fn)})
    )
    write_single(path, "0.9.0", good | {"vae.per_channel_statistics.mean-of-stds": torch.zeros(8)})
    loaded(path)  # which no network reads

    copy = tmp_path / "mochi"
    shutil.copytree(mochi, copy, symlinks=True)
    tensors = load_file(copy / "dit.safetensors")
    save_file(tensors | {"blocks.0.attn.qkv_x.weight": torch.zeros(47, 16)}, copy / "dit.safetensors")
    with pytest.raises(
        WeightsError, match=r"blocks\.0\.attn\.qkv_x\.weight is \[47, 16\], wanted \[48, 16\]"
    ):
        loaded(copy)
    (copy / "text_encoder").unlink()
    with pytest.raises(WeightsError, match="has no text encoder in it, and there is no"):
        loaded(copy)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        catalog.find(str(path))
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="does not say in its metadata what model it is of"):
        catalog.find(str(path))
    config = {"transformer": {"_class_name": "AVTransformer3DModel"}}
    save_file({"a": torch.zeros(1)}, path, metadata={"config": json.dumps(config)})
    with pytest.raises(UnknownModel, match="holds a AVTransformer3DModel"):
        catalog.find(str(path))
    with pytest.raises(UnknownModel, match="no model"):
        catalog.find(str(tmp_path / "not there"))
