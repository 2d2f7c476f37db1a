"""What there is to say of a prompt, word by word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from hibari.training.world.vocabulary import Kind, Wording, emoji

Status = Literal["known", "close", "far", "unread", "ignored"]
PLACES: tuple[Kind, ...] = ("place", "light", "weather")
MODIFIERS: tuple[Kind, ...] = ("colour", "size", "count", "look")


@dataclass(frozen=True, slots=True)
class Word:
    """A word or phrase of a prompt and what it is read as.

    Attributes:
        text: as it was written.
        start, end: where, in characters.
        status: "known" is in captions; "close" is read as `nearest`, more or less; "far" is hardly read; "unread" lies
            beyond what the encoder takes; "ignored" is a small word.
        kind, nearest, similarity: of the nearest wording; None for what is ignored or unread.
        also: another thing that it may as well be taken for.
        wording: the vocabulary's own row for `nearest`.
    """

    text: str
    start: int
    end: int
    status: Status
    kind: Kind | None = None
    nearest: str | None = None
    similarity: float | None = None
    also: str | None = None
    wording: Wording | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON; "class" is the row's name in specs and evaluation."""
        names = ("text", "kind", "status", "nearest", "similarity", "also")
        return {name: getattr(self, name) for name in names} | {
            "class": self.wording.name or None if self.wording else None
        }


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that the prompt leaves open: what then happens, and what could be said instead."""

    kind: Kind
    text: str
    options: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"kind": self.kind, "text": self.text, "options": list(self.options)}


@dataclass(frozen=True, slots=True)
class PromptHelp:
    """All there is to say of a prompt; `limits` are sentences about what the world has not shown."""

    prompt: str
    words: tuple[Word, ...]
    missing: tuple[Missing, ...]
    limits: tuple[str, ...]
    suggestion: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "prompt": self.prompt,
            "words": [word.to_dict() for word in self.words],
            "missing": [one.to_dict() for one in self.missing],
            "limits": list(self.limits),
            "suggestion": self.suggestion,
        }


def read_as(words: Iterable[Word], kind: Kind) -> list[Word]:
    """The words that are read as something of a kind."""
    return [word for word in words if word.kind == kind and word.status in ("known", "close")]


def is_read(word: Word) -> bool:
    """Whether it says something to the model."""
    return word.status in ("known", "close") or word.text in emoji()


def class_of(word: Word) -> str:
    """The name of its row in specs and evaluation, of a word that has one."""
    assert word.wording
    return word.wording.name
