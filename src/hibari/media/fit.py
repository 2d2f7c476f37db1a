"""From the model's own size and rate to the wanted ones, frame by frame, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from hibari.contracts import ClipStream
from hibari.media.frames import Frame


def fit(clip: ClipStream, *, width: int, height: int, fps: int, frames: int) -> ClipStream:
    """The clip with another size, rate and length. Whatever is equal already stays untouched.

    First time, then space: frame i is shown at i / fps seconds and is mixed from the two frames of the source
    around that moment, each with its nearness as weight. Then the largest central part that has the wanted
    shape is resized with a Lanczos filter; nothing is stretched. What was done is added to the recipe's
    `postprocess`.

    Raises:
        ValueError: the source is too short to reach the last frame.
    """
    if frames < 1 or (frames - 1) * clip.fps > (clip.frame_count - 1) * fps:
        raise ValueError(
            f"{clip.frame_count} frames at {clip.fps} fps do not reach frame {frames} at {fps} fps"
        )
    stream: Iterator[Frame] = clip.frames
    done: list[str] = []
    if fps != clip.fps:
        stream = _retimed(stream, clip.fps, fps, frames)
        done.append(
            f"retimed from {clip.fps} to {fps} frames a second by blending neighbouring frames, "
            f"{clip.frame_count} -> {frames} frames"
        )
    elif frames != clip.frame_count:
        stream = _first(stream, frames)
        done.append(f"kept the first {frames} of {clip.frame_count} frames")
    if (width, height) != (clip.width, clip.height):
        box = central_box(clip.width, clip.height, width, height)
        stream = _resized(stream, box, width, height)
        box_width, box_height = box[2] - box[0], box[3] - box[1]
        if (box_width, box_height) != (clip.width, clip.height):
            done.append(
                f"cropped centrally from {clip.width}x{clip.height} to {box_width:.6g}x{box_height:.6g} px"
            )
        done.append(f"resized from {box_width:.6g}x{box_height:.6g} to {width}x{height} px (Lanczos)")
    if not done:
        return clip
    return ClipStream(
        frames=stream,
        width=width,
        height=height,
        fps=fps,
        frame_count=frames,
        recipe=replace(clip.recipe, postprocess=(*clip.recipe.postprocess, *done)),
    )


def _first(source: Iterator[Frame], frames: int) -> Iterator[Frame]:
    for _ in range(frames):
        yield next(source)


def _retimed(source: Iterator[Frame], source_fps: int, fps: int, frames: int) -> Iterator[Frame]:
    """Frame i lies at source position i * source_fps / fps. In whole numbers, so that nothing drifts."""
    before, before_index = next(source), 0
    after = before  # the frame after `before`, once it was needed
    after_index = 0
    for i in range(frames):
        index, part = divmod(i * source_fps, fps)  # part / fps of the way from frame `index` to the next one
        while before_index < index:
            if after_index == before_index:
                after, after_index = next(source), after_index + 1
            before, before_index = after, after_index
        if part == 0:
            yield before
            continue
        if after_index == before_index:
            after, after_index = next(source), after_index + 1
        mixed = before.astype(np.uint16) * (fps - part) + after.astype(np.uint16) * part
        yield ((mixed + fps // 2) // fps).astype(np.uint8)


def central_box(width: int, height: int, to_width: int, to_height: int) -> tuple[float, float, float, float]:
    """The largest central (left, top, right, bottom) in px that has the shape to_width : to_height."""
    box_width = min(float(width), height * to_width / to_height)
    box_height = min(float(height), width * to_height / to_width)
    left, top = (width - box_width) / 2, (height - box_height) / 2
    return left, top, left + box_width, top + box_height


def _resized(
    source: Iterator[Frame], box: tuple[float, float, float, float], width: int, height: int
) -> Iterator[Frame]:
    for frame in source:
        image = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS, box=box)
        yield np.asarray(image)
