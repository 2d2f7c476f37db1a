"""English for a clip, as people write prompts: several ways for each thing, drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from hibari.training.world.backdrops import BY_NAME as BACKDROP_BY_NAME
from hibari.training.world.motions import CAMERA_BY_NAME, MOTION_BY_NAME
from hibari.training.world.spec import ClipSpec, Figure
from hibari.training.world.subjects import SUBJECT_BY_NAME

T = TypeVar("T")

SIZE_WORDS = {"small": ("small", "little", "tiny"), "medium": ("",), "large": ("large", "big", "huge")}
LIGHT_WORDS = {
    "day": ("", "", "", "", "in the daytime", "on a sunny day"),
    "sunset": ("at sunset", "at sunset", "at dusk", "in the evening"),
    "night": ("at night", "at night", "in the dark of night", "by night"),
}
WEATHER_WORDS = {
    "clear": ("",),
    "rain": ("in the rain", "while it rains", "in heavy rain"),
    "snow": ("while it snows", "in falling snow", "during a snowfall"),
    "fog": ("in the fog", "in thick fog", "in the mist"),
}
LOOK_PREFIXES = {
    "black_and_white": ("a black and white film of", "black and white:", "a black-and-white video of"),
    "pixel_art": ("pixel art of", "a pixel art animation of", "an 8-bit video game scene of"),
    "neon": ("a neon drawing of", "glowing neon lines of", "a neon style video of"),
}
LOOK_SUFFIXES = {
    "black_and_white": ("in black and white", "monochrome", "black and white"),
    "pixel_art": ("in pixel art style", "pixel art", "8-bit style"),
    "neon": ("in neon style", "neon", "neon lights style"),
}
RELATION_WORDS = {
    "left_of": ("to the left of", "on the left of", "left of"),
    "right_of": ("to the right of", "on the right of", "right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
}
NUMBERS = {2: "two", 3: "three"}
_IRREGULAR_PLURALS = {"fish": "fish", "sheep": "sheep", "dancing woman": "dancing women", "t-rex": "t-rexes",
                      "woman in a red dress": "women in red dresses", "slice of pizza": "slices of pizza",
                      "ice cream": "ice creams", "octopus": "octopuses", "cactus": "cacti",
                      "snowman": "snowmen"}  # fmt: skip


def caption(spec: ClipSpec, seed: int) -> str:
    """One of the many captions of a clip; the same seed gives the same one.

    What is usual is left unsaid (day, clear weather, a still camera, middle size), as people do; what is not, is said.
    """
    rng = np.random.default_rng([7, seed])

    many = spec.count > 1  # "a cat to the left of a dog spins": one of two is the sentence's subject
    noun = _subject_words(spec, rng)
    verb, rest = _pick(MOTION_BY_NAME[spec.motion].says, rng)
    if verb == "go":
        verb = _pick((*SUBJECT_BY_NAME[spec.figures[0].subject].kind.go, "go", "move"), rng)
    style = rng.random()
    if style < 0.62:
        action = f"{verb if many else third_person(verb)} {rest}"
    else:
        action = f"{gerund(verb)} {rest}"
    place = _pick(BACKDROP_BY_NAME[spec.backdrop].phrases, rng)
    when = _pick(LIGHT_WORDS[spec.light], rng) if BACKDROP_BY_NAME[spec.backdrop].outdoors else ""
    weather = _pick(WEATHER_WORDS[spec.weather], rng)
    if spec.motion == "stays" and rng.random() < 0.5:
        action = ""  # "a cat on the beach" is a cat that stays
    if rng.random() < 0.12:
        sentence = f"{place}, {noun} {action} {when} {weather}"
    elif rng.random() < 0.1:
        sentence = f"{noun} {action}, {place}, {when}, {weather}"
    else:
        sentence = f"{noun} {action} {place} {when} {weather}"
    camera = _pick(CAMERA_BY_NAME[spec.camera].says, rng)
    place_first = sentence.startswith(place)
    if spec.look != "plain":
        if rng.random() < 0.5 and not place_first:  # "pixel art of on the beach, a cat" is no English
            sentence = f"{_pick(LOOK_PREFIXES[spec.look], rng)} {sentence}"
        else:
            sentence = f"{sentence}, {_pick(LOOK_SUFFIXES[spec.look], rng)}"
    if camera:
        sentence = f"{sentence}, {camera}"
    return _tidy(sentence, capital=rng.random() < 0.3)


def _pick(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]


def _subject_words(spec: ClipSpec, rng: np.random.Generator) -> str:
    first = spec.figures[0]
    if spec.relation:
        relation = _pick(RELATION_WORDS[spec.relation], rng)
        return f"{_noun(first, rng)} {relation} {_noun(spec.figures[1], rng)}"
    if spec.count > 1:
        return f"{NUMBERS[spec.count]} {_noun(first, rng, count=spec.count)}"
    return _noun(first, rng, say_size=True)


def _noun(figure: Figure, rng: np.random.Generator, *, count: int = 1, say_size: bool = False) -> str:
    subject = SUBJECT_BY_NAME[figure.subject]
    usual = rng.random() < 0.6
    word = subject.words[0] if usual else _pick(subject.words, rng)
    size = _pick(SIZE_WORDS[figure.size] if say_size else ("",), rng)
    if count > 1:
        return " ".join(filter(None, (figure.colour, plural(word))))
    words = " ".join(filter(None, (size, figure.colour, word)))
    return f"{article(words)} {words}"


def article(words: str) -> str:
    """ "a" or "an" for what follows."""
    first = words.lower()
    return "an" if first[0] in "aeio" or first.startswith("umbrella") else "a"


def plural(noun: str) -> str:
    """The plural of a noun of the table of subjects."""
    if noun in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def third_person(verb: str) -> str:
    """ "go" -> "goes"."""
    if verb.endswith(("s", "x", "ch", "sh", "o")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + "s"


_DOUBLED = {"run", "hop", "spin", "drop", "swim", "throb", "zigzag"}


def gerund(verb: str) -> str:
    """ "run" -> "running"."""
    if verb in _DOUBLED:
        return f"{verb}{verb[-1]}ing"
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    return verb + "ing"


def _tidy(sentence: str, *, capital: bool) -> str:
    parts = [" ".join(part.split()) for part in sentence.split(",")]
    text = ", ".join(part for part in parts if part)
    return text[0].upper() + text[1:] if capital else text
