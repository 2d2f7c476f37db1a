"""Defends: a file that is not ours, or not whole, is named as such and never ends in a traceback."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hibari.contracts import InputError
from hibari.media import decode_frames, read_recipe, write_clip


def noise(count: int) -> list[np.ndarray]:
    """Frames that do not compress, so that half a file is really half a film."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (64, 96, 3), np.uint8) for _ in range(count)]


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "no.mp4", tmp_path):
        with pytest.raises(InputError, match="cannot read"):
            read_recipe(path)
        with pytest.raises(InputError, match="cannot read"):
            list(decode_frames(path))


@pytest.mark.parametrize(
    "content", [b"", b"a letter to my aunt", b"GIF89a", b"RIFF\x08\0\0\0WEBPVP8X", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_media_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mp4"):
        read_recipe(path)
    with pytest.raises(InputError, match=r"a\.mp4"):
        list(decode_frames(path))


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".webp"])
def test_half_a_file_says_why_it_has_no_recipe(suffix: str, tmp_path: Path, make_clip) -> None:
    path = tmp_path / f"a{suffix}"
    write_clip(make_clip(noise(6)), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if suffix in (".mp4", ".webm"):  # their tags stand before the pictures
        assert read_recipe(path)["request"]["seed"] == 7
    else:
        with pytest.raises(InputError, match=path.name):
            read_recipe(path)


@pytest.mark.parametrize("suffix", [".png", ".gif", ".webp"])
def test_somebody_elses_picture_has_no_recipe(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    Image.new("RGB", (16, 16)).save(path, comment=b'{"not": "ours"}')
    with pytest.raises(InputError, match="carries no recipe"):
        read_recipe(path)
    assert len(list(decode_frames(path))) == 1


def test_the_name_does_not_decide(tmp_path: Path, make_clip) -> None:
    write_clip(make_clip(noise(2)), tmp_path / "a.gif")
    renamed = (tmp_path / "a.gif").rename(tmp_path / "a.mp4")
    assert read_recipe(renamed)["request"]["seed"] == 7
    assert len(list(decode_frames(renamed))) == 2
