"""Defends what is planned where frames are given, changed, or told by cards."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from engine_models import (
    SMALL,
    SPEC,
    Tiny,
    request,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hibari.contracts import Card
from hibari.engine import (
    Start,
)
from hibari.engine.loop import advance, card_weights, plan_of, prepare
from hibari.engine.start import latent_shape
from hibari.models.plan import plan

# ---------------------------------------------------------------- plan and start, whatever is given


@st.composite
def masks(draw: st.DrawFn) -> tuple[int, int, int, tuple[bool, ...]]:
    """Latent frames of a clip and of a window, overlap, and which are given: in front, behind, both, or scattered."""
    clip, window = draw(st.integers(1, 60)), draw(st.integers(1, 12))
    overlap = draw(st.integers(0, window - 1))
    kind = draw(st.sampled_from(("none", "front", "back", "both", "scattered")))
    if kind == "scattered":
        given_F = tuple(draw(st.lists(st.booleans(), min_size=clip, max_size=clip)))
    else:
        front = draw(st.integers(1, clip)) if kind in ("front", "both") else 0
        back = draw(st.integers(1, clip)) if kind in ("back", "both") else 0
        given_F = tuple(k < front or k >= clip - back for k in range(clip))
    assume(not all(given_F))
    return clip, window, overlap, given_F


@settings(deadline=None, max_examples=150)
@given(masks(), st.integers(1, 6), st.one_of(st.none(), st.floats(0.01, 1)))
def test_windows_make_each_frame_that_is_not_given_once(
    case: tuple[int, int, int, tuple[bool, ...]], steps: int, strength: float | None
) -> None:
    clip, window, overlap, given_F = case
    spec = replace(SPEC, window_frames=window, window_overlap=overlap)
    wish = replace(request(steps=steps, strength=strength or 1), native_frames=1 + 4 * (clip - 1))
    stages = plan(spec, wish, given_F, changes=strength is not None)
    known, made = list(given_F), []
    for stage in stages:
        assert stage.frames == min(window, clip)
        assert 0 <= stage.start <= stage.end - 1 <= clip - 1
        assert list(stage.given) == known[stage.start : stage.end], "a window must know what is there"
        assert not all(stage.given), "a window that makes nothing"
        made += [stage.start + k for k, is_given in enumerate(stage.given) if not is_given]
        known[stage.start : stage.end] = [True] * stage.frames
        assert all(one > other for one, other in zip(stage.sigmas, stage.sigmas[1:], strict=False))
        assert stage.sigmas[-1] == 0
        assert stage.sigmas[0] == (1 if strength is None else pytest.approx(strength))
    assert sorted(made) == [frame for frame in range(clip) if not given_F[frame]]
    if any(given_F) or clip <= window:
        return
    assert all(sum(stage.given) >= overlap for stage in stages[1:])


@settings(deadline=None, max_examples=80)
@given(masks())
def test_where_something_is_given_each_window_begins_beside_it(
    case: tuple[int, int, int, tuple[bool, ...]],
) -> None:
    """No window is made out of nothing while there is something that it must fit to."""
    clip, window, overlap, given_F = case
    assume(overlap >= 1)
    assume(any(given_F))
    spec = replace(SPEC, window_frames=window, window_overlap=overlap)
    wish = replace(request(), native_frames=1 + 4 * (clip - 1))
    assert all(any(stage.given) for stage in plan(spec, wish, given_F))


@pytest.mark.parametrize("strength", [0.001, 0.3, 0.75, 0.9999, 1.0])
def test_strength_leaves_the_noisier_part_of_the_schedule_out(strength: float) -> None:
    wish = request(steps=20, strength=strength)
    (whole,), (part,) = plan(SPEC, wish), plan(SPEC, wish, (False,) * 3, changes=True)
    assert part.sigmas[0] == strength
    assert part.sigmas[1:] == tuple(sigma for sigma in whole.sigmas if sigma < strength)
    assert part.steps >= 1


@settings(deadline=None, max_examples=30)
@given(st.lists(st.booleans(), min_size=9, max_size=9), st.booleans(), st.integers(0, 2**31))
def test_given_frames_come_out_as_they_went_in(marks: list[bool], changes: bool, seed: int) -> None:
    assume(not all(marks))
    wish = request(
        seconds=4, steps=2, seed=seed, strength=0.7 if changes else 1, guidance_scale=1, size=SMALL
    )
    latent = torch.randn(latent_shape(SPEC, wish), generator=torch.Generator().manual_seed(seed))
    start = Start(latent, tuple(marks), tuple(not mark for mark in marks) if changes else ())
    doing = prepare(Tiny(), wish, start)
    assert doing.plan == plan_of(Tiny(), wish, start)
    given_F = torch.tensor(marks)
    while not doing.done:
        assert torch.equal(doing.state.latent_CFHW[:, given_F], latent[:, given_F])
        (doing,) = advance(Tiny(), [doing])
    made = doing.state.latent_CFHW
    assert torch.equal(made[:, given_F], latent[:, given_F])
    assert (made[:, ~given_F] != latent[:, ~given_F]).flatten(2).any(2).all()


# ---------------------------------------------------------------- cards


times = st.lists(st.floats(0.01, 10), max_size=6, unique=True).map(sorted)


@settings(deadline=None)
@given(times, st.floats(0, 5))
def test_in_every_frame_the_cards_share_one_whole(at_s: list[float], transition_s: float) -> None:
    cards = tuple(Card(time, f"card {number}") for number, time in enumerate([0, *at_s]))
    weight_KF = card_weights(SPEC, request(cards=cards, seconds=10, transition_s=transition_s))
    assert weight_KF.shape == (len(cards), SPEC.latent_frames(80))
    assert (weight_KF >= 0).all()
    torch.testing.assert_close(weight_KF.sum(0), torch.ones(weight_KF.shape[1]))


def middle_s(index: int) -> float:
    """Of a latent frame's pixel frames: 0, then 1-4, 5-8 and so on, at 8 a second."""
    return max(0.0, index * 4 - 1.5) / 8


@settings(deadline=None)
@given(times)
def test_a_cut_is_a_step_and_the_right_card_shows(at_s: list[float]) -> None:
    starts = [0, *at_s]
    cards = tuple(Card(time, f"card {number}") for number, time in enumerate(starts))
    weight_KF = card_weights(SPEC, request(cards=cards, seconds=10, transition_s=0))
    for index, column in enumerate(weight_KF.T.tolist()):
        now_s = middle_s(index)
        if min((abs(time - now_s) for time in at_s), default=1) < 1e-5:
            continue
        shown = max(number for number, time in enumerate(starts) if time <= now_s)
        assert column == [float(number == shown) for number in range(len(starts))], (index, now_s)


def test_a_cut_in_the_middle_of_a_latent_frame_is_a_cut_as_well() -> None:
    """The second latent frame's middle is at 2.5 / 8 s: the very time of the card."""
    cards = (Card(0, "one"), Card(middle_s(1), "two"))
    weight_KF = card_weights(SPEC, request(cards=cards, seconds=1, transition_s=0))
    assert set(weight_KF.flatten().tolist()) == {0.0, 1.0}, weight_KF


def test_a_transition_is_centred_on_the_cards_time_and_as_long_as_asked() -> None:
    cards = (Card(0, "one"), Card(4, "two"), Card(8, "three"))
    weight_KF = card_weights(SPEC, request(cards=cards, seconds=10, transition_s=2))
    for index, column in enumerate(weight_KF.T.tolist()):
        two = min(1.0, max(0.0, (middle_s(index) - 3) / 2))
        three = min(1.0, max(0.0, (middle_s(index) - 7) / 2))
        assert column == pytest.approx([1 - two, two - three, three], abs=1e-6), index
