"""The words of the rendered world, read off its tables: what hibari-mini has been told about, and nothing else.

No wording is written here a second time. A wording is known in every form that a caption can give it: "dogs",
"jumping", "drives to the left"; and without the small words around it: "forest" for "in the forest".
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from hibari.training.world.backdrops import BACKDROPS
from hibari.training.world.captions import (
    LIGHT_WORDS,
    LOOK_PREFIXES,
    LOOK_SUFFIXES,
    NUMBERS,
    RELATION_WORDS,
    SIZE_WORDS,
    WEATHER_WORDS,
    gerund,
    plural,
    third_person,
)
from hibari.training.world.motions import CAMERAS, MOTIONS
from hibari.training.world.subjects import COLOURS, SUBJECTS

Kind = Literal[
    "subject", "colour", "size", "count", "relation", "motion", "place", "light", "weather", "look", "camera"
]

ARTICLES = frozenset(("a", "an", "the"))
_PREPOSITIONS = (
    "about above across along among amongst around at behind below beneath beside between beyond by down during "
    "from in inside into near of off on onto out outside over past through to toward towards under up upon with within"
)
_OTHERS = (
    "and as be been but can each for front has have having he her here his i if is it its just like me my next one or "
    "our please really she show so some that their them there these they this those too us very was we were which "
    "while who whose will you your are"
)
PREPOSITIONS = frozenset(_PREPOSITIONS.split())
SMALL_WORDS = ARTICLES | PREPOSITIONS | frozenset(_OTHERS.split())
"""Words that hold a sentence together and are not looked up by themselves."""

TRAVEL_VERBS = tuple(dict.fromkeys(("go", "move", *(verb for s in SUBJECTS for verb in s.kind.go))))
"""Verbs that say that something gets from one place to another, but not where to."""


@dataclass(frozen=True, slots=True)
class Wording:
    """One way to say one thing.

    Attributes:
        kind: what is said.
        name: the class in specs and evaluation; "" for a verb of travel without a direction.
        text: as a caption has it; a verb in the third person.
        cores: the same without the small words around it, in the forms whose neighbours are looked for.
        forms: every form that counts as known, in lower case.
        verb: (base form, rest) of a motion.
    """

    kind: Kind
    name: str
    text: str
    cores: tuple[str, ...]
    forms: frozenset[str]
    verb: tuple[str, str] | None = None


def tokens(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return [match.group().lower() for match in TOKEN.finditer(plain(text))]


def plain(text: str) -> str:
    """A text with the typewriter's apostrophe, character for character."""
    return text.replace("\u2019", "'")


TOKEN = re.compile(r"[^\W_]+(?:['\-]+[^\W_]+)*")


def core(phrase: str) -> str:
    """A phrase without the small words at its ends: "in the living room" -> "living room"."""
    words = tokens(phrase)
    while len(words) > 1 and words[0] in SMALL_WORDS:
        del words[0]
    while len(words) > 1 and words[-1] in SMALL_WORDS:
        del words[-1]
    return " ".join(words)


@cache
def wordings() -> tuple[Wording, ...]:
    """Every wording of the world, kind by kind in the order of the tables."""
    return (
        *(_noun(subject.name, word) for subject in SUBJECTS for word in subject.words),
        *(_plain("colour", colour, colour) for colour in COLOURS),
        *_table("size", SIZE_WORDS),
        *(_plain("count", str(number), word) for number, word in NUMBERS.items()),
        *_table("relation", RELATION_WORDS),
        *(_motion(motion.name, verb, rest) for motion in MOTIONS for verb, rest in motion.says),
        *(_motion("", verb, "") for verb in TRAVEL_VERBS),
        *_table("place", {backdrop.name: backdrop.phrases for backdrop in BACKDROPS}),
        *_table("light", LIGHT_WORDS),
        *_table("weather", WEATHER_WORDS),
        *_table("look", LOOK_SUFFIXES),
        *_table("look", LOOK_PREFIXES),
        *_table("camera", {camera.name: camera.says for camera in CAMERAS}),
    )


@cache
def by_form() -> Mapping[tuple[str, ...], tuple[Wording, ...]]:
    """Form, as its words -> the wordings that have it, in the order of `wordings`."""
    found: defaultdict[tuple[str, ...], list[Wording]] = defaultdict(list)
    for wording in wordings():
        for form in sorted(wording.forms):
            found[tuple(tokens(form))].append(wording)
    return {form: tuple(those) for form, those in found.items()}


@cache
def emoji() -> Mapping[str, Wording]:
    """The picture of a subject -> its usual word. No text encoder reads emoji; the tables do."""
    usual = {wording.name: wording for wording in reversed(wordings()) if wording.kind == "subject"}
    return {subject.character.rstrip("\ufe0f"): usual[subject.name] for subject in SUBJECTS}


def _table(kind: Kind, table: Mapping[str, Iterable[str]]) -> list[Wording]:
    return [
        _plain(kind, name, text) for name, texts in table.items() for text in dict.fromkeys(texts) if text
    ]


def _plain(kind: Kind, name: str, text: str) -> Wording:
    # Small words carry the sense of "to the left of" and of "zoom in".
    short = text.removeprefix("the ") if kind in ("relation", "camera") else core(text)
    return Wording(kind, name, text, (short,), frozenset((" ".join(tokens(text)), short)))


def _noun(name: str, word: str) -> Wording:
    return Wording("subject", name, word, (word,), frozenset((word.lower(), plural(word).lower())))


def _motion(name: str, verb: str, rest: str) -> Wording:
    travels = verb in TRAVEL_VERBS
    verbs = TRAVEL_VERBS if travels and rest else (verb,)
    forms = {f"{form(v)} {rest}".strip() for v in verbs for form in (str, third_person, gerund)}
    if travels and " " in rest:
        forms.add(rest)  # "a red car on its way to the left"
    said = [f"{form(verb)} {rest}".strip() for form in (third_person, gerund)]
    return Wording("motion", name, said[0], tuple(said), frozenset(forms), (verb, rest))
