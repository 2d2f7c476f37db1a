"""The layouts in which LTX-Video was published: diffusers' folder, and the authors' single file.

The single file has the configurations as JSON in its metadata, and the transformer and the autoencoder under prefixes.
The autoencoder is described block by block, so both the sizes and the tensors' names follow from that list, whatever
the version (0.9.0 to 0.9.8). T5 is not in it: it lies beside, as published.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from hibari import catalog
from hibari.contracts import WeightsError
from hibari.models import folder
from hibari.models.folder import Checkpoint, Source, Take, refuse_others, text_beside

TRANSFORMER, AUTOENCODER = "model.diffusion_model.", "vae."
STATISTICS = "per_channel_statistics."
UNUSED = frozenset(
    f"{AUTOENCODER}{STATISTICS}{name}"
    for name in ("channel", "mean-of-stds", "mean-of-stds_over_std-of-means")
)

TRANSFORMER_IS: Mapping[str, object] = {
    "qk_norm": "rms_norm",
    "standardization_norm": "rms_norm",
    "adaptive_norm": "single_scale_shift",
    "attention_type": "default",
    "double_self_attention": False,
    "only_cross_attention": False,
    "positional_embedding_type": "rope",
    "positional_embedding_theta": 10000.0,
    "positional_embedding_max_pos": [20, 2048, 2048],
    "timestep_scale_multiplier": 1000,
}
AUTOENCODER_IS: Mapping[str, object] = {
    "dims": 3,
    "norm_layer": "pixel_norm",
    "latent_log_var": "uniform",
    "use_quant_conv": False,
    "spatial_padding_mode": "zeros",
    "normalize_latent_channels": False,
}
SCHEDULER_IS: Mapping[str, object] = {"num_train_timesteps": 1000, "shift": None}
"""What a file's configurations may say of things that our networks do not vary."""

SIZES = (
    "num_attention_heads", "attention_head_dim", "in_channels", "out_channels", "cross_attention_dim", "num_layers",
    "caption_channels", "attention_bias", "activation_fn", "norm_elementwise_affine", "norm_eps",
)  # fmt: skip
SHIFTING: Mapping[str | None, Mapping[str, object]] = {
    None: {"shift": 1.0},
    "SD3": {
        "use_dynamic_shifting": True,
        "base_shift": 0.95,
        "max_shift": 2.05,
        "base_image_seq_len": 1024,
        "max_image_seq_len": 4096,
    },
}
DOWN_TYPES = {
    "compress_all": "conv",
    "compress_all_res": "spatiotemporal",
    "compress_space_res": "spatial",
    "compress_time_res": "temporal",
}

Block = tuple[str, dict[str, Any]]
Modules = dict[str, str]  # where a module of our network is among the file's blocks


def read(path: Path) -> Checkpoint:
    """The checkpoint in a folder or a file.

    Raises:
        WeightsError: a file is missing or damaged, or its configuration is of another network.
    """
    return folder.read(path) if path.is_dir() else _single(path)


def upsampler(folder_: Path) -> Source | None:
    """The network that enlarges latents, where it lies beside a checkpoint: in diffusers' layout, or the authors' file.

    Raises:
        WeightsError: it is damaged.
    """
    if (folder_ / "latent_upsampler").is_dir():
        return folder.source(folder_ / "latent_upsampler")
    for path in sorted(folder_.glob("ltxv-spatial-upscaler-*.safetensors"), reverse=True):
        try:
            config = json.loads(catalog.header(path)["__metadata__"]["config"])
        except (KeyError, ValueError, TypeError) as error:
            raise WeightsError(f"{path} does not say in its metadata what network it is of") from error
        known = (
            "in_channels",
            "mid_channels",
            "num_blocks_per_stage",
            "dims",
            "spatial_upsample",
            "temporal_upsample",
        )
        return Source(str(path), {name: config[name] for name in known if name in config}, {path: ""})
    return None


def _single(path: Path) -> Checkpoint:
    header = catalog.header(path)
    try:
        said = json.loads(header["__metadata__"]["config"])
        transformer, vae, scheduler = said["transformer"], said["vae"], said["scheduler"]
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path} does not say in its metadata what network it is of; the files ltxv-*.safetensors do"
        ) from error
    keys = header.keys() - {"__metadata__"}
    if strangers := sorted(key for key in keys if not key.startswith((TRANSFORMER, AUTOENCODER))):
        raise WeightsError(f"{path} has tensors of neither network: {', '.join(strangers[:3])}")
    if eights := sorted(key for key in keys if header[key]["dtype"].startswith("F8")):
        raise WeightsError(
            f"{path} is in 8 bits for kernels of its authors' ({eights[0]} and others); take the file without fp8 in "
            "its name, and --quantise"
        )
    try:
        modules, autoencoder = _autoencoder(vae, str(path))
        config = {name: transformer[name] for name in SIZES}
    except KeyError as error:
        raise WeightsError(f"the configuration in {path} does not say {error}") from error
    refuse_others(transformer, TRANSFORMER_IS, str(path))
    files = {path: ""}
    later = bool(transformer.get("causal_temporal_positioning", False))
    return Checkpoint(
        index={
            "_class_name": "LTXConditionPipeline" if later else "LTXPipeline",
            "quadratic": scheduler.get("sampler") == "LinearQuadratic",
            "allowed_inference_steps": said.get("allowed_inference_steps"),
        },
        transformer=Source(
            where=str(path),
            config={**config, "qk_norm": "rms_norm_across_heads"},
            files=files,
            take=_of_transformer,
            prefix=TRANSFORMER,
        ),
        autoencoder=Source(
            where=str(path),
            config=autoencoder,
            files=files,
            take=partial(_of_autoencoder, modules),
            prefix=AUTOENCODER,
            unused=UNUSED,
        ),
        scheduler=_scheduler(scheduler, str(path)),
        text=text_beside(path),
        paths=(path, text_beside(path) / "text_encoder"),
    )


def _scheduler(said: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """What `scheduler_config.json` would say."""
    refuse_others(said, SCHEDULER_IS, where)
    shifting, sampler = said.get("shifting"), said.get("sampler", "Uniform")
    if shifting not in SHIFTING or sampler not in ("Uniform", "LinearQuadratic"):
        raise WeightsError(
            f"{where}: the scheduler's shifting is {shifting!r} and its sampler {sampler!r}; this code knows "
            "SD3 or none, and Uniform or LinearQuadratic"
        )
    terminal = said.get("target_shift_terminal") if shifting == "SD3" else None
    return {**SHIFTING[shifting], "shift_terminal": terminal}


def _of_transformer(name: str) -> Take:
    if name.startswith("proj_in."):
        name = name.replace("proj_in.", "patchify_proj.", 1)
    elif name.startswith("time_embed."):
        name = name.replace("time_embed.", "adaln_single.", 1)
    return Take(TRANSFORMER + name.replace(".norm_q.", ".q_norm.").replace(".norm_k.", ".k_norm."))


def _of_autoencoder(modules: Modules, name: str) -> Take:
    if name in ("latents_mean", "latents_std"):
        return Take(f"{AUTOENCODER}{STATISTICS}{name.removeprefix('latents_')}-of-means")
    for ours, theirs in modules.items():
        if name.startswith(ours):
            name = theirs + name.removeprefix(ours)
            break
    name = name.replace(".resnets.", ".res_blocks.").replace(".conv_shortcut.conv.", ".conv_shortcut.")
    return Take(AUTOENCODER + name.replace(".norm3.", ".norm3.norm."))


def _autoencoder(said: Mapping[str, Any], where: str) -> tuple[Modules, dict[str, Any]]:
    """Where its modules are in the file, the longest names first, and its configuration for diffusers."""
    refuse_others(said, AUTOENCODER_IS, where)
    both = said.get("blocks")
    down, down_sizes = _down(
        _blocks(said.get("encoder_blocks", both)), said.get("encoder_base_channels", 128), where
    )
    up, up_sizes = _up(
        _blocks(said.get("decoder_blocks", both)), said.get("decoder_base_channels", 128), where
    )
    renamed = {
        "decoder.time_embedder.": "decoder.last_time_embedder.",
        "decoder.scale_shift_table": "decoder.last_scale_shift_table",
    }
    modules = down | up | renamed
    config = {
        "in_channels": said.get("in_channels", 3),
        "out_channels": said.get("out_channels", 3),
        "latent_channels": said["latent_channels"],
        "patch_size": said["patch_size"],
        "patch_size_t": 1,
        "scaling_factor": said.get("scaling_factor", 1.0),
        "timestep_conditioning": said.get("timestep_conditioning", False),
        "encoder_causal": True,
        "decoder_causal": said.get("causal_decoder", False),
        **down_sizes,
        **up_sizes,
    }
    config["spatial_compression_ratio"] *= said["patch_size"]
    return dict(sorted(modules.items(), key=lambda pair: -len(pair[0]))), config


def _blocks(said: Iterable[Sequence[Any]]) -> list[Block]:
    """Blocks with their settings, of which the earlier versions have only the number of layers."""
    return [(name, how if isinstance(how, dict) else {"num_layers": how}) for name, how in said]


def _down(blocks: list[Block], width: int, where: str) -> tuple[Modules, dict[str, Any]]:
    """The encoder: stages of residual blocks, each but the last with what makes it smaller and wider."""
    starts = [index for index, (name, _) in enumerate(blocks) if name == "res_x"]
    later = any(name.endswith("_res") for name, _ in blocks)
    modules: Modules = {}
    layers: list[int] = []
    widths, scaled, types = [width], list[bool](), list[str]()
    across = along = 1
    for stage, (start, end) in enumerate(zip(starts, [*starts[1:], len(blocks)], strict=True)):
        layers.append(blocks[start][1]["num_layers"])
        ours = f"encoder.down_blocks.{stage}." if end < len(blocks) else "encoder.mid_block."
        modules[ours] = f"encoder.down_blocks.{start}."
        if end == len(blocks):
            if end - start > 1:
                raise WeightsError(
                    f"{where}: the encoder ends with {blocks[-1][0]}; this code knows only res_x"
                )
            break
        smaller = [name for name, _ in blocks[start + 1 : end] if name in DOWN_TYPES]
        wider = [name for name, _ in blocks[start + 1 : end] if name == "res_x_y"]
        if len(smaller) + len(wider) != end - start - 1 or len(smaller) > 1 or len(wider) > (not later):
            raise WeightsError(
                f"{where}: its encoder has {[name for name, _ in blocks]}, which no version has"
            )
        for index in range(start + 1, end):
            name, how = blocks[index]
            modules[f"{ours}{'conv_out' if name == 'res_x_y' else 'downsamplers.0'}."] = (
                f"encoder.down_blocks.{index}."
            )
            if name != "compress_all":  # which keeps the width
                width *= how.get("multiplier", 2)
        kind = DOWN_TYPES[smaller[0]] if smaller else "conv"
        across *= 2 if smaller and kind != "temporal" else 1
        along *= 2 if smaller and kind != "spatial" else 1
        scaled.append(bool(smaller))
        types.append(kind)
        widths.append(width)
    if not later and widths[-1:] != widths[-2:-1]:
        raise WeightsError(f"{where}: the encoder's last stage changes the width, which diffusers cannot")
    return modules, {
        "block_out_channels": widths if later else widths[:-1],
        "down_block_types": [f"LTXVideo{'095' if later else ''}DownBlock3D"] * len(scaled),
        "layers_per_block": layers,
        "spatio_temporal_scaling": scaled,
        "downsample_type": types,
        "spatial_compression_ratio": across,
        "temporal_compression_ratio": along,
    }


def _up(blocks: list[Block], width: int, where: str) -> tuple[Modules, dict[str, Any]]:
    """The decoder, whose blocks are listed from its end."""
    blocks = blocks[::-1]
    default = {"res_x_y": 2, "compress_all": 1}
    width *= prod(how.get("multiplier", default[name]) for name, how in blocks if name in default)
    modules: Modules = {}
    layers, noise = list[int](), list[bool]()
    widths, scaled, residual, factors = list[int](), list[bool](), list[bool](), list[int]()
    before: list[Block] = []
    for index, (name, how) in enumerate(blocks):
        place = f"decoder.up_blocks.{index}."
        placed = [earlier for earlier, _ in before]
        ours = f"decoder.up_blocks.{len(layers) - 1}." if layers else "decoder.mid_block."
        if name == "res_x":
            modules[ours] = place
            if layers:
                compress = next((how for name, how in before if name == "compress_all"), None)
                factor = compress.get("multiplier", 1) if compress else 1
                for earlier, settings in before:
                    width //= settings.get("multiplier", default[earlier])
                scaled.append(compress is not None)
                residual.append(bool(compress and compress.get("residual", False)))
                factors.append(factor)
                widths.append(width * factor)
            elif before:
                raise WeightsError(
                    f"{where}: the decoder begins with {before[0][0]}; this code knows only res_x"
                )
            layers.append(how["num_layers"])
            noise.append(how.get("inject_noise", False))
            before = []
        elif name in default and layers and placed != ["compress_all"] and name not in placed:
            modules[f"{ours}{'conv_in' if name == 'res_x_y' else 'upsamplers.0'}."] = place
            before.append((name, how))
        else:
            raise WeightsError(
                f"{where}: its decoder has {[name for name, _ in blocks]}, which no version has"
            )
    return modules, {
        "decoder_block_out_channels": widths[::-1],
        "decoder_layers_per_block": layers[::-1],
        "decoder_spatio_temporal_scaling": scaled[::-1],
        "decoder_inject_noise": noise[::-1],
        "upsample_residual": residual[::-1],
        "upsample_factor": factors[::-1],
    }
