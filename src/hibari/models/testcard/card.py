"""What a test card looks like as a latent, and how its letters travel in one.

A latent cell has four channels, each in [-1, 1]:

    0 1 2   red, green, blue of the cell
    3       byte / 128 - 1: the prompt's UTF-8 runs through the cells row by row, and a byte 0 ends it

The cells show seven colour bars, turned and dimmed by a hash of the prompt. The bottom row is a clock: black,
with one white cell that moves a column every latent frame of the clip. So a broken sampler shows as wrong
colours and letters, a wrong window as a clock that jumps.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHANNELS = 4
_BARS = ((1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1))  # SMPTE's order
_LEVELS = (0.75, 0.85, 0.95)  # brightness of a bar


def card_latent(
    letters_BL: Tensor, hash_B: Tensor, start_B: Tensor, frames: int, height: int, width: int
) -> Tensor:
    """The card's latent, float32: clean data, a function of the prompt and of the place in the clip.

    Args:
        letters_BL: uint8, the prompt's UTF-8, 0 after its end; what exceeds height * width cells is cut.
        hash_B: int64, not negative.
        start_B: int64, the clip's latent frame with which the card begins.
    """
    batch, device = len(hash_B), hash_B.device
    columns = torch.arange(width, device=device)

    bars = torch.tensor(_BARS, dtype=torch.float32, device=device)
    level_B = torch.tensor(_LEVELS, device=device)[hash_B // len(_BARS) % len(_LEVELS)]
    bar_BW = (columns * len(_BARS) // width + hash_B[:, None]) % len(_BARS)
    row_BCW = (bars[bar_BW] * level_B[:, None, None]).movedim(-1, 1)
    rgb = row_BCW[:, :, None, None, :].repeat(1, 1, frames, height, 1)

    now_BF = start_B[:, None] + torch.arange(frames, device=device)
    clock_BFW = (columns == (now_BF % width)[..., None]).float()
    rgb[:, :, :, -1, :] = clock_BFW[:, None]

    bytes_BHW = torch.zeros(batch, height * width, device=device)
    fitting = min(letters_BL.shape[1], height * width)
    bytes_BHW[:, :fitting] = letters_BL[:, :fitting].float()
    letters = (bytes_BHW / 128 - 1).view(batch, 1, 1, height, width).expand(-1, -1, frames, -1, -1)
    return torch.cat([rgb * 2 - 1, letters], dim=1)


def read_letters(latent_CHW: Tensor) -> str:
    """The text in channel 3 of one latent frame, by rounding. A character that was cut is left out."""
    values = ((latent_CHW[3].float() + 1) * 128).round().clamp(0, 255)
    text, _, _ = bytes(values.flatten().to(torch.uint8).tolist()).partition(b"\0")
    return text.decode("utf-8", errors="ignore")


def read_colours(latent_CHW: Tensor) -> Tensor:
    """uint8 [H, W, 3], RGB, of one latent frame's cells."""
    rgb = (latent_CHW[:3].float().movedim(0, -1) + 1) / 2
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8)
