"""A stream of frames becomes a file: whole, or not at all.

Everything is written to a hidden file beside the target, which then takes the target's place in one step.
Whatever goes wrong on the way, Ctrl-C included, the hidden file is removed and what was there before stays as
it was.

The same frames and recipe give the same bytes: the number of encoder threads is fixed, and nothing writes the
time or a random id (`bitexact`).
"""

# PyAV leaves some type parameters of its packets open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

import av
import av.error
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hibari.contracts import ClipStream, InvalidRequest, OutputError
from hibari.media.ahead import ahead
from hibari.media.frames import Frame
from hibari.media.recipe import KEY, comment, exif, stamp_gif, stamp_webp

_ENCODER_THREADS = 2
_PROBE_BYTES = 4096  # a full disk still takes an empty file


def write_clip(clip: ClipStream, path: Path, *, on_frame: Callable[[int], None] | None = None) -> None:
    """Write the clip, with its recipe inside. The suffix of `path` decides the format (`SUFFIXES`).

    Memory does not grow with the clip's length. Frames are made in a thread of their own, a few ahead. `on_frame` is
    called with the number of frames taken so far.
    A file that is already there is replaced, and only by a complete one.

    Raises:
        OutputError: it cannot be written there, or the disk is full.
        InvalidRequest: a clip of several frames cannot be a .png.
    """
    write = _writer(path)
    check_writable(path, frames=clip.frame_count)
    target = path.resolve()  # of a symbolic link, the file behind it is replaced and the link stays
    with _explained(path), _beside(target) as part, ahead(clip.frames) as frames:
        write(_checked(clip, frames, on_frame), clip, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())  # a disk that fills up late says so here
        part.replace(target)


def check_writable(path: Path, *, frames: int | None = None) -> None:
    """Refuse now what `write_clip` would refuse after the work is done. Leaves nothing behind.

    Raises:
        OutputError: the suffix is unknown, the folder is missing or cannot be written to, the target is no
            ordinary file, the disk is full.
        InvalidRequest: `frames` is more than one and the suffix is .png.
    """
    _writer(path)
    if path.suffix.lower() == ".png" and frames is not None and frames > 1:
        raise InvalidRequest(
            f"{path.name} would have to hold {frames} frames; .png holds one (seconds 0), "
            f"the others are {', '.join(suffix for suffix in SUFFIXES if suffix != '.png')}",
            field="output",
        )
    with _explained(path):
        target = path.resolve()
        if not target.parent.exists():
            raise OutputError(f"cannot write {path}: the folder {target.parent} does not exist")
        with suppress(FileNotFoundError):
            mode = target.stat().st_mode
            if stat.S_ISDIR(mode):
                raise OutputError(f"cannot write {path}: it is a folder")
            if not stat.S_ISREG(mode):
                raise OutputError(f"cannot write {path}: it is not an ordinary file")
            if not os.access(target, os.W_OK):
                raise OutputError(f"cannot write {path}: the file is write-protected")
        with _beside(target) as part:
            part.write_bytes(b"\0" * _PROBE_BYTES)


@contextmanager
def _explained(path: Path) -> Generator[None]:
    """Turns the system's errors into ours; PyAV's errors of files are OSErrors too."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(f"cannot write {path}: the disk is full ({_free(path)} free)") from error
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OutputError(f"cannot write {path}: {reason}") from error


def _free(path: Path) -> str:
    free_bytes = shutil.disk_usage(path.resolve().parent).free
    return f"{free_bytes / 1e6:,.1f} MB"


@contextmanager
def _beside(target: Path) -> Generator[Path]:
    """A new hidden file in the target's folder, with the rights of any new file there; gone afterwards."""
    part = target.parent / f".hibari-{secrets.token_hex(8)}.part"
    try:  # before there is a file: a signal may come at any moment
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield part
    finally:
        part.unlink(missing_ok=True)


def _checked(
    clip: ClipStream, frames: Iterator[Frame], on_frame: Callable[[int], None] | None
) -> Iterator[Frame]:
    """The clip's frames, held to what the clip says of them."""
    shape, count = (clip.height, clip.width, 3), 0
    for frame in frames:
        if frame.shape != shape or frame.dtype != np.uint8:
            raise ValueError(f"frame {count} is {frame.dtype} {frame.shape}; the clip has uint8 {shape}")
        count += 1
        yield frame
        if on_frame:
            on_frame(count)
    if count != clip.frame_count:
        raise ValueError(f"the stream had {count} frames; the clip has {clip.frame_count}")


@dataclass(frozen=True, slots=True)
class _VideoFormat:
    """How a container with YUV video is written."""

    muxer: str
    muxer_options: dict[str, str]
    codec: Literal["libx264", "libvpx-vp9"]
    codec_options: dict[str, str]

    def __call__(self, frames: Iterator[Frame], clip: ClipStream, path: Path) -> None:
        with av.open(str(path), "w", format=self.muxer, options=self.muxer_options) as container:
            container.metadata[KEY] = clip.recipe.to_json()
            container.metadata["comment"] = comment(clip.recipe)
            stream = container.add_stream(self.codec, rate=clip.fps, options=self.codec_options)
            stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
            context = stream.codec_context
            context.thread_count = _ENCODER_THREADS
            # Without these tags a player guesses the matrix by the size, and guesses wrong for small
            # pictures.
            context.color_range = ColorRange.MPEG
            context.colorspace = Colorspace.ITU709
            context.color_primaries = ColorPrimaries.BT709
            context.color_trc = ColorTrc.BT709
            for index, frame in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
                    format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
                )
                picture.pts, picture.time_base = index, Fraction(1, clip.fps)
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))


_MP4 = _VideoFormat(
    muxer="mp4",
    muxer_options={"movflags": "+faststart+use_metadata_tags", "fflags": "+bitexact"},
    codec="libx264",
    # The lookahead holds whole pictures: at 1920x1080 the preset's 40 would cost some 120 MB more than 10 do.
    codec_options={"profile": "high", "crf": "18", "preset": "veryfast", "rc-lookahead": "10"},
)

_WEBM = _VideoFormat(
    muxer="webm",
    muxer_options={"fflags": "+bitexact"},
    codec="libvpx-vp9",
    codec_options={
        "crf": "24",
        "b": "0",  # quality alone decides the rate
        "deadline": "good",
        "cpu-used": "4",
        "row-mt": "0",  # rows in parallel would make the bytes depend on timing
        "lag-in-frames": "10",
    },
)


def _write_gif(frames: Iterator[Frame], clip: ClipStream, path: Path) -> None:
    """Each frame has a palette of its own: the colours are as right at the end as at the start, and no frame
    has to wait for those after it, which one palette for all would need. Ordered dither, because it keeps
    still while error diffusion crawls from frame to frame."""
    # GIF counts in hundredths of a second, so that 30 frames a second become delays of 3, 3 and 4.
    with av.open(str(path), "w", format="gif", options={"fflags": "+bitexact", "loop": "0"}) as container:
        stream = container.add_stream("gif", rate=clip.fps)
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "pal8"
        time_base = Fraction(1, clip.fps)

        graph = Graph()
        rgb = av.VideoFormat("rgb24", clip.width, clip.height)
        source = graph.add_buffer(width=clip.width, height=clip.height, format=rgb, time_base=time_base)
        split = graph.add("split")
        palette = graph.add("palettegen", "stats_mode=single")
        use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4")
        sink = graph.add("buffersink")
        source.link_to(split)
        split.link_to(palette, 0, 0)
        split.link_to(use, 1, 0)
        palette.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()

        def ready() -> Iterator[av.VideoFrame]:
            while True:
                try:
                    yield cast(av.VideoFrame, graph.pull())
                except (av.error.BlockingIOError, av.error.EOFError):
                    return

        written = 0

        def encode_ready() -> None:
            nonlocal written
            for picture in ready():
                picture.pts, picture.time_base = written, time_base
                container.mux(stream.encode(picture))
                written += 1

        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = index, time_base
            graph.push(picture)
            encode_ready()
        graph.push(None)
        encode_ready()
        container.mux(stream.encode(None))
    stamp_gif(path, clip.recipe)


def _write_webp(frames: Iterator[Frame], clip: ClipStream, path: Path) -> None:
    """Animated WebP. Through libwebp's animation encoder in PyAV, because Pillow's wants all frames at once;
    one frame alone goes through Pillow, because an animation of one is not an animation."""
    if clip.frame_count == 1:
        for frame in frames:
            Image.fromarray(frame).save(path, "WEBP", quality=85, method=4, exif=exif(clip.recipe))
        return
    with av.open(str(path), "w", format="webp", options={"fflags": "+bitexact", "loop": "0"}) as container:
        stream = container.add_stream(
            "libwebp_anim", rate=clip.fps, options={"quality": "85", "compression_level": "4"}
        )
        # RGB goes in, so that libwebp makes its own YUV (BT.601, as the format says).
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "bgra"
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgra")
            picture.pts, picture.time_base = index, Fraction(1, clip.fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    stamp_webp(path, clip.recipe)


def _write_png(frames: Iterator[Frame], clip: ClipStream, path: Path) -> None:
    info = PngInfo()
    info.add_itxt(KEY, clip.recipe.to_json())
    info.add_itxt("Comment", comment(clip.recipe))
    for frame in frames:
        Image.fromarray(frame).save(path, "PNG", pnginfo=info)


_WRITERS: dict[str, Callable[[Iterator[Frame], ClipStream, Path], None]] = {
    ".mp4": _MP4,
    ".webm": _WEBM,
    ".gif": _write_gif,
    ".webp": _write_webp,
    ".png": _write_png,
}
SUFFIXES = tuple(_WRITERS)
"""What a file's name can end with."""


def _writer(path: Path) -> Callable[[Iterator[Frame], ClipStream, Path], None]:
    try:
        return _WRITERS[path.suffix.lower()]
    except KeyError:
        ending = f"ends with {path.suffix}" if path.suffix else "has no ending"
        raise OutputError(
            f"cannot write {path}: its name {ending}; it can be one of {', '.join(SUFFIXES)}"
        ) from None
