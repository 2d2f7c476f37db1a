"""The evaluation says what is in a clip, and says no more than the pixels show."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from hibari.contracts import InvalidRequest, WeightsError
from hibari.training.evaluate import metrics, weights
from hibari.training.evaluate.lessons import CLASSES, LESSON_SEEDS, UNKNOWN, lesson_spec, true_track, truth
from hibari.training.evaluate.network import Answers, Evaluator
from hibari.training.evaluate.report import FLOOR_SEEDS, run_suite
from hibari.training.evaluate.suite import CASES, SUITE_SEEDS, Case, cases
from hibari.training.world.render import render
from hibari.training.world.spec import draw, is_held_out

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return weights.load()


@pytest.fixture(scope="module")
def real() -> list[np.ndarray]:
    return [render(case.spec) for case in cases(count=24)]


@pytest.fixture(scope="module")
def answers(evaluator: Evaluator, real: list[np.ndarray]) -> Answers:
    return evaluator.answer(real)


def _true(attribute: str) -> np.ndarray:
    return np.array([truth(case.spec)[attribute] for case in cases(count=24)])


# ------------------------------------------------------------------------------------------------ the suite


def test_the_suite_is_the_same_every_time_and_a_shorter_one_is_its_beginning():
    first = cases(count=30)
    cases.cache_clear()
    assert cases(count=30) == first
    assert cases(count=12) == first[:12]


def test_the_suite_asks_only_for_what_training_never_sees():
    for case in cases():
        figure = case.spec.figures[0]
        assert is_held_out(figure.subject, case.spec.motion, case.spec.backdrop)
        assert case.prompt.strip()


def test_the_suite_has_enough_of_what_is_seldom():
    truths = [truth(case.spec) for case in cases()]
    assert len(truths) == CASES >= 240
    assert sum(t["colour"] != UNKNOWN for t in truths) >= 60
    assert sum(t["camera"] != CLASSES["camera"].index("still") for t in truths) >= 60
    assert sum(t["look"] != CLASSES["look"].index("plain") for t in truths) >= 40


def test_the_evaluator_learns_from_other_seeds_than_the_suite_asks_for():
    used = {case.seed for case in cases()}
    assert min(used) >= SUITE_SEEDS
    assert max(used) < LESSON_SEEDS < FLOOR_SEEDS
    assert LESSON_SEEDS + 100_000 < FLOOR_SEEDS


def test_lessons_stay_held_out_though_their_looks_and_cameras_are_drawn_anew():
    for index in range(200):
        spec = lesson_spec(index)
        assert is_held_out(spec.figures[0].subject, spec.motion, spec.backdrop)


@pytest.mark.parametrize(("suite", "count", "named"), [("hard", 5, "held-out"), ("held-out", 0, "1 or more")])
def test_an_impossible_suite_is_refused_with_what_is_possible(suite: str, count: int, named: str):
    with pytest.raises(InvalidRequest, match=named):
        cases(suite, count)


# ------------------------------------------------------------------------------------------------ truth


@pytest.mark.parametrize("motion", [m for m in CLASSES["motion"] if m != "shakes"])
def test_the_true_track_is_where_the_pixels_differ(motion: str):
    # The same clip twice, in opposite colours: only the subject's pixels differ.
    spec = draw(SUITE_SEEDS, "any", group="single")
    (figure,) = spec.figures
    figure = replace(figure, subject="ball", colour="red", size="medium", x=0.5, y=0.5)
    spec = replace(spec, figures=(figure,), motion=motion, weather="clear", look="plain")
    other = replace(spec, figures=(replace(figure, colour="green"),))
    differs = np.abs(render(spec).astype(int) - render(other)).sum(-1) > 40
    track = true_track(spec)
    for mask, (x, y, log_side) in zip(differs[::4], track[::4], strict=True):
        rows, columns = np.nonzero(mask)
        inside = 0 < columns.min() and columns.max() < 127 and 0 < rows.min() and rows.max() < 127
        if inside:
            assert (columns.min() + columns.max()) / 2 / 128 == pytest.approx(x, abs=0.03)
            assert (rows.min() + rows.max()) / 2 / 128 == pytest.approx(y, abs=0.03)
            # A ball fills nearly all of its sprite.
            assert (columns.max() - columns.min()) / 128 == pytest.approx(np.exp(log_side), rel=0.2)


def test_no_colour_is_asked_for_where_none_is_seen():
    coloured = next(case.spec for case in cases() if truth(case.spec)["colour"] != UNKNOWN)
    assert truth(replace(coloured, look="black_and_white"))["colour"] == UNKNOWN
    plain = replace(coloured.figures[0], colour=None)
    assert truth(replace(coloured, figures=(plain,)))["colour"] == UNKNOWN


# ------------------------------------------------------------------------------------------------ the evaluator


@pytest.mark.parametrize(
    ("attribute", "least"),
    [
        ("subject", 0.7),
        ("colour", 0.75),
        ("motion", 0.75),
        ("background", 0.9),
        ("camera", 0.85),
        ("look", 0.9),
    ],
)
def test_the_evaluator_knows_real_clips_and_is_not_content_with_any(
    answers: Answers, attribute: str, least: float
):
    true = _true(attribute)
    counted = true != UNKNOWN
    said = answers.classes[attribute]
    right = metrics.share_right(said, true, counted)
    wrong = metrics.share_right(said, np.roll(true, 1), counted & np.roll(counted, 1))
    assert right is not None
    assert wrong is not None
    assert right >= least
    assert wrong < right - 0.1


def test_the_evaluator_finds_the_subject(answers: Answers):
    true = np.stack([true_track(case.spec) for case in cases(count=24)])
    away = np.linalg.norm(answers.track[..., :2] - true[..., :2], axis=-1)
    assert np.median(away) < 0.06  # shares of the frame; measured 0.045, and figures are 0.34 to 0.64 across


def test_a_clip_that_stands_still_shows_no_motion(evaluator: Evaluator, real: list[np.ndarray]):
    said = evaluator.answer([metrics.frozen(clip) for clip in real]).classes
    true = _true("motion")
    stays = CLASSES["motion"].index("stays")
    assert (said["motion"] == true)[true != stays].mean() <= 0.1
    assert (said["camera"] == CLASSES["camera"].index("still")).mean() > 0.8


def test_a_clip_of_another_shape_is_refused(evaluator: Evaluator):
    with pytest.raises(ValueError, match=r"uint8 \[33, 128, 128, 3\]"):
        evaluator.answer([np.zeros((17, 128, 128, 3), np.uint8)])


@pytest.mark.parametrize("harm", ["flipped bit", "cut", "absent", "no hash"])
def test_damaged_weights_are_refused(tmp_path, harm: str):
    path = weights.save(Evaluator(), tmp_path / weights.NAME)
    assert weights.load(path)
    content = bytearray(path.read_bytes())
    if harm == "flipped bit":
        content[-1] ^= 1
        path.write_bytes(content)
    elif harm == "cut":
        path.write_bytes(content[:1000])
    elif harm == "absent":
        path.unlink()
    else:
        path.with_name("manifest.json").unlink()
    with pytest.raises(WeightsError, match=r"damaged|missing|manifest"):
        weights.load(path)


# ------------------------------------------------------------------------------------------------ metrics


def test_a_still_clip_does_not_flicker_and_an_alternating_one_does_fully():
    still = np.full((9, 16, 16, 3), 77, np.uint8)
    assert metrics.flicker(still) == 1
    assert metrics.motion_amount(still) == 0
    blinking = still.copy()
    blinking[::2], blinking[1::2] = 0, 255
    assert metrics.flicker(blinking) == 0


def test_flow_measures_how_far_a_picture_moves():
    noise = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    picture = np.kron(noise, np.ones((6, 6, 1), np.uint8))
    moving = np.stack([picture[:, 2 * k : 2 * k + 96] for k in range(9)])
    assert metrics.flow_amount(moving) == pytest.approx(2, rel=0.25)
    assert metrics.flow_amount(np.repeat(moving[:1], 9, 0)) < 0.01


def test_frechet_distance_is_nothing_between_equals_and_the_square_of_a_shift():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 6))
    assert metrics.frechet(points, points) == pytest.approx(0, abs=1e-8)
    assert metrics.frechet(points, points + 2) == pytest.approx(6 * 4)
    # Twice the deviation: tr(C + 4 C - 4 C) = tr C, and the mean moves by itself.
    expected = np.trace(np.cov(points, rowvar=False)) + np.square(points.mean(0)).sum()
    assert metrics.frechet(points, 2 * points) == pytest.approx(expected)


def test_a_copy_is_at_no_distance_from_its_training_clip(real: list[np.ndarray]):
    training = np.stack([metrics.thumbnail(clip) for clip in real[:5]])
    distances = metrics.nearest_distances(real[:6], training)
    assert distances[:5] == pytest.approx(0, abs=1e-3)
    assert distances[5] > 0.02


# ------------------------------------------------------------------------------------------------ the report


def test_a_run_over_real_renders_reaches_the_ceiling_and_its_controls_do_not(evaluator: Evaluator):
    told: list[str] = []

    def truthful(asked: Sequence[Case]) -> Iterator[np.ndarray]:
        return (render(case.spec) for case in asked)

    report = run_suite(
        truthful,
        limit=8,
        training_clips=6,
        evaluator=evaluator,
        on_progress=lambda what, *_: told.append(what),
    )
    found = json.loads(report.to_json())
    assert set(found["accuracy"]["subject"]) == {"model", "ceiling", "controls", "n"}
    for accuracy in found["accuracy"].values():
        assert accuracy["model"] == accuracy["ceiling"]
        assert set(accuracy["controls"]) == {"untrained", "frozen_first_frame", "random_other_clip"}
    motion = found["accuracy"]["motion"]
    assert motion["n"] == 8
    assert motion["controls"]["frozen_first_frame"] <= motion["model"] - 0.4
    assert motion["controls"]["random_other_clip"] <= motion["model"] - 0.4
    assert found["accuracy"]["subject"]["controls"]["untrained"] <= 0.25
    assert found["copying"]["training_clips"] == 6
    assert found["frechet"]["model"] == pytest.approx(found["frechet"]["floor"])
    assert "generating" in told
    assert "| motion | 8 |" in report.to_markdown()
