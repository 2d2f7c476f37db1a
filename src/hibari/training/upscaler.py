"""Fitting the upscaler: frames of rendered clips as they come out of the autoencoder, to what the same scene is in four
times the size."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from hibari.models.mini import weights
from hibari.models.mini.autoencoder import TIME_FACTOR, Autoencoder, frames_from_pixels
from hibari.models.mini.upscaler import SCALE, Upscaler, bicubic
from hibari.training import data
from hibari.training.autoencoder import HELD_OUT_SEEDS, averaged, to_network
from hibari.training.optim import Average, Optimizers
from hibari.training.recipes import UpscalerRecipe
from hibari.training.run import Budget, Share, check_recipe, fit, share_out, steps_made
from hibari.training.world.render import FRAMES, render
from hibari.training.world.spec import draw

SHEET_CLIPS = 6
SHEET_PX = 64  # side of what the sheet shows of a frame


class UpscalerTask:
    """One step: frames of clips there and back through the autoencoder, with a sampler's noise on the latents, and what
    they should look like."""

    def __init__(
        self,
        recipe: UpscalerRecipe,
        network: Upscaler,
        autoencoder: Autoencoder,
        *,
        start: int,
        workers: int,
        share: Share | None = None,
    ) -> None:
        self.recipe = recipe
        self.network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.optimizers = Optimizers(
            network, lr=recipe.lr, adam_lr=recipe.adam_lr, weight_decay=0.0, adam_for=("stem", "near", "head")
        )
        self.average = Average(network, recipe.decays)
        self._autoencoder = autoencoder.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._rank = (share or Share()).rank
        function = partial(
            data.pairs, clips=recipe.clips_per_step, frames=recipe.frames, block=TIME_FACTOR, density=SCALE,
            rows=(share or Share()).rows(recipe.clips_per_step),
        )  # fmt: skip
        self._batches = data.in_order(function, start, workers=workers)

    @torch.no_grad()
    def seen(self, pairs: data.Pairs, generator: torch.Generator) -> Tensor:
        """The shown frames as the autoencoder gives them back: pixels [clips * shown frames, 3, H, W]."""
        latent = self._autoencoder.encode(to_network(pairs.small))
        level = self.recipe.latent_noise * torch.rand(len(latent), 1, 1, 1, 1, generator=generator)
        noise = (
            torch.randn(latent.shape, generator=generator) * self._autoencoder.latent_std[:, None, None, None]
        )
        back = self._autoencoder.decode(latent + level * noise)
        rows = torch.arange(len(back))[:, None]
        return as_shown(back.transpose(1, 2)[rows, torch.from_numpy(pairs.shown)].flatten(0, 1))

    def loss(self, step: int) -> dict[str, float]:
        """See `run.Task`; `bicubic` is the PSNR in dB of interpolation, `psnr` the network's."""
        pairs = next(self._batches)
        small = self.seen(pairs, torch.Generator().manual_seed(1000 * step + self._rank))
        target = to_network(pairs.large).transpose(1, 2).flatten(0, 1)
        difference = self.network(small) - target
        l1 = difference.abs().mean()
        gradient = (difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()) / 2
        square = difference.square().mean()
        (l1 + self.recipe.gradient_weight * gradient + square).backward()
        with torch.no_grad():
            plain = (bicubic(small) - target).square().mean()
        return {"l1": l1.item(), "psnr": _psnr(square.detach()), "bicubic": _psnr(plain)}

    @torch.inference_mode()
    def sheet(self) -> np.ndarray:
        """Parts of held-out frames: as they come, interpolated, upscaled, and rendered at that size."""
        rows = []
        with averaged(self.network, self.average, 0):
            for seed in range(SHEET_CLIPS):
                small, large = held_out(self._autoencoder, seed)
                shown = [bicubic(small), self.network(small)]
                pictures = [_pixels(picture) for picture in shown]
                nearest = _pixels(small).repeat(SCALE, 0).repeat(SCALE, 1)
                start = SCALE * (large.shape[0] // SCALE - SHEET_PX) // 2
                part = slice(start, start + SCALE * SHEET_PX)
                rows.append(np.concatenate([p[part, part] for p in (nearest, *pictures, large)], 1))
        return np.concatenate(rows)


def train(
    recipe: UpscalerRecipe,
    folder: Path,
    autoencoder: Path,
    budget: Budget,
    *,
    workers: int,
    sheet_every_s: float,
    processes: int = 1,
) -> Path:
    """Fit an upscaler in `folder` to what the autoencoder of a weights file gives back, going on from what is there.

    Returns:
        Its checkpoint, from which `export` makes what ships.

    Raises:
        InputError: the folder belongs to another recipe, or the file holds no autoencoder.
    """
    check_recipe(folder, recipe)
    weights.read_autoencoder(autoencoder)  # refused here, before any process starts
    work = partial(_work, recipe, folder, autoencoder, budget, workers=workers, sheet_every_s=sheet_every_s)
    share_out(work, processes)
    return folder / "checkpoint.pt"


def _work(
    recipe: UpscalerRecipe,
    folder: Path,
    autoencoder: Path,
    budget: Budget,
    share: Share,
    *,
    workers: int,
    sheet_every_s: float,
) -> None:
    torch.manual_seed(0)
    network = Upscaler(recipe.config)
    read = weights.read_autoencoder(autoencoder)
    task = UpscalerTask(recipe, network, read, start=steps_made(folder), workers=workers, share=share)
    fit(task, folder, budget, recipe, sheet_every_s=sheet_every_s)


# ---------------------------------------------------------------- how good it is


@torch.inference_mode()
def quality(autoencoder: Autoencoder, upscaler: Upscaler, clips: int) -> dict[str, float]:
    """Means over one frame of each of so many held-out clips, against renders of the large size: PSNR in dB and SSIM of
    the upscaler and of bicubic interpolation."""
    cv2.setNumThreads(1)
    figures: dict[str, list[float]] = {"psnr": [], "ssim": [], "bicubic_psnr": [], "bicubic_ssim": []}
    for seed in range(clips):
        small, large = held_out(autoencoder, seed)
        for prefix, picture in (("", upscaler(small)), ("bicubic_", bicubic(small))):
            made = _pixels(picture)
            error = np.square(made.astype(np.float32) - large).mean() / 255**2
            figures[f"{prefix}psnr"].append(float(-10 * np.log10(error)))
            figures[f"{prefix}ssim"].append(ssim(made, large))
    return {name: float(np.mean(values)) for name, values in figures.items()}


@torch.inference_mode()
def held_out(autoencoder: Autoencoder, seed: int) -> tuple[Tensor, np.ndarray]:
    """A late frame of a held-out clip as the autoencoder gives it back, pixels [1, 3, 128, 128], and what it is in four
    times the size, uint8 [512, 512, 3]."""
    spec = draw(HELD_OUT_SEEDS + seed, "held_out")
    shown = FRAMES - 1 - seed % TIME_FACTOR
    clip = render(spec, only=range(FRAMES - 1 - 2 * TIME_FACTOR, FRAMES))
    back = autoencoder.decode(autoencoder.encode(to_network(clip[None])))
    return as_shown(back[:, :, shown - FRAMES]), render(spec, density=SCALE, only=[shown])[0]


def as_shown(pixels_BCHW: Tensor) -> Tensor:
    """Pixels as the upscaler has them: rounded to 8 bits and clipped, as frames are."""
    return pixels_BCHW.add(1).mul_(127.5).round_().clamp_(0, 255).div_(127.5).sub_(1)


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Structural similarity of two uint8 pictures, -1 to 1, with a Gaussian window of 1.5 px, mean over pixels and
    channels (Wang et al., 2004)."""
    a, b = one.astype(np.float64), other.astype(np.float64)

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (11, 11), 1.5)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, both = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similar = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return float((similar / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def _pixels(pixels_1CHW: Tensor) -> np.ndarray:
    return frames_from_pixels(pixels_1CHW[:, :, None])[0, 0].numpy()


def _psnr(square: Tensor) -> float:
    return float(-10 * torch.log10(square / 4))
