"""Files: a stream of frames in and out, the recipe inside, sizes and frame rates. No torch here."""

from hibari.media.fit import fit
from hibari.media.read import decode_frames
from hibari.media.recipe import read_recipe
from hibari.media.sheet import sheet
from hibari.media.write import SUFFIXES, check_writable, write_clip

__all__ = ["SUFFIXES", "check_writable", "decode_frames", "fit", "read_recipe", "sheet", "write_clip"]
