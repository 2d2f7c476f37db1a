"""The layouts in which Mochi 1 was published: diffusers' folder, and the authors' three files.

The authors' files have no configuration; the sizes are read off the tensors' shapes. Their projections of queries, keys
and values are one tensor, and two pairs of halves are the other way round. T5 is not among them: it lies beside.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hibari import catalog
from hibari.contracts import WeightsError
from hibari.models import folder
from hibari.models.folder import Checkpoint, Source, Take, text_beside

FILES = ("dit.safetensors", "encoder.safetensors", "decoder.safetensors")
SWAPPED = {"pieces": (1, 0), "of": 2}

_NAMES = {
    "patch_embed.proj.": "x_embedder.proj.",
    "time_embed.timestep_embedder.linear_1.": "t_embedder.mlp.0.",
    "time_embed.timestep_embedder.linear_2.": "t_embedder.mlp.2.",
    "time_embed.pooler.": "t5_y_embedder.",
    "time_embed.caption_proj.": "t5_yproj.",
    "norm_out.linear.": "final_layer.mod.",
    "proj_out.": "final_layer.linear.",
}
_BLOCK_NAMES = {
    "norm1.linear.": "mod_x.",
    "norm1_context.linear.": "mod_y.",
    "norm1_context.linear_1.": "mod_y.",  # so called in the last block
    "attn1.norm_q.": "attn.q_norm_x.",
    "attn1.norm_k.": "attn.k_norm_x.",
    "attn1.norm_added_q.": "attn.q_norm_y.",
    "attn1.norm_added_k.": "attn.k_norm_y.",
    "attn1.to_out.0.": "attn.proj_x.",
    "attn1.to_add_out.": "attn.proj_y.",
    "ff.net.0.proj.": "mlp_x.w1.",
    "ff.net.2.": "mlp_x.w2.",
    "ff_context.net.0.proj.": "mlp_y.w1.",
    "ff_context.net.2.": "mlp_y.w2.",
}
_FUSED = {
    **{f"attn1.to_{one}.": ("attn.qkv_x.", place) for place, one in enumerate("qkv")},
    **{f"attn1.add_{one}_proj.": ("attn.qkv_y.", place) for place, one in enumerate("qkv")},
}
_STACK = {"norm1.norm_layer.": "0.", "conv1.conv.": "2.", "norm2.norm_layer.": "3.", "conv2.conv.": "5."}

# As published with the weights; no file of the authors' has them, and they are diffusers' defaults, too.
SCHEDULER = {"invert_sigmas": True}


def read(path: Path) -> Checkpoint:
    """The checkpoint in a folder of either layout.

    Raises:
        WeightsError: a file is missing or damaged.
    """
    return folder.read(path) if (path / catalog.INDEX).exists() else _original(path)


def _original(path: Path) -> Checkpoint:
    transformer, encoder, decoder = (path / name for name in FILES)
    shapes, encoder_shapes, decoder_shapes = (
        {key: value["shape"] for key, value in catalog.header(file).items() if key != "__metadata__"}
        for file in (transformer, encoder, decoder)
    )
    try:
        config = _transformer(shapes)
        autoencoder = _autoencoder(encoder_shapes, decoder_shapes)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(f"{path} holds no Mochi 1: its files have no {error}") from error
    return Checkpoint(
        index={"_class_name": "MochiPipeline", "force_zeros_for_empty_prompt": False},
        transformer=Source(str(transformer), config, {transformer: ""}, _of_transformer),
        autoencoder=Source(
            f"{encoder} and {decoder.name}",
            autoencoder,
            {encoder: "encoder.", decoder: "decoder."},
            _AutoencoderNames(autoencoder["layers_per_block"][0]),
        ),
        scheduler=SCHEDULER,
        text=text_beside(path),
        paths=(transformer, encoder, decoder, text_beside(path) / "text_encoder"),
    )


def _count(shapes: dict[str, list[int]], pattern: str) -> int:
    """How many different numbers stand where the pattern has its group."""
    return len({found[1] for key in shapes if (found := re.match(pattern, key))})


def _transformer(shapes: dict[str, list[int]]) -> dict[str, Any]:
    width, channels, patch, _ = shapes["x_embedder.proj.weight"]
    (head,) = shapes["blocks.0.attn.q_norm_x.weight"]
    pooled, text = shapes["t5_yproj.weight"]
    return {
        "patch_size": patch,
        "num_attention_heads": width // head,
        "attention_head_dim": head,
        "num_layers": _count(shapes, r"blocks\.(\d+)\."),
        "pooled_projection_dim": pooled,
        "in_channels": channels,
        "text_embed_dim": text,
        "time_embed_dim": shapes["t_embedder.mlp.0.weight"][1],
    }


def _autoencoder(encoder: dict[str, list[int]], decoder: dict[str, list[int]]) -> dict[str, Any]:
    """Of the encoder, whose layers are: one in, the first stage's blocks, three stages, the last one's blocks."""
    stages = sorted(
        {int(found[1]) for key in encoder if (found := re.match(r"layers\.(\d+)\.layers\.", key))}
    )
    if len(stages) != 3:
        raise ValueError(f"three stages in the encoder but {len(stages)}")
    first = stages[0] - 1
    inside = [_count(encoder, rf"layers\.{stage}\.layers\.(\d+)\.stack\.") for stage in stages]
    last = _count(encoder, r"layers\.(\d+)\.") - 1 - first - len(stages)
    widths = [encoder["layers.0.weight"][0], *(encoder[f"layers.{n}.layers.0.weight"][0] for n in stages)]
    return {
        "encoder_block_out_channels": widths,
        "decoder_block_out_channels": [
            decoder["blocks.4.0.stack.2.weight"][0],
            *(decoder[f"blocks.{stage}.blocks.0.stack.2.weight"][0] for stage in (3, 2)),
            decoder["blocks.0.0.weight"][0],
        ],
        "latent_channels": decoder["blocks.0.0.weight"][1],
        "layers_per_block": [first, *inside, last],
    }


def _of_transformer(name: str) -> Take:
    block = re.match(r"transformer_blocks\.(\d+)\.(.+\.)(\w+)$", name)
    if block is None:
        module, _, last = name.rpartition(".")
        for ours, theirs in _NAMES.items():
            if name.startswith(ours):
                key = theirs + name.removeprefix(ours)
                return Take(key, **SWAPPED) if module == "norm_out.linear" else Take(key)
        return Take(name)
    number, module, last = block.groups()
    if fused := _FUSED.get(module):
        return Take(f"blocks.{number}.{fused[0]}{last}", (fused[1],), 3)
    key = f"blocks.{number}.{_BLOCK_NAMES.get(module, module)}{last}"
    return Take(key, **SWAPPED) if module.endswith(".net.0.proj.") else Take(key)


class _AutoencoderNames:
    """Names of the encoder's and the decoder's tensors in their files, whose blocks are counted through."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __call__(self, name: str) -> Take:
        """See `Source.take`."""
        half, _, inside = name.partition(".")
        place = self._decoder(inside) if half == "decoder" else self._encoder(inside)
        for ours, theirs in _STACK.items():
            place = place.replace(f".stack.{ours}", f".stack.{theirs}")
        if fused := re.search(r"\.attn\.to_([qkv])\.", place):
            return Take(f"{half}.{place.replace(fused[0], '.attn.qkv.')}", ("qkv".index(fused[1]),), 3)
        return Take(f"{half}.{place}")

    def _decoder(self, name: str) -> str:
        for pattern, place in (
            (r"conv_in\.", lambda _: "blocks.0.0."),
            (r"block_in\.resnets\.(\d+)\.", lambda m: f"blocks.0.{int(m[1]) + 1}.stack."),
            (r"up_blocks\.(\d+)\.resnets\.(\d+)\.", lambda m: f"blocks.{int(m[1]) + 1}.blocks.{m[2]}.stack."),
            (r"up_blocks\.(\d+)\.proj\.", lambda m: f"blocks.{int(m[1]) + 1}.proj."),
            (r"block_out\.resnets\.(\d+)\.", lambda m: f"blocks.4.{m[1]}.stack."),
            (r"proj_out\.", lambda _: "output_proj."),
        ):
            if re.match(pattern, name):
                return re.sub(f"^{pattern}", place, name)
        return name

    def _encoder(self, name: str) -> str:
        name = re.sub(r"^proj_in\.", "layers.0.", name)
        name = re.sub(r"^proj_out\.", "output_proj.", name)
        name = re.sub(r"^norm_out\.norm_layer\.", "output_norm.", name)
        name = re.sub(r"^block_in\.resnets\.(\d+)\.", lambda m: f"layers.{int(m[1]) + 1}.stack.", name)
        stage, last = self._first + 1, self._first + 4
        name = re.sub(
            r"^down_blocks\.(\d+)\.conv_in\.conv\.", lambda m: f"layers.{int(m[1]) + stage}.layers.0.", name
        )
        inner = {"resnets": "stack.", "attentions": "attn_block.attn.", "norms": "attn_block.norm."}
        name = re.sub(
            r"^down_blocks\.(\d+)\.(resnets|attentions|norms)\.(\d+)\.",
            lambda m: f"layers.{int(m[1]) + stage}.layers.{int(m[3]) + 1}.{inner[m[2]]}",
            name,
        )
        name = re.sub(
            r"^block_out\.(resnets|attentions|norms)\.(\d+)\.",
            lambda m: f"layers.{int(m[2]) + last}.{inner[m[1]]}",
            name,
        )
        return name.replace(".attn.to_out.0.", ".attn.out.").replace(".norm.norm_layer.", ".norm.")
