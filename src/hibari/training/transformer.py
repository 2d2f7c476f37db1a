"""Fitting the transformer on latents of rendered clips."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from hibari.contracts import InputError
from hibari.diffusion.convention import interpolate, velocity_target
from hibari.diffusion.guidance import guide
from hibari.diffusion.sampler import sample
from hibari.diffusion.schedule import schedule
from hibari.models.mini import weights
from hibari.models.mini.autoencoder import SPACE_FACTOR, TIME_FACTOR, Autoencoder
from hibari.models.mini.text import TextEncoder
from hibari.models.mini.transformer import FIELDS, Transformer
from hibari.training.autoencoder import averaged, to_pixels
from hibari.training.data import ShardRequest, Shards
from hibari.training.optim import Average, Optimizers
from hibari.training.recipes import TransformerRecipe
from hibari.training.run import Budget, Share, check_recipe, fit, record_start, share_out

SHEET_PROMPTS = (
    "a red balloon rises over the sea at sunset",
    "a cat jumps on the beach",
    "a blue car moves to the right in the city at night",
    "a robot spins in a techno club",
    "a small panda stays still in the forest",
    "a large green fish swims to the left underwater",
    "a UFO comes closer above the clouds",
    "a penguin hops in the snow while it snows",
    "pixel art of a dragon near a volcano",
    "a yellow star falls in space",
    "an elephant walks to the right on a farm, black and white",
    "a cat to the left of a dog in the park",
)


class Batch(NamedTuple):
    """What a step learns from.

    Attributes:
        latent: [B, C, F, H, W].
        text, mask: features [B, L, D] of the captions, and which of them are there [B, L].
        covered: how much of each cell the figures cover, 0 to 1, [B, F, H, W].
        start: where in their clips these latents begin.
    """

    latent: Tensor
    text: Tensor
    mask: Tensor
    covered: Tensor
    start: int


class Lesson(NamedTuple):
    """What the rows of one process are noised to, and the velocity that is wanted.

    Attributes:
        noisy, target: [B, C, F, H, W].
        sigma_BF: noise levels, 0 for given frames.
        text, mask, covered: as in `Batch`; the mask is empty where the caption was dropped.
        start_B: as in `Batch`.
    """

    noisy: Tensor
    target: Tensor
    sigma_BF: Tensor
    text: Tensor
    mask: Tensor
    covered: Tensor
    start_B: Tensor


class TransformerTask:
    """One step: noise a batch of latents, each clip at its own level, and regress the velocity."""

    def __init__(
        self,
        recipe: TransformerRecipe,
        network: Transformer,
        autoencoder: Path,
        folder: Path,
        *,
        workers: int,
        share: Share = Share(),  # noqa: B008 - frozen
        bfloat16: bool = False,
    ) -> None:
        """`autoencoder` is its weights (of which the linear path makes the latents); shards go to `folder`. With
        `bfloat16` matrix products are made in it; parameters, their gradients and the loss stay float32."""
        self.recipe = recipe
        self.network = network
        self.optimizers = Optimizers(
            network, lr=recipe.lr, adam_lr=recipe.adam_lr, weight_decay=recipe.weight_decay,
            adam_for=(
                "latent_in", "latent_out", "place", "text_in", "pooled_in", "sigma_in", "final", "refiner.up",
                "refiner.down",
            ),
        )  # fmt: skip
        self.average = Average(network, recipe.decays)
        self._autoencoder = autoencoder
        folder.mkdir(parents=True, exist_ok=True)
        requests = [
            ShardRequest(index, recipe.shard_clips, recipe.captions, autoencoder, folder)
            for index in range(recipe.shards)
        ]
        self._bfloat16 = bfloat16
        self._rows = share.rows(recipe.batch)
        self._shards = Shards(
            requests, workers=workers if share.rank == 0 else 0, made_elsewhere=share.rank > 0
        )

    def batch(self, step: int, rng: np.random.Generator) -> Batch:
        """What step `step` sees, the same for all who share it."""
        recipe = self.recipe
        shards = self._shards.first(recipe.shards_at_start + step // recipe.steps_per_shard)
        shape = shards[int(rng.integers(len(shards)))]["latent"].shape[-2:]
        alike = [shard for shard in shards if shard["latent"].shape[-2:] == shape]
        whole = shards[0]["latent"].shape[2]
        start, stop = self.window(step, whole, rng)
        latents, covers, texts, lengths = [], [], [], []
        for _ in range(recipe.batch * min(recipe.most_clips, whole // (stop - start))):
            shard = alike[int(rng.integers(len(alike)))]
            clip, words = int(rng.integers(recipe.shard_clips)), int(rng.integers(recipe.captions))
            latents.append(shard["latent"][clip, :, start:stop])
            covers.append(shard["covered"][clip, start:stop])
            texts.append(shard["text"][clip, words])
            lengths.append(shard["length"][clip, words])
        length = torch.stack(lengths)
        longest = int(length.max())
        return Batch(
            latent=torch.stack(latents).float(),
            text=torch.stack(texts)[:, :longest].float(),
            mask=torch.arange(longest) < length[:, None],
            covered=torch.stack(covers).float(),
            start=start,
        )

    def window(self, step: int, frames: int, rng: np.random.Generator) -> tuple[int, int]:
        """Which of its clips' latent frames a step sees, from and to. Half of the parts of clips begin where the clip
        does."""
        recipe = self.recipe
        is_part, from_inside = rng.random() < recipe.window_share, rng.random() < 0.5
        count, place = int(rng.choice(recipe.window_frames)), rng.random()
        if step < recipe.picture_steps:
            is_part, count = True, 1
        if not is_part:
            return 0, frames
        start = int(place * (frames - count + 1)) if from_inside else 0
        return start, start + count

    def levels(self, clips: int, frames: int, start: int, rng: np.random.Generator) -> Tensor:
        """sigma_BF: a level a clip, and 0 for given frames in some: at the start, the end, both, or anywhere. A window
        that begins inside its clip nearly always has its first frames given, as it has in a long clip."""
        recipe = self.recipe
        mean = recipe.sigma_mean + 0.25 * math.log(frames)
        logit = torch.from_numpy(rng.normal(mean, recipe.sigma_std, clips)).float()
        sigma_BF = torch.sigmoid(logit)[:, None].repeat(1, frames)
        for row in sigma_BF:
            if frames < 2 or rng.random() >= (0.8 if start else recipe.given_share):
                continue
            level = row[0].clone()
            kind = 0 if start else rng.integers(4)
            count = int(rng.integers(1, max(2, frames // 2 + 1)))
            if kind in (0, 2):
                row[:count] = 0
            if kind in (1, 2):
                row[-1 if kind == 2 else -count :] = 0
            if kind == 3:
                row[torch.from_numpy(rng.permutation(frames)[:count])] = 0
            if not row.any():
                row[-1] = level  # something must be left to ask for
        return sigma_BF

    def lesson(self, step: int) -> Lesson:
        """What this process learns from in step `step`: its share of the rows, noised."""
        rng = np.random.default_rng([self.recipe.seed, step])
        latent, text, mask, covered, start = self.batch(step, rng)
        mask = mask & torch.from_numpy(rng.random((len(mask), 1)) >= self.recipe.caption_dropout)
        sigma_BF = self.levels(len(latent), latent.shape[2], start, rng)
        noise = torch.from_numpy(rng.standard_normal(latent.shape, np.float32))
        noisy, target = interpolate(latent, noise, sigma_BF), velocity_target(latent, noise)
        whole = (noisy, target, sigma_BF, text, mask, covered, torch.full((len(noisy),), start))
        return Lesson(*(t[self._rows] for t in whole))

    def answer(self, lesson: Lesson) -> Tensor:
        """The network's velocity."""
        with self.precision():
            return self.network(
                lesson.noisy, lesson.sigma_BF, lesson.text, lesson.mask, lesson.start_B
            ).float()

    def precision(self) -> torch.autocast:
        """What forward passes are made in."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16)

    def error(self, velocity: Tensor, target: Tensor, lesson: Lesson) -> Tensor:
        """The velocity's weighted squared error."""
        sigma_BF = lesson.sigma_BF
        asked = (sigma_BF > 0)[:, None, :, None, None]
        # The network's own answer is x0, and the velocity's error is that of x0 over sigma: unbounded weight on levels
        # at which nothing is left to decide.
        weight = (sigma_BF / sigma_BF.clamp(min=self.recipe.sigma_floor))[:, None, :, None, None]
        error = ((velocity - target) * weight).square()
        # A weight that the network cannot know shifts its answer towards the figure. So it fades where noise hides the
        # figure's place, and is full below a level of one half.
        figure = (
            self.recipe.figure_weight * lesson.covered * (2 * (1 - sigma_BF)).clamp(max=1)[..., None, None]
        )
        share = (asked * (1 + figure[:, None])).expand_as(error)
        return (error * share).sum() / share.sum()

    def loss(self, step: int) -> dict[str, float]:
        """See `run.Task`."""
        lesson = self.lesson(step)
        loss = self.error(self.answer(lesson), lesson.target, lesson)
        loss.backward()
        return {"loss": loss.item()}

    @cached_property
    def _looking(self) -> tuple[Autoencoder, Tensor, Tensor]:
        """The decoder and the text features of the sheet's prompts, loaded when the first sheet is made."""
        autoencoder = weights.read_autoencoder(self._autoencoder)
        text, mask = TextEncoder(torch.device("cpu"))([*SHEET_PROMPTS, ""])
        return autoencoder, text, mask

    @torch.inference_mode()
    def sheet(self) -> np.ndarray:
        """Twelve prompts, five frames of each."""
        autoencoder, text, mask = self._looking
        channels = self.network.config.latent_channels
        count = len(SHEET_PROMPTS)
        noise = torch.randn(count, channels, 9, 8, 8, generator=torch.Generator().manual_seed(0))
        with averaged(self.network, self.average, 0):
            latent = self.sampled(noise, text, mask)
        clips = np.concatenate([to_pixels(autoencoder.decode(one[None])) for one in latent])
        rows = [np.concatenate([clip[k] for k in (0, 8, 16, 24, 32)], 1) for clip in clips]
        return np.concatenate([np.concatenate(rows[: count // 2]), np.concatenate(rows[count // 2 :])], 1)

    def sampled(self, noise: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """Latents of the sheet out of noise; the last of the texts is the empty prompt."""
        count = len(noise)
        start = torch.zeros(2 * count, dtype=torch.long)
        both = torch.cat([torch.arange(count), torch.full((count,), count)])

        def velocity(latent: Tensor, sigma_BF: Tensor) -> Tensor:
            out = self.network(
                latent.repeat(2, 1, 1, 1, 1), sigma_BF.repeat(2, 1), text[both], mask[both], start
            )
            return guide(out[:count], out[count:], 3.0)

        return sample(velocity, noise, schedule(16, 1.0))


def train(
    recipe: TransformerRecipe,
    folder: Path,
    autoencoder: Path,
    budget: Budget,
    *,
    workers: int,
    sheet_every_s: float,
    processes: int = 1,
    start_from: Path | None = None,
    bfloat16: bool = False,
    teacher: Path | None = None,
    task: Callable[..., TransformerTask] = TransformerTask,
) -> Path:
    """Fit a transformer in `folder` on the latents of the `autoencoder` file, going on from what is there.

    Args:
        start_from: a weights file whose transformer a new run begins with; the run's `start.json` says which.
        teacher: for `distil.DistilTask`, the weights file that says what is right; by default `start_from`.
        task: what a step is; `distil.DistilTask` for a recipe of its own.
        bfloat16: matrix products in bfloat16: a gain where the processor has instructions for it, and only there.

    Returns:
        Its checkpoint, from which `export` makes what ships.

    Raises:
        InputError: if the folder belongs to another recipe, or `start_from` or `teacher` has no transformer of these
            sizes.
    """
    check_recipe(folder, recipe)
    if start_from is not None and not (folder / "checkpoint.pt").exists():
        for file in filter(None, (start_from, teacher)):
            started(recipe, file)  # refused here, before any process starts
        record_start(folder, start_from, teacher)
    work = partial(
        _work, partial(task, teacher=teacher) if teacher else task, recipe, folder, autoencoder, budget,
        workers=workers, sheet_every_s=sheet_every_s, start_from=start_from, bfloat16=bfloat16,
    )  # fmt: skip
    share_out(work, processes)
    return folder / "checkpoint.pt"


def _work(
    kind: Callable[..., TransformerTask],
    recipe: TransformerRecipe,
    folder: Path,
    autoencoder: Path,
    budget: Budget,
    share: Share,
    *,
    workers: int,
    sheet_every_s: float,
    start_from: Path | None,
    bfloat16: bool,
) -> None:
    torch.manual_seed(0)
    network = started(recipe, start_from)
    if start_from is None:
        fit_fields(network, weights.read_autoencoder(autoencoder))
    task = kind(
        recipe, network, autoencoder, folder / "shards", workers=workers, share=share, bfloat16=bfloat16
    )
    fit(task, folder, budget, recipe, sheet_every_s=sheet_every_s)


@torch.no_grad()
def fit_fields(network: Transformer, autoencoder: Autoencoder) -> None:
    """Set how the refiner takes cells apart and puts fields together to what they are in pixels: the `field_width`
    principal components of fields of 4 frames of 4x4 px, of what the autoencoder's linear path can show."""
    config, refiner = network.config, network.refiner
    gain = autoencoder.component_std / autoencoder.latent_std
    shown = by_fields(autoencoder.basis * gain)  # pixels of a unit latent
    spread = (shown * autoencoder.latent_std).transpose(0, 1).flatten(1)  # channels vary by latent_std
    components, values, _ = torch.linalg.svd(spread, full_matrices=False)
    kept = components[:, : config.field_width]
    scale = values[: config.field_width] / FIELDS  # so that each feature varies by about 1
    up = torch.einsum("fdc,dk->fkc", shown, kept / scale)
    into = refiner.up.weight.zero_().unflatten(0, (FIELDS**2, 2, -1))
    channels = config.latent_channels
    into[:, 0, :, :channels] = into[:, 1, :, channels : 2 * channels] = up  # of x0, and of the noisy latent
    nn.init.zeros_(refiner.up.bias)
    down = torch.einsum("fdc,dk->fkc", by_fields(autoencoder.basis / gain), kept * scale)
    refiner.down.weight.copy_(down.flatten(0, 1).T)


def by_fields(blocks: Tensor) -> Tensor:
    """[FIELDS^2, 12 * 4 * 4, C] of what has an autoencoder's block in its first axis [12 * 16 * 16, C]."""
    side = SPACE_FACTOR // FIELDS
    return rearrange(
        blocks, "(k p y q x) c -> (p q) (k y x) c", k=3 * TIME_FACTOR, p=FIELDS, y=side, q=FIELDS, x=side
    )


def started(recipe: TransformerRecipe, start_from: Path | None) -> Transformer:
    """The network as a new run begins with it: that of a weights file, or a new one.

    Raises:
        InputError: if the file has no transformer of the recipe's sizes.
    """
    if start_from is None:
        return Transformer(recipe.config)
    network = weights.read(start_from).get("transformer")
    if not isinstance(network, Transformer) or network.config != recipe.config:
        raise InputError(
            f"{start_from} holds no transformer of the recipe's sizes ({recipe.config}); give another file or recipe"
        )
    return network.train().requires_grad_(True)
