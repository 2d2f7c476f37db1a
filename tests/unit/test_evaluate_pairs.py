"""The evaluation says of two figures which they are and how they stand to each other, and is not content with less."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from hibari.training.evaluate import metrics, weights
from hibari.training.evaluate.lessons import CLASSES, DETAIL_FRAMES, LESSON_SEEDS, UNKNOWN
from hibari.training.evaluate.network import Evaluator
from hibari.training.evaluate.pairs import (
    LESSONS,
    PAIR_SEEDS,
    PARTS,
    Pairs,
    fit_pairs,
    pair_lessons,
    parts_right,
    true_pairs,
)
from hibari.training.evaluate.report import FLOOR_SEEDS, run_suite
from hibari.training.evaluate.suite import Case, cases
from hibari.training.world.render import render
from hibari.training.world.spec import is_held_out

COUNT = 16


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return weights.load()


@pytest.fixture(scope="module")
def asked() -> tuple[Case, ...]:
    return cases("relation", COUNT)


@pytest.fixture(scope="module")
def true(asked: tuple[Case, ...]) -> Pairs:
    return true_pairs([case.spec for case in asked])


@pytest.fixture(scope="module")
def real(asked: tuple[Case, ...]) -> list[np.ndarray]:
    return [render(case.spec) for case in asked]


@pytest.fixture(scope="module")
def said(evaluator: Evaluator, real: list[np.ndarray]) -> Pairs:
    return weights.load_pairs().answer(evaluator, real)


def test_the_suite_asks_for_two_subjects_of_combinations_that_training_never_sees(
    asked: tuple[Case, ...],
) -> None:
    for case in asked:
        first, second = case.spec.figures
        assert case.spec.relation
        assert first.subject != second.subject
        assert is_held_out(first.subject, case.spec.motion, case.spec.backdrop)
    assert {case.spec.relation for case in cases("relation", 60)} == {"left_of", "right_of", "above", "below"}


def test_what_is_fitted_on_is_not_what_is_asked_for() -> None:
    assert LESSON_SEEDS + 100_000 < PAIR_SEEDS
    assert PAIR_SEEDS + LESSONS < FLOOR_SEEDS


def a_pair(first: int, second: int, colours: tuple[int, int], *, is_down: bool = False) -> Pairs:
    subjects = np.full((1, 2, len(CLASSES["subject"])), -9.0)
    subjects[0, 0, first] = subjects[0, 1, second] = -0.1
    return Pairs(np.array([is_down]), subjects, np.array([colours]))


@pytest.mark.parametrize(
    ("said", "right"),
    [
        (a_pair(3, 5, (1, 2)), set(PARTS)),
        (a_pair(3, 5, (0, 2)), {"two_subjects", "relation"}),
        (a_pair(3, 5, (1, 7)), set(PARTS)),  # the second one's colour was not told
        (a_pair(5, 3, (1, 2)), {"two_subjects", "their_colours"}),
        (a_pair(3, 5, (1, 2), is_down=True), {"two_subjects", "their_colours"}),
        (a_pair(3, 6, (1, 2)), {"their_colours", "relation"}),
        (a_pair(3, 3, (1, 2)), {"their_colours"}),
    ],
)
def test_each_part_is_counted_by_itself_and_all_of_them_together(said: Pairs, right: set[str]) -> None:
    found = parts_right(said, a_pair(3, 5, (1, UNKNOWN)))
    assert {part for part in PARTS if found[part][0, 0]} == right


def test_real_clips_show_what_was_asked_for_and_not_what_another_prompt_did(said: Pairs, true: Pairs) -> None:
    least = {"two_subjects": 0.75, "their_colours": 0.8, "relation": 0.85, "all_parts": 0.7}
    for part, right in parts_right(said, true).items():
        assert np.trace(right) / COUNT >= least[part], part
    others = parts_right(said, true)["all_parts"] & ~np.eye(COUNT, dtype=bool)
    assert not others.any()


def test_in_a_mirrored_clip_left_is_right(evaluator: Evaluator, real: list[np.ndarray], true: Pairs) -> None:
    mirrored = [np.ascontiguousarray(clip[:, :, ::-1]) for clip in real]
    found = np.diag(parts_right(weights.load_pairs().answer(evaluator, mirrored), true)["relation"])
    assert found[~true.is_down].mean() <= 0.2
    assert found[true.is_down].mean() >= 0.8


def test_a_few_lessons_suffice_to_find_both_figures(evaluator: Evaluator) -> None:
    lessons = pair_lessons(evaluator, 12)
    judge = fit_pairs(evaluator, lessons)
    shipped = weights.load_pairs()
    for lesson, down in enumerate(lessons.is_down.long()):
        hints, places = lessons.hints[lesson], lessons.places[lesson]
        assert places.shape == (len(DETAIL_FRAMES), 2, 2)
        found = torch.einsum("nkh,khp->nkp", hints, judge.place[down])
        assert (found - places).norm(dim=-1).median() < 0.08
        assert (torch.einsum("nkh,khp->nkp", hints, shipped.place[down]) - places).norm(dim=-1).median() < 0.1


def test_a_report_has_the_parts_and_real_renders_reach_its_ceiling(real: list[np.ndarray]) -> None:
    def truthful(asked: Sequence[Case]) -> Iterator[np.ndarray]:
        yield from real[: len(asked)]

    report = run_suite(truthful, suite="relation", limit=6, training_clips=0)
    assert list(report.accuracy) == ["background", "look", *PARTS]
    for found in report.accuracy.values():
        assert found.model == found.ceiling
    whole = report.accuracy["all_parts"]
    assert whole.n == 6
    assert whole.model is not None
    assert whole.model >= 0.5
    assert whole.controls == {
        "untrained": 0,
        "frozen_first_frame": whole.controls["frozen_first_frame"],
        "random_other_clip": 0,
    }
    assert "| all parts | 6 |" in report.to_markdown()
    assert metrics.flicker(real[0]) == pytest.approx(report.flicker.real, abs=0.1)
