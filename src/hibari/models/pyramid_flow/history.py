"""What is kept of a generation's forward passes, so that the frames that follow need not compute it again.

A frame sees those before it, and these never see it; so what they compute depends on the prompt, the stage, the
timestep and older frames alone, and is the same for all frames to come, once they are seen at their smallest. It takes
much memory: for each prompt, stage and step the keys and values of every block. The smaller the stage, the more it
saves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from hibari.models.pyramid_flow.layers import NO_HISTORY, History

STAGES = 2  # the smallest ones; in the largest it saves an eighth and takes most
_numbers = count(1)


class Key(NamedTuple):
    """What a history holds for besides older frames: the words as `digest` gives them, a stage, its timestep."""

    words: int
    stage: int
    timestep: float


class Histories:
    """Of one generation. They go when nobody holds them any more."""

    def __init__(self) -> None:
        self.number = next(_numbers)
        self.nbytes = 0
        self.by_key: dict[Key, History] = {}


class Shelf:
    """The histories of all generations, found by their numbers."""

    def __init__(self, most_bytes: int) -> None:
        """Empty; it will hold `most_bytes`, and nothing where that is 0."""
        self._most_bytes = most_bytes
        self._all: WeakValueDictionary[int, Histories] = WeakValueDictionary()

    def opened(self) -> Histories:
        """Place for a generation's."""
        histories = Histories()
        self._all[histories.number] = histories
        return histories

    @property
    def nbytes(self) -> int:
        """Of all that is kept."""
        return sum(histories.nbytes for histories in list(self._all.values()))

    def past(self, number: int, key: Key) -> History:
        """What is kept; nothing for a generation that has no place."""
        histories = self._all.get(number)
        return histories.by_key.get(key, NO_HISTORY) if histories else NO_HISTORY

    def keeps(self, number: int, key: Key) -> bool:
        """Whether it is worth keeping, and there is room."""
        return key.stage < STAGES and number in self._all and self.nbytes < self._most_bytes

    def keep(self, number: int, key: Key, history: History) -> None:
        """Instead of what was kept before; where there is no room, that stays, and goes on being right."""
        histories = self._all.get(number)
        if histories is None or history.frames <= histories.by_key.get(key, NO_HISTORY).frames:
            return
        more = _nbytes(history) - _nbytes(histories.by_key.get(key, NO_HISTORY))
        if self.nbytes + more <= self._most_bytes:
            histories.by_key[key] = history
            histories.nbytes += more


def digest(*tensors: Tensor) -> Tensor:
    """int64 [B]: a number for each row of some tensors, the same for the same rows."""
    rows = zip(*(tensor.cpu() for tensor in tensors), strict=True)
    hashes = [hashlib.sha256(b"".join(_bytes(part) for part in row)).digest() for row in rows]
    return torch.tensor([int.from_bytes(each[:8], "big", signed=True) for each in hashes])


def together(histories: Sequence[History]) -> History:
    """Rows of as many frames as one batch."""
    if len(histories) == 1 or not histories[0].frames:
        return histories[0]
    blocks = zip(*(history.keys_values for history in histories), strict=True)
    return History(
        histories[0].frames,
        [tuple(torch.cat(parts) for parts in zip(*rows, strict=True)) for rows in blocks],  # pyright: ignore[reportArgumentType]
    )


def row_of(history: History, row: int) -> History:
    """One row of a batch."""
    return History(
        history.frames, [(key[row : row + 1], value[row : row + 1]) for key, value in history.keys_values]
    )


def _nbytes(history: History) -> int:
    return sum(key.nbytes + value.nbytes for key, value in history.keys_values)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()
