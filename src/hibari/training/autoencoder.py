"""Fitting the autoencoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from hibari.models.mini import weights
from hibari.models.mini.autoencoder import (
    SPACE_FACTOR,
    TIME_FACTOR,
    Autoencoder,
    fold,
    frames_from_pixels,
    pixels_from_frames,
)
from hibari.training import data
from hibari.training.evaluate.metrics import psnr
from hibari.training.optim import Average, Optimizers
from hibari.training.recipes import AutoencoderRecipe
from hibari.training.run import Budget, check_recipe, fit, steps_made
from hibari.training.world.render import render
from hibari.training.world.spec import draw

HELD_OUT_SEEDS = 2_000_000_000


def to_network(clip: np.ndarray) -> Tensor:
    """Pixels in [-1, 1], float32 [B, 3, T, H, W], of uint8 [B, T, H, W, 3]."""
    return pixels_from_frames(torch.from_numpy(clip))


def to_pixels(pixels_BCTHW: Tensor) -> np.ndarray:
    """uint8 [B, T, H, W, 3] of pixels in [-1, 1]."""
    return frames_from_pixels(pixels_BCTHW).numpy()


@torch.no_grad()
def fit_components(network: Autoencoder, clips: int) -> None:
    """Set the linear path to the principal components of the blocks of rendered clips."""
    dim = 3 * TIME_FACTOR * SPACE_FACTOR**2
    total, square, count = torch.zeros(dim), torch.zeros(dim, dim), 0
    for seed in range(clips):
        pixels = to_network(render(draw(data.AUTOENCODER_SEEDS - 1 - seed))[None])
        stills = pixels[:, :, ::8].repeat_interleave(TIME_FACTOR, 2)  # what a clip's first latent frame holds
        for part in (pixels[:, :, 1:], stills):
            blocks = rearrange(F.pixel_unshuffle(fold(part), SPACE_FACTOR), "b f d h w -> (b f h w) d")
            total += blocks.sum(0)
            square += blocks.T @ blocks
            count += len(blocks)
    mean = total / count
    values, vectors = torch.linalg.eigh(square / count - torch.outer(mean, mean))
    top = slice(-network.config.latent_channels, None)
    network.mean.copy_(mean)
    network.basis.copy_(vectors[:, top].flip(1))
    network.component_std.copy_(values[top].flip(0).sqrt())


class AutoencoderTask:
    """One step: crops there and back; the decoder learns, since the linear path is fitted and fixed."""

    def __init__(self, recipe: AutoencoderRecipe, network: Autoencoder, *, start: int, workers: int) -> None:
        self.recipe = recipe
        self.network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.optimizers = Optimizers(
            network, lr=recipe.lr, adam_lr=recipe.adam_lr, weight_decay=0.0,
            adam_for=("decoder.stem", "decoder.head"),
        )  # fmt: skip
        self.average = Average(network, recipe.decays)
        function = partial(
            data.crops, clips=recipe.clips_per_step, crop_px=recipe.crop_px,
            crop_frames=recipe.crop_frames, near_subject=recipe.near_subject,
        )  # fmt: skip
        self._batches = data.in_order(function, start, workers=workers)
        self._examples = [render(draw(HELD_OUT_SEEDS + seed, "held_out")) for seed in range(8)]

    def loss(self, step: int) -> dict[str, float]:
        """See `run.Task`."""
        recipe = self.recipe
        target = to_network(next(self._batches))
        generator = torch.Generator().manual_seed(step)
        with torch.no_grad():
            latent = self.network.encode(target)
            level = recipe.latent_noise * torch.rand(len(latent), 1, 1, 1, 1, generator=generator)
            noise = (
                torch.randn(latent.shape, generator=generator) * self.network.latent_std[:, None, None, None]
            )
        difference = self.network.decode(latent + level * noise) - target
        l1 = difference.abs().mean()
        gradient = (difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()) / 2
        square = difference.square().mean()
        (l1 + recipe.gradient_weight * gradient + square).backward()
        decibels = -10 * torch.log10(square.detach() / 4)
        return {"l1": l1.item(), "gradient": gradient.item(), "psnr": decibels.item()}

    @torch.inference_mode()
    def sheet(self) -> np.ndarray:
        """Held-out clips, and under each what comes back."""
        with averaged(self.network, self.average, 0):
            rows = []
            for clip in self._examples:
                back = to_pixels(self.network.decode(self.network.encode(to_network(clip[None]))))[0]
                rows += [np.concatenate([c[k] for k in (0, 6, 13, 22, 32)], 1) for c in (clip, back)]
        half = len(rows) // 2
        return np.concatenate([np.concatenate(rows[:half]), np.concatenate(rows[half:])], 1)


def train(
    recipe: AutoencoderRecipe, folder: Path, budget: Budget, *, workers: int, sheet_every_s: float
) -> Path:
    """Fit an autoencoder in `folder`, going on from what is there.

    Its `autoencoder.safetensors` is there from the start, with the linear path (all that a transformer's training
    waits for), and holds the averaged decoder when the budget is used up.
    """
    check_recipe(folder, recipe)
    torch.manual_seed(0)
    network = Autoencoder(recipe.config)
    path = folder / "autoencoder.safetensors"
    if path.exists():
        network.load_state_dict(weights.read_autoencoder(path).state_dict())
    else:
        fit_components(network, recipe.component_clips)
        weights.write(path, {"autoencoder": network}, torch.float32, {})
    task = AutoencoderTask(recipe, network, start=steps_made(folder), workers=workers)
    fit(task, folder, budget, recipe, sheet_every_s=sheet_every_s)
    with averaged(network, task.average, -1):
        weights.write(path, {"autoencoder": network}, torch.float32, {})
    return path


@contextmanager
def averaged(network: nn.Module, average: Average, index: int) -> Iterator[None]:
    """Within the block, the network has its averaged weights."""
    own = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(average.weights(network, index))
    try:
        yield
    finally:
        network.load_state_dict(own)


@torch.inference_mode()
def reconstruction_psnr(network: Autoencoder, clips: int) -> float:
    """Mean PSNR in dB over whole held-out clips."""
    cv2.setNumThreads(1)
    values = []
    for seed in range(clips):
        clip = render(draw(HELD_OUT_SEEDS + seed, "held_out"))
        back = to_pixels(network.decode(network.encode(to_network(clip[None]))))[0]
        values.append(psnr(clip, back))
    return float(np.mean(values))
