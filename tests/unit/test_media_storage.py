"""Defends: a stored file is whole, is written once, and comes back in full or in part."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hibari.contracts import InputError, OutputError
from hibari.media.stills import COLUMNS, ROWS, THUMBNAIL_PX, spritesheet, thumbnail
from hibari.media.storage import AlreadyStored, Storage

CONTENT = bytes(range(256)) * 5000  # several pieces


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "files")


def test_what_is_stored_comes_back(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(CONTENT)
    stored = storage.put("video_1/video.mp4", tmp_path / "clip.mp4")
    assert stored.size_bytes == len(CONTENT)
    assert storage.find("video_1/video.mp4") == stored
    assert stored.etag.startswith('"')
    assert b"".join(storage.read("video_1/video.mp4")) == CONTENT
    assert b"".join(storage.read("video_1/video.mp4", 100, 300_000)) == CONTENT[100:300_000]
    assert b"".join(storage.read("video_1/video.mp4", 100)) == CONTENT[100:]
    storage.copy_to("video_1/video.mp4", tmp_path / "back.mp4")
    assert (tmp_path / "back.mp4").read_bytes() == CONTENT


def test_a_key_is_written_once(storage: Storage) -> None:
    storage.put("a", b"first")
    with pytest.raises(AlreadyStored):
        storage.put("a", b"second")
    assert b"".join(storage.read("a")) == b"first"


def test_all_of_a_video_is_removed_and_nothing_else(storage: Storage) -> None:
    for key in ("video_1/video.mp4", "video_1/thumbnail.webp", "video_2/video.mp4"):
        storage.put(key, b"x")
    assert storage.remove("video_1") == 2
    assert storage.remove("video_1") == 0
    assert storage.find("video_1/video.mp4") is None
    assert storage.keys("video_2") == ["video_2/video.mp4"]


def test_a_disk_that_fills_up_in_mid_write_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (len(CONTENT) // 2, hard)
    )  # the system's way to cut a write short
    try:
        with pytest.raises(OutputError, match=r"cannot store video_1/video\.mp4: File too large"):
            storage.put("video_1/video.mp4", CONTENT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert storage.find("video_1/video.mp4") is None
    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []
    storage.put("video_1/video.mp4", CONTENT)  # the key is still free


def test_what_a_killed_process_had_half_written_goes_too(storage: Storage, tmp_path: Path) -> None:
    storage.put("video_1/1/video.mp4", b"x")
    (tmp_path / "files" / "video_1" / "1" / "thumbnail.webp#1").write_bytes(b"half")
    assert storage.keys("video_1") == ["video_1/1/video.mp4"]
    assert storage.remove("video_1") == 1
    assert not (tmp_path / "files" / "video_1").exists()


def test_an_error_tells_no_path_of_the_server(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "files" / "video_1").write_bytes(b"a file where a folder should be")
    with pytest.raises(OutputError) as caught:
        storage.put("video_1/video.mp4", b"x")
    assert str(tmp_path) not in str(caught.value)
    assert (storage.free_bytes() or 0) > 0


def test_what_is_not_there_is_said(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no nothing in the storage"):
        b"".join(storage.read("nothing"))
    with pytest.raises(InputError, match="is no storage"):
        Storage("gopher://somewhere")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((OutputError, InputError)):
        Storage(tmp_path / "file" / "folder")


def test_a_thumbnail_keeps_the_shape(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(thumbnail(np.full((1080, 1920, 3), 90, np.uint8)))
    with Image.open(tmp_path / "a") as picture:
        assert (picture.format, picture.size) == ("WEBP", (THUMBNAIL_PX, 288))


@pytest.mark.parametrize("count", [1, 5, 24, 100])
def test_a_spritesheet_goes_from_the_first_frame_to_the_last(count: int, tmp_path: Path) -> None:
    levels = np.linspace(0, 240, count).astype(np.uint8)
    (tmp_path / "a").write_bytes(spritesheet([np.full((64, 80, 3), level, np.uint8) for level in levels]))
    with Image.open(tmp_path / "a") as picture:
        assert (picture.format, picture.size) == ("JPEG", (COLUMNS * 80, ROWS * 64))
        pixels = np.asarray(picture).astype(int)
    tiles = pixels.reshape(ROWS, 64, COLUMNS, 80, 3).mean((1, 3, 4)).flatten()
    assert abs(tiles[0] - levels[0]) < 3
    assert abs(tiles[-1] - levels[-1]) < 3
    assert (np.diff(tiles) > -3).all()
