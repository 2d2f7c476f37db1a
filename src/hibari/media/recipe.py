"""The recipe inside a file: where each format keeps it, and how it is read back.

| format | where | text |
|---|---|---|
| MP4 | metadata key `hibari`, and a sentence in `comment` | JSON |
| WebM | tags `HIBARI` and `COMMENT` | JSON |
| GIF | comment extension, before the trailer | JSON, ASCII only, as the format wants |
| WebP | EXIF ImageDescription | JSON, ASCII only, as EXIF wants |
| PNG | iTXt `hibari` | JSON |
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import av.error
from PIL import Image, UnidentifiedImageError

from hibari.contracts import InputError, Recipe
from hibari.media.read import kind_of

KEY = "hibari"
_EXIF_IMAGE_DESCRIPTION = 0x010E
_VP8X_ANIMATION, _VP8X_EXIF = 0x02, 0x08


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe that a file carries, as `Recipe.to_json` wrote it.

    Raises:
        InputError: the file cannot be read, is no media file, or carries no recipe of ours.
    """
    match kind_of(path):
        case "gif":
            texts = _gif_comments(path)
        case "webp" | "png":
            texts = _picture_texts(path)
        case "video":
            texts = _container_texts(path)
    for text in texts:
        if (recipe := _parsed(text)) is not None:
            return recipe
    raise InputError(f"{path} carries no recipe: it was not made by Hibari, or its metadata was stripped")


def comment(recipe: Recipe) -> str:
    """A sentence for people, for the field that every player shows."""
    prompt = " ".join("".join(c if c.isprintable() else " " for c in recipe.request.prompt).split())
    return f"Made with Hibari ({recipe.request.model}): {prompt}"


def exif(recipe: Recipe) -> bytes:
    """The recipe as the payload of a WebP EXIF chunk."""
    tags = Image.Exif()
    tags[_EXIF_IMAGE_DESCRIPTION] = _ascii_json(recipe)
    return tags.tobytes().removeprefix(b"Exif\x00\x00")


def stamp_gif(path: Path, recipe: Recipe) -> None:
    """Add the recipe to a finished GIF, as a comment before its trailer byte."""
    text = _ascii_json(recipe).encode("ascii")
    blocks = b"".join(
        bytes([len(part)]) + part for part in (text[i : i + 255] for i in range(0, len(text), 255))
    )
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b";":
            raise ValueError("not a finished GIF")
        file.seek(-1, os.SEEK_END)
        file.write(b"\x21\xfe" + blocks + b"\x00;")


def stamp_webp(path: Path, recipe: Recipe) -> None:
    """Add the recipe to a finished animated WebP, as its EXIF chunk."""
    payload = exif(recipe)
    with path.open("r+b") as file:
        head = file.read(21)
        if len(head) < 21 or head[12:16] != b"VP8X" or not head[20] & _VP8X_ANIMATION:
            raise ValueError("not an animated WebP")
        file.seek(20)
        file.write(bytes([head[20] | _VP8X_EXIF]))
        file.seek(0, os.SEEK_END)
        file.write(b"EXIF" + struct.pack("<I", len(payload)) + payload + b"\x00" * (len(payload) % 2))
        size_bytes = file.tell()
        file.seek(4)
        file.write(struct.pack("<I", size_bytes - 8))


def _ascii_json(recipe: Recipe) -> str:
    return json.dumps(json.loads(recipe.to_json()), sort_keys=True)


def _parsed(text: str) -> dict[str, Any] | None:
    """The recipe in a text that may be anything: a file's comment can come from any program."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if isinstance(value, dict) and isinstance(cast(dict[str, Any], value).get("request"), dict):
        return cast(dict[str, Any], value)
    return None


def _container_texts(path: Path) -> list[str]:
    try:
        with av.open(str(path)) as container:
            # Matroska writes its tags in capitals.
            return [text for key, text in container.metadata.items() if key.lower() == KEY]
    except av.error.FFmpegError as error:
        raise InputError(f"{path} is not a video or picture that can be read: {error.strerror}") from error


def _picture_texts(path: Path) -> list[str]:
    try:
        with Image.open(path) as image:
            texts = [image.info.get(KEY), image.getexif().get(_EXIF_IMAGE_DESCRIPTION)]
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    return [text for text in texts if isinstance(text, str)]


def _gif_comments(path: Path) -> list[str]:
    """All comment extensions. Pillow only sees those before the frame that it stands at."""
    try:
        with path.open("rb") as file:
            return [text.decode("utf-8", "replace") for text in _walk_gif(file)]
    except (IndexError, struct.error) as error:
        raise InputError(f"{path} is damaged: it ends in the middle of a GIF block") from error


def _walk_gif(file: BinaryIO) -> Iterator[bytes]:
    """Comments of a GIF (GIF89a specification, sections 17 to 27).

    Raises:
        IndexError or struct.error: the file ends too early.
    """

    def skip_palette(flags: int) -> None:
        if flags & 0x80:
            file.seek(3 << ((flags & 7) + 1), os.SEEK_CUR)

    def sub_blocks() -> Iterator[bytes]:
        while size := file.read(1)[0]:
            yield file.read(size)

    _, _, flags, _, _ = struct.unpack("<HHBBB", file.read(13)[6:])
    skip_palette(flags)
    while (introducer := file.read(1)[0]) != 0x3B:
        if introducer == 0x21:
            label, content = file.read(1)[0], b"".join(sub_blocks())
            if label == 0xFE:
                yield content
        elif introducer == 0x2C:
            skip_palette(struct.unpack("<HHHHB", file.read(9))[4])
            file.seek(1, os.SEEK_CUR)  # the minimal code size
            for _ in sub_blocks():
                pass
        else:
            raise IndexError("no GIF block starts here")
