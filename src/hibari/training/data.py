"""Training clips on demand: what step n sees depends on n alone, whoever renders it.

The autoencoder sees crops of fresh clips, the upscaler frames of fresh clips in two sizes. The transformer sees
latents, which are made once, in shards of clips of one shape, by a process that works ahead; captions go through the
text encoder at the same time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hibari.training.world.captions import caption
from hibari.training.world.render import FPS, FRAMES, SHAPES, render
from hibari.training.world.spec import ClipSpec, draw

AUTOENCODER_SEEDS = 1_000_000_000  # the seeds of its clips begin here; the transformer's begin at 0
UPSCALER_SEEDS = 1_500_000_000


def crops(step: int, *, clips: int, crop_px: int, crop_frames: int, near_subject: float) -> np.ndarray:
    """Crops of one autoencoder step: uint8 [2 * clips, crop_frames, crop_px, crop_px, 3].

    Each clip gives one crop of its beginning and one of its end.
    """
    rng = np.random.default_rng([11, step])
    out = np.empty((2 * clips, crop_frames, crop_px, crop_px, 3), np.uint8)
    for index in range(clips):
        spec = draw(AUTOENCODER_SEEDS + step * clips + index)
        clip = render(spec)
        for half, start in enumerate((0, len(clip) - crop_frames)):
            x, y = _corner(spec, clip.shape, start + crop_frames // 2, crop_px, near_subject, rng)
            out[2 * index + half] = clip[start : start + crop_frames, y : y + crop_px, x : x + crop_px]
    return out


def _corner(
    spec: ClipSpec,
    shape: tuple[int, ...],
    frame: int,
    crop_px: int,
    near_subject: float,
    rng: np.random.Generator,
) -> tuple[int, int]:
    height, width = shape[1:3]
    x, y = rng.uniform(0, width - crop_px), rng.uniform(0, height - crop_px)
    if rng.random() < near_subject:
        figure = spec.figures[int(rng.integers(len(spec.figures)))]
        middle_x, middle_y, _, _ = spec.course(figure, np.array([frame / FPS]))
        x = middle_x[0] * width - crop_px / 2 + rng.uniform(-16, 16)
        y = middle_y[0] * height - crop_px / 2 + rng.uniform(-16, 16)
    return int(np.clip(x, 0, width - crop_px)), int(np.clip(y, 0, height - crop_px))


@dataclass(frozen=True)
class Pairs:
    """Parts of clips, small and large.

    Attributes:
        small: uint8 [clips, frames, height, width, 3].
        shown: int64 [clips, shown frames]: which of the frames are in `large`.
        large: uint8 [clips, shown frames, height * density, width * density, 3].
    """

    small: np.ndarray
    shown: np.ndarray
    large: np.ndarray


def pairs(step: int, *, clips: int, frames: int, block: int, density: int, rows: slice) -> Pairs:
    """Those of one upscaler step; all clips of a step have one shape.

    Args:
        clips: of the whole step.
        frames: 1 + block * k, from a random moment on; shown is one of each block after the first.
        density: by how much the large ones are larger.
        rows: which of the clips are drawn.
    """
    width, height = shape_of(step)
    parts = []
    for index in range(clips)[rows]:
        seed = UPSCALER_SEEDS + step * clips + index
        rng = np.random.default_rng([12, seed])
        blocks = np.arange(1, frames, block)
        start, shown = int(rng.integers(FRAMES - frames + 1)), blocks + rng.integers(block, size=len(blocks))
        draws = partial(render, draw(seed), width=width, height=height)
        small = draws(only=range(start, start + frames))
        parts.append((small, shown, draws(density=density, only=(start + shown).tolist())))
    return Pairs(*(np.stack(part) for part in zip(*parts, strict=True)))


def shape_of(index: int) -> tuple[int, int]:
    """(width, height) in px of the clips of a shard or a step: three quarters are square, the rest half wide and half
    tall."""
    return SHAPES[{3: 1, 7: 2}.get(index % 8, 0)]


def end_with_parent() -> None:
    """See that this process ends when the one that started it does, even if that was killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _start_worker() -> None:
    end_with_parent()
    os.nice(10)  # it works ahead; the training is what should not wait for a core
    cv2.setNumThreads(1)


def in_order(function: Callable[[int], Any], start: int, *, workers: int) -> Iterator[Any]:
    """function(start), function(start + 1), ... for ever, computed ahead by `workers` processes (0: here)."""
    if workers == 0:
        index = start
        while True:
            yield function(index)
            index += 1
    with get_context("spawn").Pool(workers, _start_worker) as pool:
        ahead = [pool.apply_async(function, (start + k,)) for k in range(4 * workers)]
        index = start + len(ahead)
        while True:
            yield ahead.pop(0).get()
            ahead.append(pool.apply_async(function, (index,)))
            index += 1


@dataclass(frozen=True)
class ShardRequest:
    """What a shard holds.

    Attributes:
        index: its number; it holds the clips with seeds index * clips to (index + 1) * clips.
        clips: how many.
        captions: different captions a clip.
        autoencoder: its weights file, of which only the linear path, fixed from the start, is used.
        folder: where shards lie.
    """

    index: int
    clips: int
    captions: int
    autoencoder: Path
    folder: Path

    @property
    def path(self) -> Path:
        """The shard's file."""
        return self.folder / f"shard-{self.index:04d}.safetensors"

    @property
    def shape(self) -> tuple[int, int]:
        """(width, height) in px of its clips."""
        return shape_of(self.index)

    @cached_property
    def seeds(self) -> range:
        """Of its clips."""
        return range(self.index * self.clips, (self.index + 1) * self.clips)


def make_shard(request: ShardRequest) -> None:
    """Render, encode and write one shard (unless it is there): float16 `latent` [clips, C, F, H, W], what the figures
    cover of it, `covered` [clips, F, H, W], and the text encoder's `text` [clips, captions, L, D] with `length` [clips,
    captions]."""
    if request.path.exists():
        return
    # Here, not above: a process that only renders crops needs none of these.
    import torch
    from safetensors.torch import save_file

    from hibari.models.mini import weights
    from hibari.models.mini.autoencoder import SPACE_FACTOR, TIME_FACTOR
    from hibari.models.mini.text import MAX_TOKENS, TEXT_WIDTH
    from hibari.training.autoencoder import to_network

    torch.set_num_threads(1)
    network = weights.read_autoencoder(request.autoencoder)
    words = []
    width, height = request.shape
    # Allocated at once: small results kept between large temporary ones would fragment gigabytes of the heap.
    latent_frames = 1 + (FRAMES - 1) // TIME_FACTOR
    cells = (height // SPACE_FACTOR, width // SPACE_FACTOR)
    latent = torch.empty(
        request.clips, network.config.latent_channels, latent_frames, *cells, dtype=torch.float16
    )
    covered = torch.empty(request.clips, latent_frames, *cells, dtype=torch.float16)
    with torch.inference_mode():
        for index, seed in enumerate(request.seeds):
            spec = draw(seed)
            clip = to_network(render(spec, width=width, height=height)[None])
            latent[index] = network.encode(clip)[0].half()
            share = coverage(spec, cells).reshape(-1, TIME_FACTOR, *cells).mean(1)
            covered[index] = torch.from_numpy(share)
            words += [caption(spec, 1000 * seed + k) for k in range(request.captions)]
        encoder = _text_encoder()
        text = torch.zeros(len(words), MAX_TOKENS, TEXT_WIDTH, dtype=torch.float16)
        length = torch.zeros(len(words), dtype=torch.int64)
        # Sorted by length, so that batches hold little padding.
        order = sorted(range(len(words)), key=lambda k: len(words[k]))
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            features, mask = encoder([words[k] for k in chosen])
            text[chosen, : features.shape[1]] = features.half()
            length[chosen] = mask.sum(1)
    per_clip = (request.clips, request.captions)
    tensors = {
        "latent": latent,
        "covered": covered,
        "text": text.unflatten(0, per_clip),
        "length": length.unflatten(0, per_clip),
    }
    part = request.path.with_suffix(".part")
    save_file(tensors, part)
    part.replace(request.path)


def coverage(spec: ClipSpec, cells: tuple[int, int]) -> np.ndarray:
    """How much of each cell of a grid of (rows, columns) the figures' boxes cover, 0 to 1: float32 [3 + FRAMES, rows,
    columns], the first frame four times, as the autoencoder has it."""
    frame = np.maximum(np.arange(-3, FRAMES), 0)
    rows, cols = cells
    out = np.zeros((len(frame), rows, cols), np.float32)
    for figure in spec.figures:
        x, y, side, _ = spec.course(figure, frame / FPS)
        side_cells = side * min(cells)
        down = _overlap(y * rows, side_cells, rows)
        across = _overlap(x * cols, side_cells, cols)
        out = np.maximum(out, down[:, :, None] * across[:, None, :])
    return out


def _overlap(middle: np.ndarray, side: np.ndarray, cells: int) -> np.ndarray:
    """[frames, cells]: how much of each of the unit intervals 0..1, 1..2, ... lies within side / 2 of the middle."""
    low, high = (middle - side / 2)[:, None], (middle + side / 2)[:, None]
    edge = np.arange(cells)
    return np.clip(np.minimum(high, edge + 1) - np.maximum(low, edge), 0, 1).astype(np.float32)


_encoder: list[Any] = []  # loaded once a process


def _text_encoder() -> Any:
    import torch

    from hibari.models.mini.text import TextEncoder

    if not _encoder:
        _encoder.append(TextEncoder(torch.device("cpu")))
    return _encoder[0]


class Shards:
    """The latent cache: shards that a process makes ahead, loaded when a step first needs them."""

    def __init__(self, requests: list[ShardRequest], *, workers: int, made_elsewhere: bool = False) -> None:
        self._requests = requests
        self._made_elsewhere = made_elsewhere  # by a process that shares the batches with this one
        self._loaded: list[dict[str, Any]] = []
        self._pool = None
        if workers:
            # A fresh process now and then: oneDNN keeps a plan for each caption length, gigabytes after some shards.
            self._pool = get_context("spawn").Pool(workers, _start_worker, maxtasksperchild=4)
            self._pending = [self._pool.apply_async(make_shard, (request,)) for request in requests]

    def first(self, count: int) -> list[dict[str, Any]]:
        """The first `count` shards; waits for those that are not made yet."""
        from safetensors.torch import load_file

        while len(self._loaded) < min(count, len(self._requests)):
            request = self._requests[len(self._loaded)]
            if self._pool:
                self._pending[len(self._loaded)].get()
            elif self._made_elsewhere:
                while not request.path.exists():
                    time.sleep(0.2)
            else:
                make_shard(request)
            self._loaded.append(load_file(request.path))
        return self._loaded[:count]
