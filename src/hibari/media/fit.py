"""From the model's own size and rate to the wanted ones, frame by frame, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hibari.contracts import ClipStream
from hibari.media.frames import Frame


def fit(clip: ClipStream, *, width: int, height: int, fps: int, frames: int) -> ClipStream:
    """The clip with another size, rate and length. Whatever is equal already stays untouched.

    First time, then space: frame i is shown at i / fps seconds and is drawn from the two frames of the source
    around that moment by `retime`. Then the largest central part that has the wanted shape is resized: by cubic
    interpolation where it becomes larger, by means where it becomes smaller. What was done is added to the recipe's
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
        from hibari.media.retime import retimed  # OpenCV takes a fifth of a second

        stream = retimed(stream, clip.fps, fps, frames)
        done.append(
            f"retimed from {clip.fps} to {fps} frames a second along the optical flow, "
            f"{clip.frame_count} -> {frames} frames"
        )
    elif frames != clip.frame_count:
        stream = _first(stream, frames)
        done.append(f"kept the first {frames} of {clip.frame_count} frames")
    if (width, height) != (clip.width, clip.height):
        box = central_box(clip.width, clip.height, width, height)
        from hibari.media.resize import resized

        stream = resized(stream, width, height)
        box_width, box_height = box[2] - box[0], box[3] - box[1]
        if (box_width, box_height) != (clip.width, clip.height):
            done.append(
                f"cropped centrally from {clip.width}x{clip.height} to {box_width:.6g}x{box_height:.6g} px"
            )
        done.append(f"resized from {box_width:.6g}x{box_height:.6g} to {width}x{height} px")
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


def central_box(width: int, height: int, to_width: int, to_height: int) -> tuple[float, float, float, float]:
    """The largest central (left, top, right, bottom) in px that has the shape to_width : to_height."""
    box_width = min(float(width), height * to_width / to_height)
    box_height = min(float(height), width * to_height / to_width)
    left, top = (width - box_width) / 2, (height - box_height) / 2
    return left, top, left + box_width, top + box_height
