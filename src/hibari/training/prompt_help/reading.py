"""From a prompt to its words: what each one is, and what it is taken for."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from PIL import ImageColor

from hibari.models.mini.text import MAX_TOKENS
from hibari.training.prompt_help.neighbourhoods import FRAMES, Found, Neighbourhoods
from hibari.training.prompt_help.words import MODIFIERS, PLACES, Word
from hibari.training.world.vocabulary import (
    ARTICLES,
    PREPOSITIONS,
    SMALL_WORDS,
    TOKEN,
    Kind,
    Wording,
    by_form,
    emoji,
    plain,
)

_CLOSE_MOTION = 0.37  # verbs lie further apart
_CLOSE_COLOUR = 0.4
_CLOSE_COLOUR_NAME = 0.2  # for what surely is a colour
_CLOSE = 0.45
NEARLY = 0.05  # a second reading so little further away is told as well
_LONGEST = 3  # words of a phrase that is looked up as one


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
            if kind in PLACES:
                return 0.1 if last else 0.0
            return {"subject": -0.02 if last else -0.3, "motion": None}.get(kind, -0.05)
        if self.before_subject:
            return 0.0 if kind in MODIFIERS else {"subject": -0.15, "motion": -0.1}.get(kind, -0.2)
        if self.head:
            if kind == "subject":
                return 0.15 if last else -0.05
            return 0.0 if kind in MODIFIERS else -0.12
        if kind == "motion":
            return 0.1 if self.has_subject and not self.has_motion and not self.starts else -0.05
        if self.starts:  # a clause of its own may be anything but what needs a noun: "a cat, forest, night"
            return {"subject": -0.5, "colour": -0.2, "size": -0.2, "count": -0.2}.get(kind, -0.05)
        return {"subject": -0.5, "place": -0.25}.get(kind, -0.12)


class Reading:
    """From a prompt to its words, left to right."""

    def __init__(self, prompt: str, near: Neighbourhoods) -> None:
        self._prompt = prompt
        self._near = near

    def words(self) -> list[Word]:
        """In the order in which they stand; what lies beyond the encoder's last token is one, the last."""
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
            wording = next((one for one in those if one.kind in PLACES), wording)
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
            described = next((word for word in words[stop:] if word.kind not in MODIFIERS), None)
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
        noun = previous is None or previous.kind in (*MODIFIERS, "relation")
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
        found = self._near.nearest(MODIFIERS, [word.text for word in run])
        taken = 0
        for word in reversed(run):
            if any(found[kind, word.text][0][0] >= _threshold(kind, word.text) for kind in MODIFIERS):
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
        if word.kind in MODIFIERS or word.text.lower() in ARTICLES:
            continue
        return word.text.lower() in PREPOSITIONS - {"of"} and word.status in ("ignored", "known")
    return False


def _settle_relations(words: list[Word]) -> list[Word]:
    """ "over" is a relation between two subjects, and a small word before a place."""
    result: list[Word] = []
    for index, word in enumerate(words):
        if word.kind == "relation":
            heads = (next_.kind for next_ in words[index + 1 :] if next_.kind not in (*MODIFIERS, None))
            earlier = any(one.kind == "subject" for one in words[:index])
            if not (earlier and next(heads, None) == "subject"):
                word = Word(word.text, word.start, word.end, "ignored")
        result.append(word)
    return result
