"""What hibari-mini will make of a prompt: which words it was taught, what it takes the others for, what is left open.

The model reads token features of its text encoder, so a word that it was never told is read as the words whose
features are near. They are looked for in the same way: each word stands in the same short sentence as the words of
the vocabulary, and the mean of its own tokens' features is compared by cosine.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any, Literal

import torch
from PIL import ImageColor
from torch import Tensor

from hibari.models.mini.text import MAX_TOKENS, TextEncoder
from hibari.training.world.backdrops import BY_NAME as BACKDROP_BY_NAME
from hibari.training.world.captions import (
    LOOK_SUFFIXES,
    NUMBERS,
    RELATION_WORDS,
    article,
    caption,
    gerund,
    plural,
    third_person,
)
from hibari.training.world.motions import CAMERA_BY_NAME, MOTION_BY_NAME
from hibari.training.world.spec import draw, is_held_out, tellable_camera
from hibari.training.world.subjects import COLOURS, SUBJECT_BY_NAME
from hibari.training.world.vocabulary import (
    ARTICLES,
    PREPOSITIONS,
    SMALL_WORDS,
    TOKEN,
    Kind,
    Wording,
    by_form,
    core,
    emoji,
    plain,
    wordings,
)

WORLD_MODELS = frozenset(("mini",))
"""Models that the rendered world taught."""

_CLOSE_MOTION = 0.37  # verbs lie further apart
_CLOSE_COLOUR = 0.4
_CLOSE_COLOUR_NAME = 0.2  # for what surely is a colour
_CLOSE = 0.45
NEARLY = 0.05  # a second reading so little further away is told as well

Status = Literal["known", "close", "far", "unread", "ignored"]
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

_LONGEST = 3  # words of a phrase that is looked up as one
_PLACES: tuple[Kind, ...] = ("place", "light", "weather")
_MODIFIERS: tuple[Kind, ...] = ("colour", "size", "count", "look")


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


def explain(prompt: str, near: Neighbourhoods | None = None) -> PromptHelp:
    """What hibari-mini will make of a prompt; the same prompt gets the same answer."""
    near = near or neighbourhoods()
    words = _Reading(prompt, near).words()
    return PromptHelp(
        prompt=prompt,
        words=tuple(words),
        missing=tuple(_missing(words)),
        limits=tuple(_limits(prompt, words)),
        suggestion=_rewritten(prompt, words, near),
    )


# ------------------------------------------------------------------------------------------------ reading


@dataclass(frozen=True, slots=True)
class _Role:
    """What a run of unknown words may be, from where it stands.

    Attributes:
        head: a noun is expected at its end.
        after_preposition: "by the ..." asks for a place first.
        before_subject: a known subject follows, so that these words describe it.
        has_subject, has_motion: what was said before.
        starts: a clause begins here.
    """

    head: bool
    after_preposition: bool
    before_subject: bool
    has_subject: bool
    has_motion: bool
    starts: bool

    def allowance(self, kind: Kind, *, last: bool) -> float | None:
        """What is added to a similarity in this position; None where a kind cannot stand."""
        if self.after_preposition:
            if kind in _PLACES:
                return 0.1 if last else 0.0
            return {"subject": -0.02 if last else -0.3, "motion": None}.get(kind, -0.05)
        if self.before_subject:
            return 0.0 if kind in _MODIFIERS else {"subject": -0.15, "motion": -0.1}.get(kind, -0.2)
        if self.head:
            if kind == "subject":
                return 0.15 if last else -0.05
            return 0.0 if kind in _MODIFIERS else -0.12
        if kind == "motion":
            return 0.1 if self.has_subject and not self.has_motion and not self.starts else -0.05
        if self.starts:  # a clause of its own may be anything but what needs a noun: "a cat, forest, night"
            return {"subject": -0.5, "colour": -0.2, "size": -0.2, "count": -0.2}.get(kind, -0.05)
        return {"subject": -0.5, "place": -0.25}.get(kind, -0.12)


class _Reading:
    """From a prompt to its words, left to right."""

    def __init__(self, prompt: str, near: Neighbourhoods) -> None:
        self._prompt = prompt
        self._near = near

    def words(self) -> list[Word]:
        read, unread = self._split()
        words = self._known(read)
        words = self._unknown(words)
        words = _settle_relations(words)
        if unread:
            start, end = unread[0].start, unread[-1].end
            words.append(Word(self._prompt[start:end], start, end, "unread"))
        return words

    def _split(self) -> tuple[list[Word], list[Word]]:
        """Single words; those that the encoder reads, and those behind its last token."""
        text = plain(self._prompt)
        found = [Word(m.group(), m.start(), m.end(), "far") for m in TOKEN.finditer(text)]
        taken = {place for word in found for place in range(word.start, word.end)}
        for place, character in enumerate(text):
            if place not in taken and unicodedata.category(character) == "So":
                found.append(Word(character, place, place + 1, "far"))
        found.sort(key=lambda word: word.start)
        # A mark of punctuation is a token as well, so the pieces are counted from one word's end to the next one's.
        ends = [0, *(word.end for word in found)]
        room = MAX_TOKENS - 2
        possible = found[: room + 1]
        sizes = self._near.pieces([text[ends[i] : word.end] for i, word in enumerate(possible)])
        for index, size in enumerate(sizes):
            room -= size
            if room < 0:
                return found[:index], found[index:]
        return found, []

    def _known(self, words: list[Word]) -> list[Word]:
        """Longest first: what the vocabulary has becomes one word, small words are ignored."""
        forms = by_form()
        longest = max(len(form) for form in forms)
        result: list[Word] = []
        index = 0
        while index < len(words):
            for length in range(min(longest, len(words) - index), 0, -1):
                part = words[index : index + length]
                if any(self._breaks(a, b) for a, b in pairwise(part)):
                    continue
                key = tuple(word.text.lower().removesuffix("'s") for word in part)
                those = forms.get(key)
                if those and not _goes_on(those[0], key, words[index + length : index + length + 1]):
                    result.append(self._as_known(part, those, result))
                    index += length
                    break
            else:
                word = words[index]
                if word.text.lower() == "camera":
                    word, index = self._camera(words, index)
                elif word.text.lower() in SMALL_WORDS:
                    word = replace(word, status="ignored")
                elif those := emoji().get(word.text):
                    word = replace(word, kind="subject", nearest=those.text, similarity=0.0, wording=those)
                result.append(word)
                index += 1
        return result

    def _camera(self, words: list[Word], index: int) -> tuple[Word, int]:
        """What a camera does, up to a comma, an article or six words; and the index of its last word."""
        stop = index + 1
        while stop < min(len(words), index + 6) and words[stop].text.lower() not in ARTICLES:
            if self._breaks(words[stop - 1], words[stop]):
                break
            stop += 1
        start, end = words[index].start, words[stop - 1].end
        text = self._prompt[start:end]
        those = self._near.nearest(["camera"], [text])["camera", text]
        return _judged(text, start, end, "camera", those), stop - 1

    def _as_known(self, part: list[Word], those: Sequence[Wording], before: list[Word]) -> Word:
        wording = those[0]
        if _before_place(before):
            wording = next((one for one in those if one.kind in _PLACES), wording)
        start, end = part[0].start, part[-1].end
        return Word(
            self._prompt[start:end], start, end, "known", wording.kind, wording.text, 1.0, None, wording
        )

    def _breaks(self, left: Word, right: Word) -> bool:
        """Whether a comma or the like stands between two words."""
        return any(mark in self._prompt[left.end : right.start] for mark in ",;:.!?\n")

    def _unknown(self, words: list[Word]) -> list[Word]:
        result: list[Word] = []
        index = 0
        while index < len(words):
            if not _is_open(words[index]):
                result.append(words[index])
                index += 1
                continue
            stop = index + 1
            while stop < len(words) and not self._breaks(words[stop - 1], words[stop]):
                if not _is_open(words[stop]):
                    break
                stop += 1
            goes_on = stop < len(words) and not self._breaks(words[stop - 1], words[stop])
            follower = words[stop] if goes_on else None
            described = next((word for word in words[stop:] if word.kind not in _MODIFIERS), None)
            run = words[index:stop]
            whole = None
            if follower and follower.kind == "subject" and (compound := self._compound(run, follower)):
                taken, whole = compound
                run = run[:-taken]
            if run:
                starts = not result or self._breaks(result[-1], run[0])
                result += self._runs(
                    run, self._role(result, whole or (described if goes_on else None), starts=starts)
                )
            if whole:
                result.append(whole)
                stop += 1
            index = stop
        return result

    def _role(self, before: list[Word], follower: Word | None, *, starts: bool) -> _Role:
        has_subject = any(word.kind == "subject" for word in before)
        previous = before[-1] if before and not starts else None
        noun = previous is None or previous.kind in (*_MODIFIERS, "relation")
        after_preposition = previous is not None and _before_place(before)
        if previous is not None and previous.status == "ignored":
            noun = previous.text.lower() in (*ARTICLES, "and", "of", "with", "or")
        before_subject = follower is not None and follower.kind == "subject"
        head = not before_subject and not after_preposition and noun and not (starts and has_subject)
        has_motion = any(word.kind == "motion" for word in before)
        return _Role(head, after_preposition, before_subject, has_subject, has_motion, starts)

    def _compound(self, run: list[Word], subject: Word) -> tuple[int, Word] | None:
        """How many unknown words do not lead away from the known noun after them, and the whole: "hot air balloon".

        Words that say something else which is read stay out: "crimson" in "crimson hot air balloon".
        """
        assert subject.wording
        found = self._near.nearest(_MODIFIERS, [word.text for word in run])
        taken = 0
        for word in reversed(run):
            if any(found[kind, word.text][0][0] >= _threshold(kind, word.text) for kind in _MODIFIERS):
                break
            taken += 1
        if not taken:
            return None
        start, end = run[-taken].start, subject.end
        text = self._prompt[start:end]
        cosine, form, wording = self._near.nearest(["subject"], [text])["subject", text][0]
        if wording.name != subject.wording.name or cosine < _CLOSE:
            return None
        return taken, Word(text, start, end, "close", "subject", form, round(cosine, 3), None, wording)

    def _runs(self, run: list[Word], role: _Role) -> list[Word]:
        """The best way to cut a run of unknown words into phrases, each with its kind."""
        spans = [(a, b) for a in range(len(run)) for b in range(a + 1, min(a + _LONGEST, len(run)) + 1)]
        text = {span: self._prompt[run[span[0]].start : run[span[1] - 1].end] for span in spans}
        found = self._near.nearest(FRAMES, text.values())
        # (end of the phrases so far, whether there was a head) -> (score, phrases)
        best: dict[tuple[int, bool], tuple[float, list[Word]]] = {
            (0, role.has_subject and not role.head): (0.0, [])
        }
        for start in range(len(run)):
            for had in (False, True):
                if (start, had) not in best:
                    continue
                score, phrases = best[start, had]
                for stop in range(start + 1, min(start + _LONGEST, len(run)) + 1):
                    span = (start, stop)
                    now = role if not had or not role.head else replace(role, head=False, has_subject=True)
                    for kind in FRAMES:
                        allowance = now.allowance(kind, last=stop == len(run) or _is_verb_like(run, stop))
                        if allowance is None or (kind == "motion" and text[span].endswith("ly")):
                            continue
                        those = found[kind, text[span]]
                        margin = those[0][0] - _threshold(kind, text[span]) + 0.35 + allowance
                        gain = margin * (1 + 0.8 * (stop - start - 1))
                        key = (stop, had or kind == "subject")
                        if key not in best or score + gain > best[key][0]:
                            word = _judged(text[span], run[start].start, run[stop - 1].end, kind, those)
                            best[key] = score + gain, [*phrases, word]
        # Where a noun is expected, one is found, however far.
        outcomes = (True,) if role.head else (False, True)
        ends = [best[len(run), had] for had in outcomes if (len(run), had) in best]
        return max(ends, key=lambda one: one[0])[1]


def _judged(text: str, start: int, end: int, kind: Kind, those: Sequence[Found]) -> Word:
    (cosine, form, wording), second = those[0], those[1] if len(those) > 1 else None
    close = cosine >= _threshold(kind, text)
    also = second[2].text if close and second and cosine - second[0] < NEARLY else None
    shown = form if kind == "motion" else wording.text
    status = "close" if close else "far"
    if not close and text.lower().endswith("ly"):  # how something is done has no kind in the world
        return Word(text, start, end, "far")
    return Word(text, start, end, status, kind, shown, round(cosine, 3), also, wording)


def _threshold(kind: Kind, text: str) -> float:
    """Cosine from which a word counts as read."""
    if kind == "colour":
        return _CLOSE_COLOUR_NAME if text.lower() in ImageColor.colormap else _CLOSE_COLOUR
    return _CLOSE_MOTION if kind == "motion" else _CLOSE


def _goes_on(wording: Wording, key: Sequence[str], follower: Sequence[Word]) -> bool:
    """Whether the last word of a motion belongs to what follows: "walks down the street"."""
    article_next = any(word.text.lower() in ARTICLES for word in follower)
    return wording.kind == "motion" and len(key) > 1 and key[-1] in PREPOSITIONS and article_next


def _is_open(word: Word) -> bool:
    return word.status == "far" and word.kind is None


def _is_verb_like(run: Sequence[Word], index: int) -> bool:
    """Whether the word at `index` looks like what a noun before it does."""
    text = run[index].text.lower()
    return text.endswith(("s", "ing", "ed")) and not text.endswith("ss")


def _before_place(before: Sequence[Word]) -> bool:
    """Whether what comes next follows a preposition, perhaps with an article and adjectives: "by the blue ..."."""
    for word in reversed(before):
        if word.kind in _MODIFIERS or word.text.lower() in ARTICLES:
            continue
        return word.text.lower() in PREPOSITIONS - {"of"} and word.status in ("ignored", "known")
    return False


def _settle_relations(words: list[Word]) -> list[Word]:
    """ "over" is a relation between two subjects, and a small word before a place."""
    result: list[Word] = []
    for index, word in enumerate(words):
        if word.kind == "relation":
            heads = (next_.kind for next_ in words[index + 1 :] if next_.kind not in (*_MODIFIERS, None))
            earlier = any(one.kind == "subject" for one in words[:index])
            if not (earlier and next(heads, None) == "subject"):
                word = Word(word.text, word.start, word.end, "ignored")
        result.append(word)
    return result


# ------------------------------------------------------------------------------------------------ telling


def _read_as(words: Iterable[Word], kind: Kind) -> list[Word]:
    """The words that are read as something of a kind."""
    return [word for word in words if word.kind == kind and word.status in ("known", "close")]


def _is_read(word: Word) -> bool:
    return word.status in ("known", "close") or word.text in emoji()


def _class_of(word: Word) -> str:
    assert word.wording
    return word.wording.name


def _missing(words: Sequence[Word]) -> Iterator[Missing]:
    """What the prompt says nothing of. A far word is something said, though hardly read."""
    said = {word.kind for word in words}
    places = [BACKDROP_BY_NAME[_class_of(word)] for word in _read_as(words, "place")]
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


def _limits(prompt: str, words: Sequence[Word]) -> Iterator[str]:
    """What no clip of the world shows, so that the model cannot know it."""
    if words and words[-1].status == "unread":
        yield f"only {MAX_TOKENS} tokens are read; the rest is cut: {_shortened(words[-1].text)}"
    if not any(map(_is_read, words)):
        yield f"nothing of this is near what it was taught, which reads like: {caption(draw(0), 0)}"
    if any(mark in prompt for mark in '"“”„«»'):
        yield "nothing speaks and nothing is written in the model's world"
    for word in words:
        if word.kind == "count" and word.status != "known":
            yield f"it counts only {' and '.join(NUMBERS.values())}; {word.text!r} will not be exact"
    for kind in ("motion", "place", "look", "camera", "light", "weather"):
        several = {_class_of(word): word.text for word in _read_as(words, kind) if _class_of(word)}
        if len(several) > 1:
            yield f"one {kind} a clip; this says {' and '.join(map(repr, several.values()))}"
    subjects = {_class_of(word): word for word in _read_as(words, "subject")}
    relation, count = _read_as(words, "relation"), _read_as(words, "count")
    if len(subjects) > 2:
        yield f"at most two different subjects a clip; this names {len(subjects)}"
    elif len(subjects) == 2 and not relation:
        ways = ", ".join(repr(texts[0]) for texts in RELATION_WORDS.values())
        yield f"two subjects are told apart by where they stand: {ways}"
    if relation and count:
        yield "it has never seen a number and a second subject in one clip"
    for before, word in pairwise(words):
        coloured = before in _read_as(words, "colour") and word in subjects.values()
        if coloured and not SUBJECT_BY_NAME[_class_of(word)].tint:
            those = plural(word.wording.text) if word.wording else word.text
            yield f"it has seen {those} in their own colour only; {before.text!r} may be lost"
    yield from _unseen_together(words, several_figures=bool(count or relation))


def _unseen_together(words: Sequence[Word], *, several_figures: bool) -> Iterator[str]:
    """Pairs that the world never draws."""
    for place in _read_as(words, "place"):
        backdrop = BACKDROP_BY_NAME[_class_of(place)]
        for word in (*_read_as(words, "light"), *_read_as(words, "weather")):
            if not backdrop.outdoors:
                yield f"it has never seen {word.text!r} with {place.text!r}"
    for motion in _read_as(words, "motion"):
        name = _class_of(motion)
        if name and several_figures and not MOTION_BY_NAME[name].shared:
            yield f"it has seen {motion.text!r} of one subject alone only"
        for camera in _read_as(words, "camera"):
            if name and tellable_camera(_class_of(camera), name) != _class_of(camera):
                yield f"{camera.text!r} and {motion.text!r} look alike, so it has never seen both"


def _shortened(text: str, limit: int = 40) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


# ------------------------------------------------------------------------------------------------ rewriting


def _rewritten(prompt: str, words: Sequence[Word], near: Neighbourhoods) -> str:
    """The prompt with its near words exchanged for known ones, and with a motion and a place.

    What is known or far stays as it was written; what lies beyond the last token is left out. What captions leave
    unsaid when it is usual (look, camera, light, weather) is left unsaid.
    """
    told = len(words)
    words = [word for word in words if word.status != "unread"]
    if not any(map(_is_read, words)):
        return prompt
    rest = len(prompt) if len(words) == told else words[-1].end
    ends = [*(word.start for word in words[1:]), rest]
    gaps = [prompt[word.end : end] for word, end in zip(words, ends, strict=True)]
    texts = _exchanged(words, breaks=[bool(gap.strip()) for gap in gaps])
    _complete(prompt, words, texts, near)
    sentence = prompt[: words[0].start] + "".join(text + gap for text, gap in zip(texts, gaps, strict=True))
    return " ".join(sentence.split())


def _described(words: Sequence[Word], index: int) -> bool:
    return index > 0 and (words[index - 1].kind in _MODIFIERS or words[index - 1].status == "far")


def _exchanged(words: Sequence[Word], breaks: Sequence[bool]) -> list[str]:
    """A text for each word: its own, or the known wording that it is read as, or "" where that says it already.

    `breaks` says of each word whether a mark of punctuation follows it.
    """
    texts = [word.text for word in words]
    many = any(word.kind == "count" for word in words)
    for index, word in enumerate(words):
        before = words[index - 1].text.lower() if index else ""
        bare = word.kind in _PLACES and word.text.lower() in (word.wording.cores if word.wording else ())
        if word.text in emoji():
            wanted = True
        elif word.status == "close":  # "the camera flies around a robot" goes on, so it stays
            wanted = word.kind != "camera" or index + 1 == len(words) or breaks[index]
        else:  # "techno club" by itself -> "in a techno club"
            alone = before not in SMALL_WORDS and not _described(words, index)
            wanted = word.status == "known" and bare and alone
        if not word.wording or not wanted:
            continue
        texts[index] = _said_as(word, many=many)
        if word.kind not in (*_PLACES, "camera"):
            continue
        first = index  # "by the ocean" -> "at sea", not "by the at sea"
        while (
            first and words[first - 1].status == "ignored" and words[first - 1].text.lower() in _BEFORE_NOUNS
        ):
            first -= 1
        if (first == index and _described(words, index)) or (first and words[first - 1].text.lower() == "of"):
            texts[index] = word.wording.cores[0]  # "by the blue ocean" -> "by the blue sea"
        else:
            texts[first:index] = [""] * (index - first)
    for index, text in enumerate(texts[:-1]):
        if text.lower() in ("a", "an") and texts[index + 1] != words[index + 1].text:
            texts[index] = article(texts[index + 1])
    return texts


_BEFORE_NOUNS = (ARTICLES | PREPOSITIONS) - {"of"}


def _complete(prompt: str, words: Sequence[Word], texts: list[str], near: Neighbourhoods) -> None:
    """Put in the article, the relation, the motion and the place that a caption would have."""
    kinds = [word.kind for word in words]
    subjects = [index for index, kind in enumerate(kinds) if kind == "subject"]
    motions = [index for index, kind in enumerate(kinds) if kind == "motion"]
    many = "count" in kinds
    about = " ".join(texts[index] for index in subjects) or prompt
    who = next((_class_of(word) for word in _read_as(words, "subject")), None)
    if not subjects:
        nearest = _nearest(near, "subject", about)
        who, noun = nearest.name, f"{article(nearest.text)} {nearest.text}"
    else:
        noun = ""
        if not many and set(kinds[: subjects[0]]) <= set(_MODIFIERS) and not texts[subjects[0]].endswith("s"):
            texts[0] = f"{article(texts[0])} {texts[0]}"
    last = _end_of_subject(words, subjects)
    if "relation" not in kinds and last in subjects[1:2]:
        between = range(subjects[0] + 1, last)
        for index in between:
            if texts[index].lower() == "and":
                texts[index] = RELATION_WORDS["left_of"][0]

    place = next((word.wording for word in _read_as(words, "place")), None)
    new_place = _nearest(near, "place", about) if "place" not in kinds else None
    where = new_place or place
    said = ""
    if not motions or all(not _class_of(words[index]) for index in motions if words[index].wording):
        alone = not (many or len(subjects) > 1 or "relation" in kinds)
        verb, rest = _usual_motion(who, where.name if where else None, alone=alone or bool(motions))
        said = rest if motions else f"{verb if many else third_person(verb)} {rest}".strip()
    behind = motions[0] if motions else last
    if subjects or motions:
        texts[behind] = f"{texts[behind]} {said}".strip()
        texts[0] = f"{noun} {texts[0]}".strip()
    else:
        texts[0] = f"{noun} {said} {texts[0]}"
    if new_place:
        at = _end_of_action(prompt, words, max(last, *motions[:1], 0))
        texts[at] = f"{texts[at]} {new_place.text}"


def _nearest(near: Neighbourhoods, kind: Kind, text: str) -> Wording:
    """The nearest wording: for a whale the background under the sea, for a rocket the one among the stars."""
    return near.nearest([kind], [text])[kind, text][0][2]


def _usual_motion(who: str | None, where: str | None, *, alone: bool) -> tuple[str, str]:
    """The verb and the rest of a motion to suggest: a way to the side that the subject looks to, or standing still
    where several are seen; passing over what training never saw of this subject in this place."""
    subject = SUBJECT_BY_NAME[who] if who else None
    looks = [
        motion
        for motion in MOTION_BY_NAME.values()
        if motion.side and subject and motion.side == subject.faces
    ]
    ways = [motion for motion in MOTION_BY_NAME.values() if motion.says[0][0] == "go"]
    shared = [motion for motion in MOTION_BY_NAME.values() if motion.shared]
    those = [*looks, *ways] if alone else shared
    motion = next((one for one in those if not is_held_out(who or "", one.name, where or "")), those[0])
    verb, rest = motion.says[0]
    return (subject.kind.go[0] if subject and verb == "go" else verb), rest


def _end_of_subject(words: Sequence[Word], subjects: Sequence[int]) -> int:
    """Index of the last word of who the sentence is about: "a cat and a [dog] run", "a [cat] in a hat"."""
    if not subjects:
        return 0
    end = subjects[0]
    for index in subjects[1:]:
        between = [word for word in words[end + 1 : index] if word.kind not in _MODIFIERS]
        joined = (word.kind == "relation" or word.text.lower() in (*ARTICLES, "and") for word in between)
        if between and all(joined):
            end = index
    return end


def _end_of_action(prompt: str, words: Sequence[Word], start: int) -> int:
    """Index of the word behind which a place is said: before the light, the weather and any comma."""
    at = start
    for index in range(start, len(words)):
        word = words[index]
        if index > start and word.kind in ("light", "weather", "look", "camera", "relation"):
            break
        if word.status != "ignored":
            at = index
        stop = words[index + 1].start if index + 1 < len(words) else len(prompt)
        if any(mark in prompt[word.end : stop] for mark in ",;:.!?"):
            break
    return at


def _said_as(word: Word, *, many: bool) -> str:
    """The known wording for a word, in its grammatical form."""
    wording = word.wording
    assert wording
    text = word.text.lower()
    if wording.kind == "subject":
        several = many or (text.endswith("s") and not text.endswith(("ss", "us")))
        return plural(wording.text) if several and text not in emoji() else wording.text
    if wording.kind == "look":
        return core(LOOK_SUFFIXES[wording.name][0]).removesuffix(" style")
    if wording.verb:
        verb, rest = wording.verb
        first = text.split()[0]
        form = gerund(verb) if first.endswith("ing") else verb if many else third_person(verb)
        return f"{form} {rest}".strip()
    return wording.text
