"""Defends shared passes and turns: they change nothing but rounding, and they are fair."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from engine_models import (
    LANDSCAPE,
    SMALL,
    SPEC,
    SQUARE,
    Tiny,
    alone,
    engine_of,
    frames_of,
    latents_of,
    request,
)
from engine_told import ROUNDING, finished_in_order, latent_alone, steps_in_order, were_shared

from hibari.contracts import Card
from hibari.diffusion.schedule import schedule
from hibari.engine import (
    Engine,
    Event,
    Finished,
    StepDone,
)
from hibari.engine.loop import advance, prepare

# ---------------------------------------------------------------- shared forward passes


def test_requests_of_one_shape_share_passes_at_whatever_step_and_guidance() -> None:
    model = Tiny()
    engine = engine_of(model)
    wishes = {
        "a": request("a cat", steps=4, guidance_scale=3, seed=1),
        "b": request("a dog in the snow", steps=6, guidance_scale=1, seed=2),
        "c": request("a boat", steps=5, guidance_scale=7, guidance_interval=(0.5, 1), seed=3),
    }
    assert schedule(5, SPEC.sigma_shift)[3:].tolist() == pytest.approx([2 / 3, 3 / 7, 0])
    for id_, wish in wishes.items():
        engine.submit(wish, id=id_)
    events = list(engine.events())
    # a has 2 rows in 4 steps, b 1 row in 6, c 2 rows in the first 4 of 5: at the last its noise is below the interval.
    assert model.calls == [5, 5, 5, 5, 2, 1]
    for id_, wish in wishes.items():
        single = engine_of(Tiny())
        single.submit(wish, id=id_)
        expected = latents_of(single.events())[id_]
        torch.testing.assert_close(latents_of(events)[id_], expected, atol=ROUNDING, rtol=0)


def test_one_that_joins_late_shares_passes_too() -> None:
    model = Tiny()
    engine = engine_of(model, previews=False)
    engine.submit(request(steps=4), id="a")
    events: list[Event] = []
    for event in engine.events():
        events.append(event)
        if isinstance(event, StepDone) and (event.id, event.step) == ("a", 2):
            engine.submit(request("a cat", steps=3, seed=5), id="b")
    assert model.calls[:2] == [2, 2]
    assert 4 in model.calls
    assert np.array_equal(frames_of(events)["a"].shape, alone(request(steps=4)).shape)


def test_alone_it_is_bit_for_bit_the_bare_loop_with_whatever_else_is_in_the_engine() -> None:
    """Another window shape never shares: not a bit may depend on who waits beside it."""
    wish = request(steps=5, seconds=2)
    doing = prepare(Tiny(), wish)
    while not doing.done:
        (doing,) = advance(Tiny(), [doing])
    engine = engine_of(Tiny())
    engine.submit(request(size=LANDSCAPE, seed=9))
    id_ = engine.submit(wish)
    engine.submit(request(seconds=0, seed=10))
    assert torch.equal(latents_of(engine.events())[id_], doing.state.latent_CFHW)


def test_other_shapes_and_deterministic_ones_never_share() -> None:
    model = Tiny()
    engine = engine_of(model)
    wishes = {
        "square": request(),
        "landscape": request(size=LANDSCAPE),
        "picture": request(seconds=0),
        "exact": request(deterministic=True),
        "exact too": request(deterministic=True, seed=8),
    }
    for id_, wish in wishes.items():
        engine.submit(wish, id=id_)
    events = list(engine.events())
    assert set(model.calls) == {2}
    frames = frames_of(events)
    for id_, wish in wishes.items():
        assert np.array_equal(frames[id_], alone(wish)), id_


def test_windows_of_a_long_clip_share_with_a_short_clip_that_fills_one() -> None:
    """Shape of the window counts, not length of the clip."""
    model = Tiny()
    engine = engine_of(model)
    long, short = request(seconds=4, guidance_scale=1), request(seconds=2, guidance_scale=1)
    assert (SPEC.latent_frames(long.native_frames), SPEC.latent_frames(short.native_frames)) == (9, 5)
    for id_, wish in (("long", long), ("short", short)):
        engine.submit(wish, id=id_)
    events = list(engine.events())
    assert model.calls == [2] * 4 + [1] * 8
    assert were_shared(events) == [True, True]


def test_a_recipe_says_whether_passes_were_shared() -> None:
    engine = engine_of(Tiny())
    engine.submit(request())
    assert were_shared(list(engine.events())) == [False]


def test_no_pass_has_more_rows_than_allowed() -> None:
    model = Tiny()
    engine = engine_of(model, max_rows=5)
    for seed in range(7):
        engine.submit(request(seed=seed))
    events = list(engine.events())
    assert max(model.calls) == 4  # two guided ones; a third would make six rows
    assert sum(model.calls) == 7 * 4 * 2
    assert len(finished_in_order(events)) == 7


def test_a_storyboard_shares_passes_with_a_single_prompt() -> None:
    """Rows are the cards that show in the window, and the negative prompt."""
    model = Tiny()
    cards = (Card(0, "a cat"), Card(0.5, "a dog"))
    board, plain = request(cards=cards, seconds=1), request("a boat", seed=3)
    engine = engine_of(model)
    ids = engine.submit(board), engine.submit(plain)
    latents = latents_of(engine.events())
    assert model.calls == [5] * 4
    for id_, wish in zip(ids, (board, plain), strict=True):
        single = engine_of(Tiny())
        expected = single.submit(wish)
        torch.testing.assert_close(latents[id_], latents_of(single.events())[expected], atol=ROUNDING, rtol=0)


def test_who_reuses_a_velocity_takes_no_rows_of_a_shared_pass() -> None:
    model = Tiny()
    engine = engine_of(model)
    wishes = {"reusing": request(steps=6, reuse=0.99), "other": request("a cat", steps=6)}
    for id_, wish in wishes.items():
        engine.submit(wish, id=id_)
    latents = latents_of(engine.events())
    assert model.calls == [4, 4, 2, 4, 2, 4], "every second step, but the last"
    for id_, wish in wishes.items():
        torch.testing.assert_close(latents[id_], latent_alone(wish), atol=ROUNDING, rtol=0)


# ---------------------------------------------------------------- whose turn it is


def unshared(**options: Any) -> Engine:
    """Room for one generation a pass, so that turns show."""
    return engine_of(Tiny(), max_rows=2, previews=False, **options)


def test_priority_goes_first_even_if_it_comes_last() -> None:
    engine = unshared()
    for id_, priority in (("a", 0), ("b", 5), ("c", 1)):
        engine.submit(request(), id=id_, priority=priority)
    events: list[Event] = []
    for event in engine.events():
        events.append(event)
        if isinstance(event, StepDone) and (event.id, event.step) == ("c", 2):
            engine.submit(request(), id="d", priority=9)
    assert steps_in_order(events) == "bbbb" + "cc" + "dddd" + "cc" + "aaaa"
    assert finished_in_order(events) == ["b", "d", "c", "a"]


def test_each_soon_has_a_preview_and_of_equal_ones_the_first_is_finished_first() -> None:
    engine = unshared()
    for id_ in "abc":
        engine.submit(request(), id=id_)
    events = list(engine.events())
    assert steps_in_order(events) == "abc" + "aaa" + "bbb" + "ccc"
    assert finished_in_order(events) == ["a", "b", "c"]


def test_a_hundred_jobs_of_one_owner_do_not_starve_one_of_another() -> None:
    engine = unshared()
    for number in range(100):
        engine.submit(request(steps=2, seed=number, size=SMALL), owner="many", id=f"m{number}")
    events: list[Event] = []
    for event in engine.events():
        events.append(event)
        if isinstance(event, StepDone) and sum(isinstance(e, StepDone) for e in events) == 20:
            engine.submit(request(steps=10, size=SMALL), owner="one", id="x")
        if isinstance(event, Finished) and event.id == "x":
            break
    since = [event for event in events if isinstance(event, StepDone)][20:]
    others = sum(event.id != "x" for event in since)
    assert sum(event.id == "x" for event in since) == 10
    assert 8 <= others <= 13, "two owners share evenly, however many jobs one has"


def test_owners_get_the_same_whatever_the_number_and_size_of_their_jobs() -> None:
    """Counted in what is computed, rows x tokens, and not in turns."""
    engine = unshared()
    for number in range(9):
        engine.submit(request(size=SMALL, steps=200), owner="many small", id=f"s{number}")
    engine.submit(request(size=SQUARE, steps=200), owner="one larger", id="L")
    had: Counter[str] = Counter()
    for event in engine.events():
        if isinstance(event, StepDone):
            had[event.id[0]] += 2 if event.id == "L" else 1  # 16 cells a latent frame against 8
        if had.total() >= 200:
            break
    assert abs(had["s"] - had["L"]) <= 2, had


def test_a_long_job_does_not_hold_up_a_short_one_for_more_than_a_turn() -> None:
    for owner in ("same", "other"):
        engine = unshared()
        engine.submit(request(seconds=10, steps=50), owner="same", id="l")
        events: list[Event] = []
        for event in engine.events():
            events.append(event)
            if isinstance(event, StepDone) and (event.id, event.step) == ("l", 30):
                engine.submit(request(steps=4), owner=owner, id="s")
            if isinstance(event, Finished):
                break
        assert finished_in_order(events) == ["s"]
        after = steps_in_order(events)[30:]
        assert after.count("s") == 4
        assert "ll" not in after[: after.rindex("s")], after


def test_nobody_saves_up_turns_by_pausing() -> None:
    engine = unshared()
    engine.submit(request(steps=50), id="p", owner="one")
    engine.submit(request(steps=50), id="q", owner="another")
    order, until_resumed = "", None
    for event in engine.events():
        if not isinstance(event, StepDone):
            continue
        order += event.id
        if order == "p":
            engine.pause("p")
        elif order == "p" + "q" * 20:
            engine.resume("p")
            until_resumed = len(order)
        if order.count("p") >= 10:
            break
    after = order[until_resumed:]
    assert "ppp" not in after, f"resumed, it has the engine to itself: {after}"
