"""Defends: what is written plays, has the right colours and carries its recipe; and it is whole or not
there."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from hibari.contracts import ClipStream, InvalidRequest, OutputError
from hibari.media import SUFFIXES, check_writable, decode_frames, read_recipe, write_clip

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (200, 120, 40)]
MOVING = [suffix for suffix in SUFFIXES if suffix != ".png"]


def bars(count: int, *, width: int = 112, height: int = 64) -> list[np.ndarray]:
    """Bars of COLOURS; the upper eighth moves, so that no two frames are equal."""
    still = np.zeros((height, width, 3), np.uint8)
    for i, colour in enumerate(COLOURS):
        still[:, i * width // len(COLOURS) : (i + 1) * width // len(COLOURS)] = colour
    frames: list[np.ndarray] = []
    for n in range(count):
        frame = still.copy()
        frame[: height // 8] = np.roll(frame[: height // 8], 5 * n, axis=1)
        frames.append(frame)
    return frames


def centres(frame: np.ndarray) -> np.ndarray:
    """The colour in the middle of each bar."""
    height, width, _ = frame.shape
    columns = [(2 * i + 1) * width // (2 * len(COLOURS)) for i in range(len(COLOURS))]
    return frame[height // 2, columns].astype(int)


@pytest.mark.parametrize("suffix", MOVING)
def test_a_file_gives_back_frames_colours_and_recipe(suffix: str, tmp_path: Path, make_clip, recipe) -> None:
    path = tmp_path / f"a{suffix}"
    write_clip(make_clip(bars(9)), path)
    frames = list(decode_frames(path))
    assert [frame.shape for frame in frames] == [(64, 112, 3)] * 9
    for frame in frames:
        assert np.abs(centres(frame) - COLOURS).max() <= 6
    assert np.abs(frames[0][:4].astype(int) - frames[8][:4]).mean() > 10, "the frames must differ"
    assert read_recipe(path) == _plain(recipe)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_frame_can_be_any_format(suffix: str, tmp_path: Path, make_clip, recipe) -> None:
    path = tmp_path / f"a{suffix}"
    write_clip(make_clip(bars(1)), path)
    (frame,) = decode_frames(path)
    assert np.abs(centres(frame) - COLOURS).max() <= 6
    assert read_recipe(path) == _plain(recipe)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_same_frames_same_bytes(suffix: str, tmp_path: Path, make_clip) -> None:
    for name in ("a", "b"):
        write_clip(make_clip(bars(1 if suffix == ".png" else 12)), tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".webm", "vp9")])
def test_video_says_and_is_bt709(suffix: str, codec: str, tmp_path: Path, make_clip) -> None:
    path = tmp_path / f"a{suffix}"
    write_clip(make_clip(bars(3), fps=25), path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.codec.canonical_name, context.pix_fmt) == (codec, "yuv420p")
        assert stream.average_rate == 25
        # ITU-T H.273: 1 is BT.709 for all three; FFmpeg's range 1 is limited ("tv").
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)
        assert context.color_range == 1
        luma = next(container.decode(stream)).to_ndarray(format="yuv420p")[:64]
    # Y of pure red: 16 + 219 * 0.2126 in BT.709; in BT.601 it would be 81.
    assert luma[32, 8] == pytest.approx(63, abs=2)


def test_mp4_can_start_before_it_is_all_there(tmp_path: Path, make_clip) -> None:
    path = tmp_path / "a.mp4"
    write_clip(make_clip(bars(9)), path)
    content, at, boxes = path.read_bytes(), 0, []
    while at < len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        boxes.append(kind)
        at += size
    assert boxes.index(b"moov") < boxes.index(b"mdat")


def test_gif_keeps_its_rate_and_loops(tmp_path: Path, make_clip) -> None:
    path = tmp_path / "a.gif"
    write_clip(make_clip(bars(30), fps=30), path)
    with Image.open(path) as image:
        assert image.info["loop"] == 0
        total_ms = 0
        for i in range(30):
            image.seek(i)
            total_ms += image.info["duration"]
    assert total_ms == pytest.approx(1000, abs=20)


def test_progress_counts_frames(tmp_path: Path, make_clip) -> None:
    seen: list[int] = []
    write_clip(make_clip(bars(4)), tmp_path / "a.mp4", on_frame=seen.append)
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize("suffix", MOVING)
@pytest.mark.parametrize(
    "error", [RuntimeError("broken"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")]
)
def test_what_fails_halfway_leaves_everything_as_it_was(
    suffix: str, error: BaseException, tmp_path: Path, make_clip
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"what was there before")

    def frames() -> Iterator[np.ndarray]:
        yield from bars(5, width=96)
        raise error

    wanted = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(wanted):
        write_clip(make_clip(frames(), count=9), path)
    assert path.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_with_its_free_space(tmp_path: Path, make_clip) -> None:
    def frames() -> Iterator[np.ndarray]:
        raise OSError(errno.ENOSPC, "No space left on device")
        yield

    with pytest.raises(OutputError, match=r"disk is full \([0-9.,]+ MB free\)"):
        write_clip(make_clip(frames(), count=2), tmp_path / "a.mp4")


@pytest.mark.parametrize(
    ("count", "frames"), [(3, bars(2)), (2, bars(3)), (1, bars(1, height=32)), (1, [np.zeros((64, 112, 3))])]
)
def test_a_stream_is_held_to_what_the_clip_says(count: int, frames: list, tmp_path: Path, recipe) -> None:
    clip = ClipStream(frames=iter(frames), width=112, height=64, fps=8, frame_count=count, recipe=recipe)
    with pytest.raises(ValueError, match="the clip has"):
        write_clip(clip, tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_a_new_file_has_the_rights_of_any_new_file(tmp_path: Path, make_clip) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    write_clip(make_clip(bars(1)), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_mode == plain.stat().st_mode


def test_a_symbolic_link_stays_one(tmp_path: Path, make_clip) -> None:
    real = tmp_path / "real"
    real.mkdir()
    link = tmp_path / "a.png"
    link.symlink_to(real / "b.png")
    write_clip(make_clip(bars(1)), link)
    assert link.is_symlink()
    assert [file.name for file in real.iterdir()] == ["b.png"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.avi", r"ends with \.avi; it can be one of \.mp4, \.webm"),
        ("a", "has no ending"),
        ("missing/a.mp4", "folder .* does not exist"),
        ("folder.mp4", "it is a folder"),
        ("plain/a.mp4", "cannot write"),
        ("x" * 300 + ".mp4", "name too long"),
    ],
)
def test_a_bad_target_is_refused_before_the_work(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "plain").touch()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match=f"(?i){words}"):
        check_writable(tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before


def test_a_device_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to("/dev/null")
    with pytest.raises(OutputError, match="not an ordinary file"):
        check_writable(tmp_path / "a.mp4")


def test_checking_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "a.mp4", frames=20)
    assert not list(tmp_path.iterdir())


def test_a_png_holds_one_frame(tmp_path: Path, make_clip) -> None:
    with pytest.raises(InvalidRequest, match="9 frames"):
        check_writable(tmp_path / "a.png", frames=9)
    with pytest.raises(InvalidRequest, match="9 frames"):
        write_clip(make_clip(bars(9)), tmp_path / "a.png")
    check_writable(tmp_path / "a.png", frames=1)


def _plain(recipe) -> dict:
    import json

    return json.loads(recipe.to_json())
