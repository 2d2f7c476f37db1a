"""Where the tokens of CogVideoX are: rotary tables for the sizes that are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor


def rotary(
    config: Mapping[str, Any], frames: int, height: int, width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosines and sines [tokens, head width] of a latent of F x H x W cells. The first generation stretches the grid
    that it was trained on over the picture's shape; the later ones cut the part that is needed out of it."""
    embeddings = import_module("diffusers.models.embeddings")
    patch, depth = config["patch_size"], config["patch_size_t"]
    grid = height // patch, width // patch
    trained = config["sample_height"] // patch, config["sample_width"] // patch
    if depth is None:
        return embeddings.get_3d_rotary_pos_embed(
            embed_dim=config["attention_head_dim"],
            crops_coords=_fitted(grid, trained),
            grid_size=grid,
            temporal_size=frames,
            device=device,
        )
    return embeddings.get_3d_rotary_pos_embed(
        embed_dim=config["attention_head_dim"],
        crops_coords=None,
        grid_size=grid,
        temporal_size=-(-frames // depth),
        grid_type="slice",
        max_size=trained,
        device=device,
    )


def _fitted(grid: tuple[int, int], trained: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The largest centred box (top, left), (bottom, right) of the grid's shape inside the trained grid."""
    scale = min(trained[0] / grid[0], trained[1] / grid[1])
    sides = [round(side * scale) for side in grid]
    start = [round((most - side) / 2) for most, side in zip(trained, sides, strict=True)]
    return (start[0], start[1]), (start[0] + sides[0], start[1] + sides[1])
