"""The vocabulary in the text encoder's space."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import torch
from PIL import ImageColor
from torch import Tensor

from hibari.models.mini.text import TextEncoder
from hibari.training.world.subjects import COLOURS
from hibari.training.world.vocabulary import Kind, Wording, wordings

Found = tuple[float, str, Wording]
"""Cosine, the form that was compared, and whose form it is."""
FRAMES: Mapping[Kind, str] = {
    "subject": "a {} on the beach",
    "colour": "the colour {}",
    "size": "a {} cat",
    "count": "{} cats",
    "motion": "it {}",
    "place": "in the {}",
    "light": "it is {}",
    "weather": "in the {}",
    "look": "{} style",
    "camera": "{}",
}
"""The sentence in which a word of each kind is read; a relation is known or is none."""


class Neighbourhoods:
    """The vocabulary in the text encoder's space; computed once, about a second."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        sides = list(dict.fromkeys(side for frame in FRAMES.values() for side in frame.split("{}")))
        self._skips = dict(zip(sides, (1 + pieces for pieces in self.pieces(sides)), strict=True))
        rows: dict[Kind, list[tuple[str, Wording]]] = {kind: [] for kind in FRAMES}
        for wording in wordings():
            if wording.kind in rows and wording.name:
                rows[wording.kind] += [(form, wording) for form in wording.cores]
        self._rows = rows
        self._features: dict[Kind, Tensor] = {}
        for kind, those in rows.items():
            kinds: list[Kind] = [kind] * len(those)
            self._features[kind] = self._read(kinds, [form for form, _ in those])

    def nearest(self, kinds: Iterable[Kind], texts: Iterable[str]) -> dict[tuple[Kind, str], list[Found]]:
        """For each kind and text, the classes of that kind with their nearest form and its cosine, nearest first."""
        pairs: list[tuple[Kind, str]] = [(kind, text) for text in dict.fromkeys(texts) for kind in kinds]
        found: dict[tuple[Kind, str], list[Found]] = {}
        for chunk in (pairs[at : at + 128] for at in range(0, len(pairs), 128)):
            features_BD = self._read([kind for kind, _ in chunk], [text for _, text in chunk])
            for (kind, text), features_D in zip(chunk, features_BD, strict=True):
                best: dict[str, Found] = {}
                penalty = _hue_penalties(text.lower()) if kind == "colour" else {}
                cosines = (self._features[kind] @ features_D).tolist()
                for cosine, (form, wording) in zip(cosines, self._rows[kind], strict=True):
                    cosine -= penalty.get(wording.name, 0.0)
                    if wording.name not in best or cosine > best[wording.name][0]:
                        best[wording.name] = cosine, form, wording
                found[kind, text] = sorted(best.values(), key=lambda one: -one[0])
        return found

    def pieces(self, words: Sequence[str]) -> list[int]:
        """Tokens that each word takes, without the sentence's first and last."""
        if not words:
            return []
        _, mask_BL = self._encoder(words)
        return (mask_BL.sum(dim=1) - 2).clamp(min=0).tolist()

    def _read(self, kinds: Sequence[Kind], texts: Sequence[str]) -> Tensor:
        """[B, D], of unit length: the mean over a text's own tokens in the frame of its kind."""
        frames = [FRAMES[kind] for kind in kinds]
        skips = [[self._skips[side] for side in frame.split("{}")] for frame in frames]
        first_B1, last_B1 = torch.tensor(skips).split(1, dim=1)
        said = [frame.format(text.lower()) for frame, text in zip(frames, texts, strict=True)]
        text_BLD, mask_BL = self._encoder(said)
        place_L = torch.arange(mask_BL.shape[1])
        end_B1 = (mask_BL.sum(dim=1, keepdim=True) - last_B1).maximum(first_B1 + 1)
        own_BL = (place_L >= first_B1) & (place_L < end_B1)
        mean_BD = (text_BLD * own_BL[..., None]).sum(dim=1) / own_BL.sum(dim=1, keepdim=True)
        return torch.nn.functional.normalize(mean_BD, dim=-1)


def _hue_penalties(word: str) -> dict[str, float]:
    """How much a colour's name speaks against each of the world's eight: 0 for the nearest one.

    The encoder knows that crimson is a colour and hardly which one; the table of CSS colours does.
    """
    if word not in ImageColor.colormap:
        return {}
    wanted = ImageColor.getrgb(word)[:3]
    distances = {name: math.dist(wanted, rgb) / 1500 for name, rgb in COLOURS.items()}
    return {name: distance - min(distances.values()) for name, distance in distances.items()}


@cache
def neighbourhoods() -> Neighbourhoods:
    """The vocabulary as the installed encoder reads it, kept in memory.

    Raises:
        MissingPart: if the encoder is not installed.
    """
    return Neighbourhoods(TextEncoder(torch.device("cpu")))
