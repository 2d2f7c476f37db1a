"""Another rate of frames: what lies between two frames is found by following what moves.

Optical flow (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", 2016; OpenCV's) leads from each frame to
the next and back. A pixel of a moment between takes one of three paths, the one on which both frames agree best: what
the flow onwards says, what the flow back says, or that nothing moves. Both frames are drawn along it and mixed by
nearness, so that what no path explains, rain or a cut, is blended.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import cv2 as opencv
import numpy as np

from hibari.media.frames import Frame

cv2: Any = opencv  # its stubs refuse the None that its functions ask for, and say little of what they return

FLOW_PX = 192  # the longer side, at most, of the pictures in which motion is looked for
FINEST = 1  # motion is looked for down to half of that: 0.3 dB less than down to the whole, in less than half the time
PERSUASION = 0.7  # the disagreement on another path must be below so much of the one before it
CUT = 24.0  # levels of 255 in the mean of a picture, from which on what no path explains is taken for a cut
AROUND_PX = 3  # of the square over which the agreement is averaged


def retimed(source: Iterator[Frame], source_fps: int, fps: int, frames: int) -> Iterator[Frame]:
    """So many frames at `fps`, frame i at source position i * source_fps / fps; those that the source has stay as they
    are. In whole numbers, so that nothing drifts. Two frames of the source are held at a time."""
    cv2.setNumThreads(1)  # the flow depends on the number of threads, and a clip shall not
    before, before_index = next(source), 0
    motion: _Motion | None = None  # from `before` to the frame after it, once that was needed
    for i in range(frames):
        index, part = divmod(i * source_fps, fps)  # part / fps of the way from frame `index` to the next one
        while before_index < index:
            before, before_index = motion.after if motion else next(source), before_index + 1
            motion = None
        if part == 0:
            yield before
            continue
        motion = motion or _Motion(before, next(source))
        yield motion.between(part / fps)


class _Motion:
    """From one frame to the next."""

    def __init__(self, before: Frame, after: Frame) -> None:
        self.before, self.after = before, after
        self._moves = not np.array_equal(before, after)
        if not self._moves:
            return
        height, width = before.shape[:2]
        shrink = min(1.0, FLOW_PX / max(width, height))
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        self._small = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in (before, after)]
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in self._small]
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        search.setFinestScale(FINEST)
        # A picture must hold the search's patches at its finest scale.
        still = np.zeros((*grey[0].shape, 2), np.float32)
        fits = min(size) >> FINEST >= 2 * search.getPatchSize()
        self._onwards = search.calc(grey[0], grey[1], None) if fits else still
        self._back = search.calc(grey[1], grey[0], None) if fits else still

    def between(self, part: float) -> Frame:
        """The frame at `part` of the way, 0 to 1."""
        if not self._moves:
            return self.before
        path = self._path(part)
        height, width = self.before.shape[:2]
        scale = np.array([width / path.shape[1], height / path.shape[0]], np.float32)
        if scale.max() > 1:
            path = cv2.resize(path, (width, height), interpolation=cv2.INTER_LINEAR) * scale
        one, other = _drawn(self.before, self.after, path, part)
        return cv2.addWeighted(one, 1 - part, other, part, 0)

    def _path(self, part: float) -> np.ndarray:
        """For each pixel of the moment how far it moves from frame to frame, px of the small pictures, [h, w, 2]."""
        # A flow belongs to the pixels of its own frame: it is read where the pixel was there, were all around it alike.
        onwards = _read(self._onwards, -part * self._onwards)
        back = -_read(self._back, (part - 1) * self._back)
        small, small_after = self._small
        still = _disagreement(small, small_after)
        best, least = np.zeros_like(onwards), still
        for path in (onwards, back):
            here = _disagreement(*_drawn(small, small_after, path, part))
            better = here < PERSUASION * least
            best[better] = path[better]
            least = np.where(better, here, least)
        is_cut = still.mean() > CUT and least.mean() > PERSUASION * still.mean()
        return np.zeros_like(best) if is_cut else best


def _read(picture: np.ndarray, offset_px: np.ndarray) -> np.ndarray:
    """A picture read at so many pixels, [H, W, (x, y)], from each pixel; beyond the edge the edge goes on."""
    at_px = cv2.add(offset_px, _places(*offset_px.shape[:2]))
    return cv2.remap(picture, at_px, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


@lru_cache(maxsize=4)
def _places(height: int, width: int) -> np.ndarray:
    """Each pixel's (x, y), [H, W, 2]."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], -1)


def _drawn(before: Frame, after: Frame, path: np.ndarray, part: float) -> tuple[Frame, Frame]:
    """Both frames as they are at a moment between them, if everything moves along its path."""
    return _read(before, -part * path), _read(after, (1 - part) * path)


def _disagreement(one: Frame, other: Frame) -> np.ndarray:
    """Levels of 255, [H, W], averaged over what is around."""
    apart = cv2.cvtColor(cv2.absdiff(one, other), cv2.COLOR_RGB2GRAY)
    return cv2.blur(apart.astype(np.float32), (AROUND_PX, AROUND_PX))
