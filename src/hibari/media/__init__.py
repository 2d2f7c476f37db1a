"""Files: a stream of frames in and out, the recipe inside, sizes and frame rates. No torch here."""

from hibari.media.fit import central_box, fit
from hibari.media.read import decode_frames, frame_rate
from hibari.media.recipe import read_recipe
from hibari.media.sheet import sheet
from hibari.media.stored import read_clip, trimmed
from hibari.media.write import SUFFIXES, check_writable, write_clip

__all__ = [
    "SUFFIXES",
    "central_box",
    "check_writable",
    "decode_frames",
    "fit",
    "frame_rate",
    "read_clip",
    "read_recipe",
    "sheet",
    "trimmed",
    "write_clip",
]
