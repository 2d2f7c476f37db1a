"""A finished MP4 of ours as a stream again, to be cut or to become another kind of file."""

# PyAV leaves some type parameters of its packets open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import av
import av.error

from hibari.contracts import ClipStream, InputError, Recipe
from hibari.media.read import decode_frames
from hibari.media.recipe import read_recipe


def read_clip(path: Path) -> ClipStream:
    """A video file that `write_clip` wrote, with its recipe; frames are decoded as they are taken.

    Raises:
        InputError: it cannot be read, or carries no recipe.
    """
    recipe = Recipe.from_dict(read_recipe(path))
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = stream.average_rate
            if not rate or not stream.frames:
                raise InputError(f"{path} does not say how many frames it has")
            size = stream.codec_context.width, stream.codec_context.height
            frames = stream.frames
    except av.error.FFmpegError as error:
        raise InputError(f"{path} is not a video that can be read: {error.strerror}") from error
    return ClipStream(decode_frames(path), *size, round(rate), frames, recipe)


def trimmed(clip: ClipStream, first: int, last: int) -> ClipStream:
    """The frames `first` to `last` of a clip, counted from 0.

    Raises:
        ValueError: there are no such frames.
    """
    if not 0 <= first <= last < clip.frame_count:
        raise ValueError(f"frames {first} to {last} of {clip.frame_count}")
    done = f"kept the frames {first} to {last} of 0 to {clip.frame_count - 1}, encoded once more"
    recipe = replace(
        clip.recipe,
        postprocess=(*clip.recipe.postprocess, done),
        extra={**clip.recipe.extra, "tool": "trim"},
    )
    frames = islice(clip.frames, first, last + 1)
    return replace(clip, frames=frames, frame_count=last - first + 1, recipe=recipe)
