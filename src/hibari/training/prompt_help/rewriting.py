"""The prompt in the model's own words."""

from __future__ import annotations

from collections.abc import Sequence

from hibari.training.prompt_help.neighbourhoods import Neighbourhoods
from hibari.training.prompt_help.words import MODIFIERS, PLACES, Word, class_of, is_read, read_as
from hibari.training.world.captions import (
    LOOK_SUFFIXES,
    RELATION_WORDS,
    article,
    gerund,
    plural,
    third_person,
)
from hibari.training.world.motions import MOTION_BY_NAME
from hibari.training.world.spec import is_held_out
from hibari.training.world.subjects import SUBJECT_BY_NAME
from hibari.training.world.vocabulary import ARTICLES, PREPOSITIONS, SMALL_WORDS, Kind, Wording, core, emoji


def rewritten(prompt: str, words: Sequence[Word], near: Neighbourhoods) -> str:
    """The prompt with its near words exchanged for known ones, and with a motion and a place.

    What is known or far stays as it was written; what lies beyond the last token is left out. What captions leave
    unsaid when it is usual (look, camera, light, weather) is left unsaid.
    """
    told = len(words)
    words = [word for word in words if word.status != "unread"]
    if not any(map(is_read, words)):
        return prompt
    rest = len(prompt) if len(words) == told else words[-1].end
    ends = [*(word.start for word in words[1:]), rest]
    gaps = [prompt[word.end : end] for word, end in zip(words, ends, strict=True)]
    texts = _exchanged(words, breaks=[bool(gap.strip()) for gap in gaps])
    _complete(prompt, words, texts, near)
    sentence = prompt[: words[0].start] + "".join(text + gap for text, gap in zip(texts, gaps, strict=True))
    return " ".join(sentence.split())


def _described(words: Sequence[Word], index: int) -> bool:
    return index > 0 and (words[index - 1].kind in MODIFIERS or words[index - 1].status == "far")


def _exchanged(words: Sequence[Word], breaks: Sequence[bool]) -> list[str]:
    """A text for each word: its own, or the known wording that it is read as, or "" where that says it already.

    `breaks` says of each word whether a mark of punctuation follows it.
    """
    texts = [word.text for word in words]
    many = any(word.kind == "count" for word in words)
    for index, word in enumerate(words):
        before = words[index - 1].text.lower() if index else ""
        bare = word.kind in PLACES and word.text.lower() in (word.wording.cores if word.wording else ())
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
        if word.kind not in (*PLACES, "camera"):
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
    who = next((class_of(word) for word in read_as(words, "subject")), None)
    if not subjects:
        nearest = _nearest(near, "subject", about)
        who, noun = nearest.name, f"{article(nearest.text)} {nearest.text}"
    else:
        noun = ""
        if not many and set(kinds[: subjects[0]]) <= set(MODIFIERS) and not texts[subjects[0]].endswith("s"):
            texts[0] = f"{article(texts[0])} {texts[0]}"
    last = _end_of_subject(words, subjects)
    if "relation" not in kinds and last in subjects[1:2]:
        between = range(subjects[0] + 1, last)
        for index in between:
            if texts[index].lower() == "and":
                texts[index] = RELATION_WORDS["left_of"][0]

    place = next((word.wording for word in read_as(words, "place")), None)
    new_place = _nearest(near, "place", about) if "place" not in kinds else None
    where = new_place or place
    said = ""
    if not motions or all(not class_of(words[index]) for index in motions if words[index].wording):
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
        between = [word for word in words[end + 1 : index] if word.kind not in MODIFIERS]
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
