"""What the tests of training share: the smallest recipes, and an autoencoder whose decoder knows nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hibari.models.mini import weights
from hibari.models.mini.autoencoder import Autoencoder
from hibari.models.mini.transformer import Transformer
from hibari.training.autoencoder import fit_components
from hibari.training.recipes import TransformerRecipe, autoencoder_tiny, transformer_tiny
from hibari.training.transformer import TransformerTask

NEVER = 1e9  # seconds between contact sheets
TINY = autoencoder_tiny()
# The recipe `tiny`, with shards that are rendered in a second.
SMALL = replace(transformer_tiny(), shard_clips=8)


def autoencoder_in(folder: Path) -> Path:
    """The folder, with `autoencoder.safetensors`, whose linear path is fitted; shards go there too."""
    torch.manual_seed(0)
    network = Autoencoder(TINY.config)
    fit_components(network, 3)
    weights.write(folder / "autoencoder.safetensors", {"autoencoder": network}, torch.float32, {})
    return folder


def fitted(folder: Path) -> Autoencoder:
    network = weights.read(folder / "autoencoder.safetensors")["autoencoder"]
    assert isinstance(network, Autoencoder)
    return network.requires_grad_(True)


def transformer_task(
    folder: Path,
    recipe: TransformerRecipe = SMALL,
    network: Transformer | None = None,
    *,
    bfloat16: bool = False,
) -> TransformerTask:
    network = network or Transformer(recipe.config)
    file = folder / "autoencoder.safetensors"
    return TransformerTask(recipe, network, file, folder / "shards", workers=0, bfloat16=bfloat16)


def blank_sheet() -> np.ndarray:
    return np.zeros((8, 8, 3), np.uint8)
