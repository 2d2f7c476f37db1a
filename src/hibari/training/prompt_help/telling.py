"""What a prompt leaves open, and what no clip of the world shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from hibari.models.mini.text import MAX_TOKENS
from hibari.training.prompt_help.words import Missing, Word, class_of, is_read, read_as
from hibari.training.world.backdrops import BY_NAME as BACKDROP_BY_NAME
from hibari.training.world.captions import LOOK_SUFFIXES, NUMBERS, RELATION_WORDS, caption, plural
from hibari.training.world.motions import CAMERA_BY_NAME, MOTION_BY_NAME
from hibari.training.world.spec import draw, tellable_camera
from hibari.training.world.subjects import SUBJECT_BY_NAME
from hibari.training.world.vocabulary import Kind, wordings


def missing(words: Sequence[Word]) -> Iterator[Missing]:
    """What the prompt says nothing of. A far word is something said, though hardly read."""
    said = {word.kind for word in words}
    places = [BACKDROP_BY_NAME[class_of(word)] for word in read_as(words, "place")]
    if "subject" not in said:
        yield Missing("subject", "the model puts in one of its own, with the seed")
    if "motion" not in said:
        yield Missing("motion", "it may stay still, or move in a way of its own")
    elif all(word.wording and not word.wording.name for word in words if word.kind == "motion"):
        says = ([rest for verb, rest in motion.says if verb == "go"] for motion in MOTION_BY_NAME.values())
        yield Missing("motion", "where to is not said", tuple(rests[0] for rests in says if rests))
    if "place" not in said:
        yield Missing("place", "a background of its own, with the seed")
    if "look" not in said:
        yield Missing("look", "plain colours", tuple(texts[0] for texts in LOOK_SUFFIXES.values()))
    if "camera" not in said:
        moves = tuple(min(camera.says, key=len) for camera in CAMERA_BY_NAME.values() if any(camera.says))
        yield Missing("camera", "it stands still", moves)
    if "light" not in said and all(place.outdoors for place in places):
        yield Missing("light", "day", tuple(_usual("light")[1:]))
    if "weather" not in said and all(place.outdoors for place in places):
        yield Missing("weather", "clear", tuple(_usual("weather")))


def _usual(kind: Kind) -> list[str]:
    """The first wording of each class of a kind."""
    return list(
        {wording.name: wording.text for wording in reversed(wordings()) if wording.kind == kind}.values()
    )[::-1]


def limits(prompt: str, words: Sequence[Word]) -> Iterator[str]:
    """What no clip of the world shows, so that the model cannot know it."""
    if words and words[-1].status == "unread":
        yield f"only {MAX_TOKENS} tokens are read; the rest is cut: {_shortened(words[-1].text)}"
    if not any(map(is_read, words)):
        yield f"nothing of this is near what it was taught, which reads like: {caption(draw(0), 0)}"
    if any(mark in prompt for mark in '"“”„«»'):
        yield "nothing speaks and nothing is written in the model's world"
    for word in words:
        if word.kind == "count" and word.status != "known":
            yield f"it counts only {' and '.join(NUMBERS.values())}; {word.text!r} will not be exact"
    for kind in ("motion", "place", "look", "camera", "light", "weather"):
        several = {class_of(word): word.text for word in read_as(words, kind) if class_of(word)}
        if len(several) > 1:
            yield f"one {kind} a clip; this says {' and '.join(map(repr, several.values()))}"
    subjects = {class_of(word): word for word in read_as(words, "subject")}
    relation, count = read_as(words, "relation"), read_as(words, "count")
    if len(subjects) > 2:
        yield f"at most two different subjects a clip; this names {len(subjects)}"
    elif len(subjects) == 2 and not relation:
        ways = ", ".join(repr(texts[0]) for texts in RELATION_WORDS.values())
        yield f"two subjects are told apart by where they stand: {ways}"
    if relation and count:
        yield "it has never seen a number and a second subject in one clip"
    for before, word in pairwise(words):
        coloured = before in read_as(words, "colour") and word in subjects.values()
        if coloured and not SUBJECT_BY_NAME[class_of(word)].tint:
            those = plural(word.wording.text) if word.wording else word.text
            yield f"it has seen {those} in their own colour only; {before.text!r} may be lost"
    yield from _unseen_together(words, several_figures=bool(count or relation))


def _unseen_together(words: Sequence[Word], *, several_figures: bool) -> Iterator[str]:
    """Pairs that the world never draws."""
    for place in read_as(words, "place"):
        backdrop = BACKDROP_BY_NAME[class_of(place)]
        for word in (*read_as(words, "light"), *read_as(words, "weather")):
            if not backdrop.outdoors:
                yield f"it has never seen {word.text!r} with {place.text!r}"
    for motion in read_as(words, "motion"):
        name = class_of(motion)
        if name and several_figures and not MOTION_BY_NAME[name].shared:
            yield f"it has seen {motion.text!r} of one subject alone only"
        for camera in read_as(words, "camera"):
            if name and tellable_camera(class_of(camera), name) != class_of(camera):
                yield f"{camera.text!r} and {motion.text!r} look alike, so it has never seen both"


def _shortened(text: str, limit: int = 40) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
