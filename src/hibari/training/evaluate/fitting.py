"""Fitting the evaluator, from nothing, on one core in a few minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hibari.training.evaluate import weights
from hibari.training.evaluate.lessons import CLASSES, DETAIL_FRAMES, UNKNOWN, Lessons, render_lessons, worn
from hibari.training.evaluate.network import CAMERA_EVERY, FEATURES, Evaluator, as_network, cut_out, levelled
from hibari.training.optim import Optimizers
from hibari.training.run import learning_rate_scale

Progress = Callable[[str, int, int], None]
"""Called with what is done now, how much of it is done, and of how much."""


@dataclass(frozen=True)
class EvaluatorRecipe:
    """How the evaluator is fitted. Every length is counted in steps: the same recipe gives the same weights.

    Attributes:
        lessons: rendered clips.
        frame_steps, frame_batch: of FrameNet; a sample is one frame with its neighbours.
        figure_steps, figure_batch: of FigureNet; a sample is a cut-out from one frame.
        camera_steps, camera_batch: of CameraNet; a sample is a clip.
        motion_lessons, motion_steps, motion_batch: of MotionNet, on the tracks that FrameNet finds in the
            first so many lessons; a sample is a clip.
        lr, adam_lr: at full rate, for matrices and for the rest.
        weight_decay: of matrices.
        seed: of the networks' start and of the order of samples.
    """

    lessons: int
    frame_steps: int
    frame_batch: int
    figure_steps: int
    figure_batch: int
    camera_steps: int
    camera_batch: int
    motion_lessons: int
    motion_steps: int
    motion_batch: int
    lr: float
    adam_lr: float
    weight_decay: float
    seed: int


def evaluator_shipped() -> EvaluatorRecipe:
    """What ships."""
    return EvaluatorRecipe(
        lessons=4500,
        frame_steps=900,
        frame_batch=48,
        figure_steps=1200,
        figure_batch=48,
        camera_steps=550,
        camera_batch=48,
        motion_lessons=3200,
        motion_steps=700,
        motion_batch=128,
        lr=4e-3,
        adam_lr=2e-3,
        weight_decay=0.1,
        seed=0,
    )


def fit_evaluator(
    folder: Path,
    recipe: EvaluatorRecipe,
    *,
    lessons: Lessons | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Render the lessons (unless they are given), fit the four networks, write the weights.

    Returns:
        The weights file in `folder`, with its hash beside it, as `weights.load` reads them.
    """
    note = on_progress or (lambda _what, _done, _total: None)
    lessons = lessons or render_lessons(recipe.lessons, lambda done, total: note("rendering", done, total))
    torch.manual_seed(recipe.seed)
    evaluator = Evaluator()
    _fit_frame(evaluator, lessons, recipe, note)
    _fit_figure(evaluator, lessons, recipe, note)
    _fit_camera(evaluator, lessons, recipe, note)
    _fit_motion(evaluator, lessons, recipe, note)
    _fit_features(evaluator, lessons)
    folder.mkdir(parents=True, exist_ok=True)
    return weights.save(evaluator, folder / weights.NAME)


def _fit(
    network: nn.Module,
    recipe: EvaluatorRecipe,
    steps: int,
    loss: Callable[[np.random.Generator, torch.Generator], Tensor],
    note: Callable[[int], None],
    adam_for: tuple[str, ...],
) -> None:
    network.train()
    optimizers = Optimizers(
        network, lr=recipe.lr, adam_lr=recipe.adam_lr, weight_decay=recipe.weight_decay, adam_for=adam_for
    )
    for step in range(steps):
        rng = np.random.default_rng([recipe.seed, step])
        loss(rng, torch.Generator().manual_seed(recipe.seed + step)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizers.step(learning_rate_scale(step, step / steps, warmup_steps=20, decay_from=0.3))
        note(step + 1)


def _fit_frame(evaluator: Evaluator, lessons: Lessons, recipe: EvaluatorRecipe, note: Progress) -> None:
    network = evaluator.frame
    clips, frames = lessons.small.shape[:2]
    classes = {name: torch.from_numpy(values) for name, values in lessons.classes.items()}

    def loss(rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        clip = rng.integers(clips, size=recipe.frame_batch)
        now = rng.integers(frames, size=recipe.frame_batch)
        around = np.clip(now[:, None] + np.arange(-1, 2), 0, frames - 1)
        triple = as_network(lessons.small[clip[:, None], around]).flatten(1, 2)
        place, point, scene = network(worn(triple, generator))
        target = torch.from_numpy(lessons.track[clip, now])
        return (
            10 * F.smooth_l1_loss(place[:, :2], target[:, :2], beta=0.02)
            + F.smooth_l1_loss(place[:, 2], target[:, 2], beta=0.1)
            + F.cross_entropy(network.background(scene), classes["background"][clip])
            + F.cross_entropy(network.look(scene), classes["look"][clip])
            + 0.5 * F.cross_entropy(network.hint(point), classes["motion"][clip])
        )

    _fit(
        network, recipe, recipe.frame_steps, loss, lambda step: note("frames", step, recipe.frame_steps),
        ("background", "look", "hint", "heat"),
    )  # fmt: skip


def _fit_figure(evaluator: Evaluator, lessons: Lessons, recipe: EvaluatorRecipe, note: Progress) -> None:
    network = evaluator.figure
    clips, views = lessons.detail.shape[:2]
    classes = {name: torch.from_numpy(values) for name, values in lessons.classes.items()}

    def loss(rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        clip = rng.integers(clips, size=recipe.figure_batch)
        view = rng.integers(views, size=recipe.figure_batch)
        place = lessons.track[clip, np.array(DETAIL_FRAMES)[view]]
        # As FrameNet will cut: not quite in the middle, not quite at size.
        error = rng.normal(0, (0.06, 0.06, 0.1), place.shape)
        error[:, :2] *= np.exp(place[:, 2:])
        places = torch.from_numpy((place + error).astype(np.float32))
        crops = cut_out(as_network(lessons.detail[clip, view]), places)
        features = network(worn(crops, generator))
        subject = F.cross_entropy(network.subject(features), classes["subject"][clip], label_smoothing=0.05)
        colour = F.cross_entropy(
            network.colour(features), classes["colour"][clip], ignore_index=UNKNOWN, reduction="sum"
        )
        return subject + 0.5 * colour / recipe.figure_batch

    _fit(
        network, recipe, recipe.figure_steps, loss, lambda step: note("figures", step, recipe.figure_steps),
        ("subject", "colour"),
    )  # fmt: skip


def _fit_camera(evaluator: Evaluator, lessons: Lessons, recipe: EvaluatorRecipe, note: Progress) -> None:
    network = evaluator.camera
    still, left, right, nearer, away, up = range(len(CLASSES["camera"]))
    mirrored = np.array([still, right, left, nearer, away, up])
    backwards = np.array([still, right, left, away, nearer, UNKNOWN])  # no class tilts down

    def loss(rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        clip = rng.integers(len(lessons.small), size=recipe.camera_batch)
        camera = lessons.classes["camera"][clip]
        pictures = lessons.small[clip, ::CAMERA_EVERY]
        flip = rng.random(len(clip)) < 0.5
        pictures[flip], camera[flip] = pictures[flip, :, :, ::-1], mirrored[camera[flip]]
        turn = (rng.random(len(clip)) < 0.5) & (backwards[camera] != UNKNOWN)
        pictures[turn], camera[turn] = pictures[turn, ::-1], backwards[camera[turn]]
        frozen = rng.random(len(clip)) < 0.04
        pictures[frozen], camera[frozen] = pictures[frozen, :1], still
        grey = worn(as_network(pictures).mean(2), generator, colours=1)
        return F.cross_entropy(network(levelled(grey)), torch.from_numpy(camera))

    _fit(
        network, recipe, recipe.camera_steps, loss, lambda step: note("camera", step, recipe.camera_steps),
        ("camera",),
    )  # fmt: skip


@torch.inference_mode()
def _walks(evaluator: Evaluator, small: np.ndarray, seed: int, note: Progress) -> tuple[Tensor, Tensor]:
    """Tracks and features of clips, worn, as FrameNet sees them."""
    evaluator.eval()
    tracks, points = [], []
    generator = torch.Generator().manual_seed(seed)
    count = len(small)
    for start in range(0, count, 8):
        frames = as_network(small[start : start + 8])
        frames = worn(frames.flatten(1, 2), generator).unflatten(1, (-1, 3))
        track, point, _ = evaluator.walk(frames)
        tracks.append(track)
        points.append(point)
        note("tracks", min(start + 8, count), count)
    return torch.cat(tracks), torch.cat(points)


def _fit_motion(evaluator: Evaluator, lessons: Lessons, recipe: EvaluatorRecipe, note: Progress) -> None:
    network = evaluator.motion
    walks = _walks(evaluator, lessons.small[: recipe.motion_lessons], recipe.seed, note)
    tracks, points = (part.clone() for part in walks)  # what was made in inference mode cannot be trained on
    motions = torch.from_numpy(lessons.classes["motion"][: recipe.motion_lessons])
    stays = CLASSES["motion"].index("stays")

    def loss(rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        clip = torch.from_numpy(rng.integers(len(motions), size=recipe.motion_batch))
        track, point, motion = tracks[clip], points[clip], motions[clip]
        frozen = torch.from_numpy(rng.random(len(clip)) < 0.04)
        track[frozen], point[frozen], motion[frozen] = track[frozen, :1], point[frozen, :1], stays
        track = track + 0.004 * torch.randn(track.shape, generator=generator)
        point = F.dropout(point, 0.1)
        return F.cross_entropy(network(track, point)[0], motion, label_smoothing=0.02)

    _fit(
        network, recipe, recipe.motion_steps, loss, lambda step: note("motion", step, recipe.motion_steps),
        ("motion",),
    )  # fmt: skip


@torch.inference_mode()
def _fit_features(evaluator: Evaluator, lessons: Lessons) -> None:
    """The principal directions of the features of some lessons, each feature first scaled to unit spread."""
    evaluator.eval()
    count = min(len(lessons.small), 800)
    parts = [slice(start, start + 8) for start in range(0, count, 8)]
    raw = torch.cat([evaluator.examine(lessons.small[p], lessons.detail[p])[2] for p in parts])
    spread = raw.std(0) + 1e-3
    _, _, directions = torch.linalg.svd((raw - raw.mean(0)) / spread, full_matrices=False)
    evaluator.feature_mean.copy_(raw.mean(0))
    evaluator.feature_basis[:, : min(FEATURES, len(directions))] = (directions[:FEATURES] / spread).T
