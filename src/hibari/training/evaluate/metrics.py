"""Figures about clips that need no truth: flicker, motion, copying, and the distance between sets of
clips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import cv2
import numpy as np

THUMBNAIL_PX = 16
THUMBNAIL_FRAMES = 5


def flicker(clip: np.ndarray) -> float:
    """VBench's temporal flickering (Huang et al., 2024): (255 - mean absolute difference of successive
    frames) / 255.

    1 is a clip that stands still; VBench calls higher better and applies it to static scenes, so read it
    beside the same figure of real renders.

    Args:
        clip: uint8 [frames, height, width, 3], two frames or more.
    """
    return 1 - motion_amount(clip) / 255


def motion_amount(clip: np.ndarray) -> float:
    """Mean absolute difference of successive frames, 0 to 255."""
    if len(clip) < 2:
        raise ValueError(f"the clip has {len(clip)} frame; differences need two")
    return float(np.mean([cv2.absdiff(a, b).mean() for a, b in pairwise(clip)]))


def flow_amount(clip: np.ndarray, *, every: int = 4) -> float:
    """Mean length of the optical flow (Farneback) between successive frames, px a frame.

    Args:
        clip: uint8 [frames, height, width, 3], two frames or more.
        every: how many pairs of frames to go on by; 1 looks at all.
    """
    lengths = []
    for index in range(0, len(clip) - 1, every):
        before, after = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip[index : index + 2])
        start = np.zeros((*before.shape, 2), np.float32)
        flow = cv2.calcOpticalFlowFarneback(before, after, start, 0.5, 3, 15, 3, 5, 1.2, 0)
        lengths.append(np.linalg.norm(flow, axis=-1).mean())
    return float(np.mean(lengths))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal to noise ratio of pixels in 0 to 255, dB; 100 where nothing differs, since JSON knows no infinity."""
    error = np.square(one.astype(np.float64) - other).mean()
    return float(10 * np.log10(255**2 / error)) if error else 100.0


def thumbnail(clip: np.ndarray) -> np.ndarray:
    """A clip as a point: float32 [5 * 16 * 16 * 3], in 0 to 1, from five frames spread over it."""
    picked = clip[np.linspace(0, len(clip) - 1, THUMBNAIL_FRAMES).round().astype(int)]
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in picked])
    return small.astype(np.float32).ravel() / 255


def nearest_distances(clips: Iterable[np.ndarray], training: np.ndarray) -> np.ndarray:
    """How far each clip is from the nearest training clip: root mean square difference of thumbnails,
    [clips].

    Args:
        clips: uint8 [frames, height, width, 3] each.
        training: thumbnails of training clips [count, ...].
    """
    points = np.stack([thumbnail(clip) for clip in clips])
    squares = (points**2).sum(1)[:, None] + (training**2).sum(1)[None] - 2 * points @ training.T
    return np.sqrt(np.maximum(squares, 0).min(1) / points.shape[1])


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of two sets of features [count, features], each taken as a normal distribution.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson and Landau, 1982; Heusel et al., 2017, for images).
    Small sets are far from each other even if drawn from one source: give two sets of equal size, and a
    floor.
    """
    means = first.mean(0, dtype=np.float64), second.mean(0, dtype=np.float64)
    covariances = [np.cov(part.astype(np.float64), rowvar=False) for part in (first, second)]
    # The eigenvalues of C1 C2 are those of the symmetric S C2 S with S = C1^(1/2).
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariances[1] @ root), 0)).sum()
    spread = np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * cross
    return float(max(0.0, np.sum((means[0] - means[1]) ** 2) + spread))


def share_right(said: np.ndarray, true: np.ndarray, counted: np.ndarray) -> float | None:
    """Share of the counted cases where what was said is true; None if none is counted."""
    return float((said == true)[counted].mean()) if counted.any() else None


def frozen(clip: np.ndarray) -> np.ndarray:
    """The first frame, as long as the clip."""
    return np.repeat(clip[:1], len(clip), axis=0)


def noise_clip(seed: int, shape: Sequence[int]) -> np.ndarray:
    """Uniform noise, uint8: what a model that knows nothing might at least do."""
    return np.random.default_rng([23, seed]).integers(0, 256, shape, dtype=np.uint8)
