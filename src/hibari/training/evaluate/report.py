"""A suite run through a generator: how often each attribute is right, beside its ceiling and its controls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hibari.models import manifest
from hibari.training.evaluate import metrics, weights
from hibari.training.evaluate.lessons import CLASSES, CLIP_PX, UNKNOWN, truth
from hibari.training.evaluate.network import Evaluator
from hibari.training.evaluate.pairs import PARTS, PairJudge, Pairs, parts_right, true_pairs
from hibari.training.evaluate.suite import CASES, GROUPS, Case, cases
from hibari.training.world.render import FPS, FRAMES, render
from hibari.training.world.spec import draw

if TYPE_CHECKING:
    from hibari.models.protocol import Model

TRAINING_SEEDS = 0  # where the transformer's clips begin
TOGETHER = 8  # clips that are made in shared forward passes
FLOOR_SEEDS = 3_800_000_000  # of the real clips that the suite's own real clips are compared with

Generate = Callable[[Sequence[Case]], Iterable[np.ndarray]]
"""From cases (only their prompts may be read) to their clips in order, uint8 [FRAMES, CLIP_PX, CLIP_PX, 3]."""
Progress = Callable[[str, int, int], None]
"""Called with what is done now, how much of it is done, and of how much."""

ATTRIBUTES = ("subject", "colour", "motion", "background", "camera", "look", "camera_moving", "look_styled")
"""What is counted of a clip of one figure. The last two are camera and look again, only over the cases where they are
not the usual one, since most cases are "still" and "plain" and a model that ignored the words would be right in most.
"""
SCENE = ("background", "look")
"""What is counted of a clip of two figures, beside `pairs.PARTS`."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often an attribute is right: shares from 0 to 1; None where no case is counted.

    Attributes:
        model: of the generated clips.
        ceiling: of the same cases really rendered: what the evaluator itself gets right.
        controls: "untrained" (a model that knows nothing, or noise), "frozen_first_frame" (the model's first
            frame as a clip), "random_other_clip" (the model's clips of other prompts: chance).
        n: cases counted.
    """

    model: float | None
    ceiling: float | None
    controls: dict[str, float | None]
    n: int


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure of the generated clips and the same of real ones."""

    model: float
    real: float


@dataclass(frozen=True, slots=True)
class Copying:
    """Distance to the nearest training clip, root mean square over thumbnails (0 to 1).

    Attributes:
        model_median, real_median: over generated clips, and over held-out real ones that cannot be copies.
        share_nearer: share of the generated clips that are nearer than the nearest 1 % of the real ones are;
            about 0.01 if nothing is copied.
        training_clips: how many were looked through.
    """

    model_median: float
    real_median: float
    share_nearer: float
    training_clips: int


@dataclass(frozen=True, slots=True)
class Frechet:
    """Frechet distance on the evaluator's features.

    Attributes:
        model: generated clips against real ones of other prompts.
        floor: real clips of the same prompts as the generated ones against the same other real ones.
        n: clips in each set.
    """

    model: float
    floor: float
    n: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a run of a suite found.

    Attributes:
        suite: its name.
        cases: how many were run.
        accuracy: by attribute.
        flicker: see `metrics.flicker`.
        motion_amount: mean absolute difference of successive frames, 0 to 255.
        flow_amount: mean length of the optical flow, px a frame.
        copying: None where no training clips were looked through.
        frechet: None for fewer than two cases.
        untrained: what stood in as the untrained model.
        evaluator_sha256: of the shipped evaluator's weights; None if another one judged.
    """

    suite: str
    cases: int
    accuracy: dict[str, Accuracy]
    flicker: Compared
    motion_amount: Compared
    flow_amount: Compared
    copying: Copying | None
    frechet: Frechet | None
    untrained: str
    evaluator_sha256: str | None

    def to_json(self) -> str:
        """Indented JSON of all figures."""
        return json.dumps(asdict(self), indent=2)

    def to_markdown(self) -> str:
        """The tables of the model card."""
        names = list(next(iter(self.accuracy.values())).controls)
        heads = ["attribute", "cases", "model", "ceiling", "of the ceiling"]
        heads += [name.replace("_", " ") for name in names]
        lines = [_row(heads), _row(["---", *["---:"] * (len(heads) - 1)])]
        for attribute, found in self.accuracy.items():
            share = found.model / found.ceiling if found.model is not None and found.ceiling else None
            values = [found.model, found.ceiling, share, *(found.controls[name] for name in names)]
            lines.append(_row([attribute.replace("_", " "), str(found.n), *map(_percent, values)]))
        lines += ["", _row(["figure", "model", "real"]), _row(["---", "---:", "---:"])]
        for name, pair in (("flicker (VBench)", self.flicker), ("mean frame difference", self.motion_amount),
                           ("optical flow, px a frame", self.flow_amount)):  # fmt: skip
            lines.append(_row([name, f"{pair.model:.3f}", f"{pair.real:.3f}"]))
        if self.frechet:
            distance = self.frechet
            lines.append(_row(["Frechet distance", f"{distance.model:.2f}", f"{distance.floor:.2f} (floor)"]))
        if self.copying:
            copying = self.copying
            name = f"distance to the nearest of {copying.training_clips:,} training clips"
            lines.append(_row([name, f"{copying.model_median:.4f}", f"{copying.real_median:.4f}"]))
            share = _percent(copying.share_nearer)
            lines.append(_row(["nearer than the nearest 1 % of real clips", share, "1 %"]))
        return "\n".join(lines) + "\n"


def run_suite(
    generate: Generate,
    *,
    suite: str = "held-out",
    limit: int | None = None,
    untrained: Generate | None = None,
    training_clips: int = 2000,
    evaluator: Evaluator | None = None,
    pair_judge: PairJudge | None = None,
    on_progress: Progress | None = None,
) -> Report:
    """Generate every case's clip and judge it.

    Args:
        generate: the model.
        suite: one of `suite.SUITES`.
        limit: only the first cases; None for all.
        untrained: the same network with random weights; None for noise.
        training_clips: how many of the transformer's training clips to look through for copies; 0 for none.
        evaluator, pair_judge: None for what ships.
        on_progress: is told what goes on.

    Raises:
        InvalidRequest: for an unknown suite or a limit below 1.
        WeightsError: if the evaluator's weights are damaged.
        ValueError: if a generator gives clips of another shape.
    """
    note = on_progress or (lambda _what, _done, _total: None)
    asked = cases(suite, CASES if limit is None else limit)
    judge = evaluator or weights.load()
    shape = (FRAMES, CLIP_PX, CLIP_PX, 3)

    made = list(_told(generate(asked), "generating", len(asked), note))
    real = list(_told((render(case.spec) for case in asked), "rendering", len(asked), note))
    nothing = untrained or (lambda asked: (metrics.noise_clip(case.seed, shape) for case in asked))
    two = GROUPS[suite] == "relation"
    blank = list(nothing(asked)) if two else nothing(asked)  # of two figures, clips are looked at twice
    clips: dict[str, Callable[[], Iterable[np.ndarray]]] = {
        "model": lambda: _told(made, "judging", len(asked), note),
        "ceiling": lambda: _told(real, "judging real clips", len(asked), note),
        "untrained": lambda: _told(blank, "judging an untrained model", len(asked), note),
        "frozen": lambda: _told(map(metrics.frozen, made), "judging first frames", len(asked), note),
    }
    answers = {who: judge.answer(theirs()) for who, theirs in clips.items()}
    said = {name: answer.classes for name, answer in answers.items()}
    accuracy = _accuracies(asked, said, SCENE if two else ATTRIBUTES)
    if two:
        pairs = pair_judge or weights.load_pairs()
        accuracy |= _pair_accuracies(
            asked, {who: pairs.answer(judge, theirs()) for who, theirs in clips.items()}
        )
    return Report(
        suite=suite,
        cases=len(asked),
        accuracy=accuracy,
        flicker=_compared(metrics.flicker, made, real),
        motion_amount=_compared(metrics.motion_amount, made, real),
        flow_amount=_compared(metrics.flow_amount, made, real),
        copying=_copying(made, real, training_clips, note) if training_clips else None,
        frechet=_frechet(judge, suite, answers["model"].features, answers["ceiling"].features, note),
        untrained="noise" if untrained is None else "random weights",
        evaluator_sha256=manifest.check(weights.SHIPPED) if evaluator is None else None,
    )


def clips_of(model: Model, asked: Sequence[Case], **options: Any) -> Iterator[np.ndarray]:
    """The clips of a model for cases, at seed 0: uint8 [FRAMES, CLIP_PX, CLIP_PX, 3].

    Args:
        model: any of the catalog.
        asked: only their prompts are read.
        options: of `GenerationRequest.resolve`; the model's own where there are none.
    """
    from hibari.contracts import GenerationRequest
    from hibari.engine import Order, generate_all

    for start in range(0, len(asked), TOGETHER):
        orders = [
            Order(
                GenerationRequest.resolve(
                    model.spec,
                    case.prompt,
                    size=(CLIP_PX, CLIP_PX),
                    seconds=FRAMES / FPS,
                    fps=FPS,
                    seed=0,
                    **options,
                )
            )
            for case in asked[start : start + TOGETHER]
        ]
        for made in generate_all(model, orders):
            yield np.stack(list(made.stream.frames))


def _told(clips: Iterable[np.ndarray], what: str, total: int, note: Progress) -> Iterator[np.ndarray]:
    """The clips, as they come, with a note after each."""
    for index, clip in enumerate(clips):
        yield clip
        note(what, index + 1, total)


def _accuracies(
    asked: Sequence[Case], said: dict[str, dict[str, np.ndarray]], attributes: Sequence[str]
) -> dict[str, Accuracy]:
    truths = [truth(case.spec) for case in asked]
    found = {}
    for name in attributes:
        attribute = name.partition("_")[0]
        true = np.array([classes[attribute] for classes in truths])
        counted = true != UNKNOWN
        if name != attribute:
            counted &= true != CLASSES[attribute].index("still" if attribute == "camera" else "plain")
        right = {who: answer[attribute][:, None] == true[None] for who, answer in said.items()}
        found[name] = _accuracy(right, counted)
    return found


def _pair_accuracies(asked: Sequence[Case], said: dict[str, Pairs]) -> dict[str, Accuracy]:
    true = true_pairs([case.spec for case in asked])
    right = {who: parts_right(answer, true) for who, answer in said.items()}
    told = (true.colours != UNKNOWN).any(1)
    counted = {part: told if part == "their_colours" else np.ones_like(told) for part in PARTS}
    return {part: _accuracy({who: right[who][part] for who in right}, counted[part]) for part in PARTS}


def _accuracy(right: dict[str, np.ndarray], counted: np.ndarray) -> Accuracy:
    """Of whether each clip is right for each case, bool [clips, cases], by whose clips they are."""
    right = {who: matrix[np.ix_(counted, counted)] for who, matrix in right.items()}
    n = int(counted.sum())
    shares = {who: float(np.trace(matrix) / n) if n else None for who, matrix in right.items()}
    model = right["model"]
    controls = {
        "untrained": shares["untrained"],
        "frozen_first_frame": shares["frozen"],
        # The mean over all ways to give each counted case the clip of another counted case.
        "random_other_clip": float((model.sum() - np.trace(model)) / (n * (n - 1))) if n > 1 else None,
    }
    return Accuracy(shares["model"], shares["ceiling"], controls, n)


def _compared(
    figure: Callable[[np.ndarray], float], made: Sequence[np.ndarray], real: Sequence[np.ndarray]
) -> Compared:
    return Compared(float(np.mean([figure(c) for c in made])), float(np.mean([figure(c) for c in real])))


def _copying(made: list[np.ndarray], real: list[np.ndarray], count: int, note: Progress) -> Copying:
    training = (render(draw(TRAINING_SEEDS + index)) for index in range(count))
    points = np.stack([metrics.thumbnail(clip) for clip in _told(training, "training clips", count, note)])
    ours, theirs = (metrics.nearest_distances(clips, points) for clips in (made, real))
    near = float((ours < np.quantile(theirs, 0.01)).mean())
    return Copying(float(np.median(ours)), float(np.median(theirs)), near, count)


def _frechet(
    judge: Evaluator, suite: str, made: np.ndarray, real: np.ndarray, note: Progress
) -> Frechet | None:
    count = len(made)
    if count < 2:
        return None
    others = (render(draw(FLOOR_SEEDS + index, "held_out", group=GROUPS[suite])) for index in range(count))
    features = judge.answer(_told(others, "judging other real clips", count, note)).features
    return Frechet(metrics.frechet(made, features), metrics.frechet(real, features), count)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"
