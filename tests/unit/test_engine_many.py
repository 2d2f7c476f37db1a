"""Defends the engine's promises to many at once: shared passes change nothing but rounding, turns are fair, and what is
cancelled, killed or broken leaves nothing behind and touches nobody else."""

from __future__ import annotations

import gc
import json
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
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
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hibari.contracts import Card, GenerationRequest, InvalidRequest, OutputError, WeightsError
from hibari.diffusion.schedule import schedule
from hibari.engine import (
    Cancelled,
    Engine,
    Event,
    Failed,
    Finished,
    FramesDecoded,
    Queued,
    Sampled,
    Start,
    Started,
    StepDone,
)
from hibari.engine.loop import advance, card_weights, plan_of, prepare
from hibari.engine.start import latent_shape
from hibari.models.plan import plan
from hibari.models.protocol import Conditioning

ROUNDING = 2e-4  # of float32 through four guided steps, in latents of magnitude 2


def kinds(events: list[Event], id_: str) -> list[str]:
    return [type(event).__name__ for event in events if event.id == id_]


def steps_in_order(events: list[Event]) -> str:
    """Whose steps were made, one letter each."""
    return "".join(event.id for event in events if isinstance(event, StepDone))


def finished_in_order(events: list[Event]) -> list[str]:
    return [event.id for event in events if isinstance(event, Finished)]


def latent_alone(wish: GenerationRequest) -> torch.Tensor:
    engine = engine_of(Tiny())
    id_ = engine.submit(wish)
    return latents_of(engine.events())[id_]


def were_shared(events: list[Event]) -> list[object]:
    """What the recipes say of it."""
    return [event.recipe.extra["batched"] for event in events if isinstance(event, Sampled)]


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


# ---------------------------------------------------------------- events


def test_events_of_each_come_in_order_with_the_right_numbers() -> None:
    engine = engine_of(Tiny())
    wishes = {
        "a": request(steps=3),
        "b": request(steps=5, seed=8, seconds=2),
        "c": request(seconds=4, steps=2),
    }
    for id_, wish in wishes.items():
        engine.submit(wish, id=id_)
    events = list(engine.events())
    assert [event.ahead for event in events if isinstance(event, Queued)] == [0, 1, 2]
    for id_, wish in wishes.items():
        mine = [event for event in events if event.id == id_]
        stages = len(plan(SPEC, wish))
        total, frames = stages * wish.steps, wish.native_frames
        chunks = SPEC.latent_frames(frames)
        wanted = [
            "Queued",
            "Started",
            *["StepDone"] * total,
            "Sampled",
            *["FramesDecoded"] * chunks,
            "Finished",
        ]
        assert kinds(events, id_) == wanted
        (started,) = (event for event in mine if isinstance(event, Started))
        assert (started.step, started.total) == (0, total)
        steps = [event for event in mine if isinstance(event, StepDone)]
        assert [(event.step, event.total) for event in steps] == [(n, total) for n in range(1, total + 1)]
        assert all(event.seconds_left > 0 for event in steps[:-1])
        assert steps[-1].seconds_left == 0
        assert all(event.preview is not None and event.preview.shape == (4, 4, 3) for event in steps)
        (sampled,) = (event for event in mine if isinstance(event, Sampled))
        assert sampled.recipe.request == wish
        assert tuple(sampled.latent_CFHW.shape) == latent_shape(SPEC, wish)
        decoded = [event for event in mine if isinstance(event, FramesDecoded)]
        done = np.cumsum([len(event.frames) for event in decoded]).tolist()
        assert [(event.done, event.total) for event in decoded] == [(n, frames) for n in done]
        assert done[-1] == frames
    assert len(engine) == 0


def test_seconds_left_follow_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which a pass takes 2 s, and the time before the start or in a pause counts for nothing."""

    def passes(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    now_s = 100.0
    monkeypatch.setattr("hibari.engine.engine.monotonic", lambda: now_s)
    engine = engine_of(Tiny(on_call=lambda rows: passes(2)))
    engine.submit(request(steps=6), id="a")
    passes(50)
    left_s = []
    for event in engine.events():
        if isinstance(event, StepDone):
            left_s.append(event.seconds_left)
            if event.step == 3:
                engine.pause("a")
                passes(1000)
                engine.resume("a")
    assert left_s == [10, 8, 6, 4, 2, 0]


def test_whoever_stops_listening_and_comes_back_misses_nothing() -> None:
    """A server that handles one event badly must still hear the others of the same turn."""

    def told(events: list[Event]) -> list[tuple[str, str]]:
        return [(event.id, type(event).__name__) for event in events]

    engine, other = engine_of(Tiny()), engine_of(Tiny())
    for id_ in "abc":
        engine.submit(request(), id=id_)
        other.submit(request(), id=id_)
    heard: list[Event] = []
    while (event := next(engine.events(), None)) is not None:
        heard.append(event)
    assert told(heard) == told(list(other.events()))


def test_without_previews_there_are_none() -> None:
    engine = engine_of(Tiny(), previews=False)
    engine.submit(request())
    assert all(event.preview is None for event in engine.events() if isinstance(event, StepDone))


def test_an_unsuitable_start_or_a_taken_id_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    engine = engine_of(Tiny(), checkpoints=tmp_path)
    engine.submit(request(), id="a")
    with pytest.raises(InvalidRequest, match="every frame"):
        engine.submit(request(), start=Start(torch.zeros(4, 3, 4, 4), (True,) * 3))
    with pytest.raises(InvalidRequest, match="already a generation a"):
        engine.submit(request("something else", seed=99), id="a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.generation"]
    restored = engine_of(Tiny(), checkpoints=tmp_path)
    restored.restore()
    assert np.array_equal(frames_of(restored.events())["a"], alone(request())), (
        "the refused one took its place"
    )


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    engine = engine_of(Tiny(), checkpoints=tmp_path / "file")
    with pytest.raises(OutputError, match="cannot write"):
        engine.submit(request())
    assert len(engine) == 0


def test_one_that_breaks_ends_with_its_own_error_and_the_next_runs() -> None:
    def broken(rows: int) -> None:
        if rows == 1:
            raise ValueError("NaN in here")

    engine = engine_of(Tiny(on_call=broken))
    engine.submit(request(guidance_scale=1, size=LANDSCAPE), id="bad")
    engine.submit(request(), id="good")
    events = list(engine.events())
    (failed,) = (event for event in events if isinstance(event, Failed))
    assert (failed.id, str(failed.error)) == ("bad", "NaN in here")
    assert np.array_equal(frames_of(events)["good"], alone(request()))
    assert len(engine) == 0


def test_one_that_breaks_a_shared_pass_does_not_take_the_others_along() -> None:
    class Picky(Tiny):
        def prepare(self, conditioning: Conditioning) -> Conditioning:
            return {**super().prepare(conditioning), "bad_B": conditioning["text_BD"][:, 0] == bad}

        def velocity(
            self,
            latent_BCFHW: torch.Tensor,
            sigma_BF: torch.Tensor,
            conditioning: Conditioning,
            start_B: torch.Tensor,
        ) -> torch.Tensor:
            if conditioning["bad_B"].any():
                raise ValueError("this prompt breaks the network")
            return super().velocity(latent_BCFHW, sigma_BF, conditioning, start_B)

    bad = Tiny().encode_text(["broken"])["text_BD"][0, 0]
    engine = engine_of(Picky())
    for id_, prompt in (("a", "a cat"), ("bad", "broken"), ("b", "a dog")):
        engine.submit(request(prompt), id=id_)
    events = list(engine.events())
    assert [(event.id, str(event.error)) for event in events if isinstance(event, Failed)] == [
        ("bad", "this prompt breaks the network")
    ]
    assert sorted(finished_in_order(events)) == ["a", "b"]


# ---------------------------------------------------------------- cancel, pause, close


def cancel_when(matches: Callable[[Event], bool], folder: Path) -> list[Event]:
    """Two generations share passes; "a" is cancelled at the first event that matches. All events."""
    engine = engine_of(Tiny(), checkpoints=folder, checkpoint_every_s=0)
    for id_ in "ab":
        engine.submit(request(seed=ord(id_)), id=id_)
    events: list[Event] = []
    for event in engine.events():
        events.append(event)
        if matches(event) and "Cancelled" not in kinds(events, "a"):
            engine.cancel("a")
    assert len(engine) == 0
    assert not list(folder.iterdir())
    assert kinds(events, "b")[-1] == "Finished"
    torch.testing.assert_close(
        latents_of(events)["b"], latent_alone(request(seed=ord("b"))), atol=ROUNDING, rtol=0
    )
    return events


def test_cancelled_before_it_starts(tmp_path: Path) -> None:
    events = cancel_when(lambda event: isinstance(event, Queued), tmp_path)
    assert kinds(events, "a") == ["Queued", "Cancelled"]


def test_cancelled_between_steps(tmp_path: Path) -> None:
    events = cancel_when(lambda event: isinstance(event, StepDone) and event.step == 2, tmp_path)
    assert kinds(events, "a") == ["Queued", "Started", "StepDone", "StepDone", "Cancelled"]


def test_cancelled_while_it_is_decoded(tmp_path: Path) -> None:
    events = cancel_when(lambda event: event.id == "a" and isinstance(event, FramesDecoded), tmp_path)
    steps = ["StepDone"] * 4
    assert kinds(events, "a") == ["Queued", "Started", *steps, "Sampled", "FramesDecoded", "Cancelled"]


def test_cancelled_by_another_thread_in_the_middle_of_a_forward_pass(tmp_path: Path) -> None:
    """The pass in work ends, and nothing of it comes back: no event, no file."""

    def cancel(rows: int) -> None:
        if len(model.calls) == 2:
            thread = threading.Thread(target=lambda: answers.append(engine.cancel("a")))
            thread.start()
            thread.join()

    answers: list[bool] = []
    model = Tiny(on_call=cancel)
    engine = engine_of(model, checkpoints=tmp_path, checkpoint_every_s=0)
    for id_ in "ab":
        engine.submit(request(), id=id_)
    events = list(engine.events())
    assert answers == [True]
    assert kinds(events, "a") == ["Queued", "Started", "StepDone", "Cancelled"]
    assert kinds(events, "b")[-1] == "Finished"
    assert model.calls == [4, 4, 2, 2]
    assert not list(tmp_path.iterdir())


def test_nobody_there_to_cancel_pause_or_resume() -> None:
    engine = engine_of(Tiny())
    assert [engine.cancel("x"), engine.pause("x"), engine.resume("x")] == [False] * 3
    id_ = engine.submit(request())
    assert engine.cancel(id_)
    assert not engine.cancel(id_)


def test_a_cancelled_id_can_be_used_again(tmp_path: Path) -> None:
    """Also within the pass that was in work: the old one must not come back under the new one's name."""

    def swap(rows: int) -> None:
        if len(model.calls) == 2:
            engine.cancel("a")
            engine.submit(wish, id="a", owner="somebody else")

    wish = request("another", seed=5)
    model = Tiny(on_call=swap)
    engine = engine_of(model, checkpoints=tmp_path, checkpoint_every_s=0)
    engine.submit(request(), id="a")
    events = list(engine.events())
    first = ["Queued", "Started", "StepDone", "Cancelled"]
    assert kinds(events, "a") == [*first, "Queued", "Started", *["StepDone"] * 4, "Sampled"] + [
        "FramesDecoded"
    ] * 3 + ["Finished"]
    assert np.array_equal(frames_of(events)["a"], alone(wish))
    assert not list(tmp_path.iterdir())


def test_paused_it_makes_no_step_and_resumed_it_ends_with_the_same_bits() -> None:
    engine = engine_of(Tiny())
    engine.submit(request(), id="a")
    engine.submit(request(size=LANDSCAPE), id="b")
    events: list[Event] = []
    for event in engine.events():
        events.append(event)
        if isinstance(event, StepDone) and (event.id, event.step) == ("a", 2):
            assert engine.pause("a")
            assert engine.pause("a"), "twice is no harm"
    assert finished_in_order(events) == ["b"]
    assert kinds(events, "a") == ["Queued", "Started", "StepDone", "StepDone", "Paused"]
    assert len(engine) == 1
    assert list(engine.events()) == []
    assert engine.resume("a")
    more = list(engine.events())
    assert kinds(more, "a")[:3] == ["Resumed", "StepDone", "StepDone"]
    assert np.array_equal(frames_of(more)["a"], alone(request()))
    assert len(engine) == 0


def test_one_that_is_paused_while_it_waits_is_not_started() -> None:
    engine = engine_of(Tiny())
    engine.submit(request(), id="a")
    engine.pause("a")
    assert kinds(list(engine.events()), "a") == ["Queued", "Paused"]
    engine.cancel("a")
    assert kinds(list(engine.events()), "a") == ["Cancelled"]
    assert len(engine) == 0


class Driver:
    """Walks an engine's events in a thread, as a server does."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.events: list[Event] = []
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._walk, daemon=True)
        self.thread.start()

    def _walk(self) -> None:
        try:
            for event in self.engine.events(wait=True):
                self.events.append(event)
        except BaseException as error:  # noqa: BLE001 - told by `until` and `close`
            self.error = error

    def until(self, happened: Callable[[list[Event]], bool], limit_s: float = 10) -> None:
        end = monotonic() + limit_s
        while not happened(self.events):
            assert self.error is None, f"the engine died of {self.error!r}"
            assert monotonic() < end, (
                f"waited in vain; {[type(event).__name__ for event in self.events][-5:]}"
            )
            sleep(0.001)

    def close(self) -> None:
        self.engine.close()
        self.thread.join(10)
        assert not self.thread.is_alive()
        assert self.error is None, f"the engine died of {self.error!r}"


def test_a_waiting_engine_takes_what_comes_until_it_is_closed() -> None:
    driver = Driver(engine_of(Tiny()))
    for number in range(3):
        id_ = driver.engine.submit(request(seed=number))
        driver.until(lambda events, id_=id_: id_ in finished_in_order(events))
        assert driver.thread.is_alive()
    held = driver.engine.submit(request(steps=200))
    driver.until(lambda events: kinds(events, held)[-1:] == ["StepDone"])
    driver.engine.pause(held)
    driver.until(lambda events: kinds(events, held)[-1:] == ["Paused"])
    made = len(driver.events)
    sleep(0.02)
    assert len(driver.events) == made
    driver.engine.resume(held)
    driver.until(lambda events: kinds(events, held)[-1:] == ["StepDone"])
    driver.engine.cancel(held)
    driver.until(lambda events: kinds(events, held)[-1:] == ["Cancelled"])
    driver.close()


def test_a_closed_engine_ends_after_its_turn_and_leaves_the_rest_on_disk(tmp_path: Path) -> None:
    engine = engine_of(Tiny(), checkpoints=tmp_path, checkpoint_every_s=0)
    engine.submit(request(steps=9), id="a")
    events: list[Event] = []
    for event in engine.events():
        events.append(event)
        if isinstance(event, StepDone) and event.step == 3:
            engine.close()
    assert kinds(events, "a") == ["Queued", "Started", *["StepDone"] * 3]
    assert list(engine.events(wait=True)) == []
    other = engine_of(Tiny(), checkpoints=tmp_path)
    assert other.restore() == ["a"]
    events = list(other.events())
    assert [(e.step, e.total) for e in events if isinstance(e, Started)] == [(3, 9)]
    assert np.array_equal(frames_of(events)["a"], alone(request(steps=9)))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """Python changes from thread to thread as often as it can, so that every gap is met."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless_threads")
def test_submitting_and_cancelling_from_many_threads_never_breaks_the_engine() -> None:
    engine = engine_of(Tiny(), previews=False)
    for number in range(200):  # what has to be looked through takes longer when more wait
        engine.pause(engine.submit(request(size=SMALL, steps=1, seed=number)))
    driver = Driver(engine)

    def client(seed: int) -> None:
        dice = random.Random(seed)
        mine: list[str] = []
        for _ in range(60):
            mine.append(engine.submit(request(size=SMALL, steps=dice.randint(1, 4), seed=seed)))
            if dice.random() < 0.7:
                engine.cancel(dice.choice(mine))

    clients = [threading.Thread(target=client, args=(seed,)) for seed in range(4)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    driver.until(lambda events: len(engine) == 200)
    driver.close()
    failed = [event.error for event in driver.events if isinstance(event, Failed)]
    assert not failed, f"{len(failed)} failed, first {failed[0]!r}"


class Interrupted(Tiny):
    """While it reads `prompt`, something happens: what another thread might do between two looks at a generation."""

    def __init__(self, prompt: str, happens: Callable[[], object]) -> None:
        super().__init__()
        self._prompt, self._happens = prompt, happens

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        if list(prompts) == [self._prompt]:
            self._happens()
        return super().encode_text(prompts)


def test_cancelled_while_its_prompt_is_read_it_tells_of_no_step() -> None:
    model = Interrupted("a cat", lambda: engine.cancel("a"))
    engine = engine_of(model)
    engine.submit(request("a cat"), id="a")
    engine.submit(request("a dog", size=LANDSCAPE), id="b")
    events = list(engine.events())
    assert kinds(events, "a")[-1] == "Cancelled"
    assert not {"Failed", "StepDone"} & set(kinds(events, "a"))
    assert kinds(events, "b")[-1] == "Finished"


def test_the_lead_may_be_cancelled_right_after_it_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(Tiny())
    started = engine._started

    def started_then_cancelled(*arguments: Any) -> list[Event]:
        events = started(*arguments)
        engine.cancel("a")
        return events

    monkeypatch.setattr(engine, "_started", started_then_cancelled)
    engine.submit(request(), id="a")
    events = list(engine.events())
    assert "Cancelled" in kinds(events, "a")
    assert not {"Failed", "StepDone"} & set(kinds(events, "a"))


def test_one_that_is_cancelled_in_a_turn_of_another_does_not_come_back() -> None:
    """ "b" has made all steps and waits for decoding; "a" must not go down with it."""
    model = Interrupted("a cat", lambda: engine.cancel("b"))
    engine = engine_of(model)
    engine.submit(request("a dog"), id="b")
    events: list[Event] = []
    for event in engine.events():
        events.append(event)
        if isinstance(event, StepDone) and (event.id, event.step) == ("b", 4):
            engine.submit(request("a cat"), id="a", priority=1)
    assert [event.error for event in events if isinstance(event, Failed)] == []
    assert kinds(events, "b")[-1] == "Cancelled"
    assert np.array_equal(frames_of(events)["a"], alone(request("a cat")))


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def test_five_hundred_that_come_and_go_at_random_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # slow, and not what this is about
    dice = random.Random(0)
    engine = engine_of(Tiny(), checkpoints=tmp_path, max_rows=8, previews=False)

    def wish(number: int) -> GenerationRequest:
        return request(
            f"prompt {number % 7}",
            size=dice.choice((SMALL, SQUARE)),
            seconds=dice.choice((0, 0.5)),
            steps=dice.randint(1, 4),
            seed=number,
        )

    def walk(count: int) -> Counter[str]:
        ended: Counter[str] = Counter()
        alive: list[str] = []
        submitted = 0
        while submitted < count:
            for event in engine.events():
                if isinstance(event, (Finished, Cancelled, Failed)):
                    ended[type(event).__name__] += 1
                    alive.remove(event.id)
                if alive and dice.random() < 0.08:
                    engine.cancel(dice.choice(alive))  # perhaps for the second time
                while submitted < count and len(engine) < dice.randint(0, 8):
                    alive.append(engine.submit(wish(submitted)))
                    submitted += 1
            if submitted < count:
                alive.append(engine.submit(wish(submitted)))
                submitted += 1
        return ended

    walk(40)  # every prompt has been read, every cache is warm
    tensors, threads = live_tensors(), threading.active_count()
    ended = walk(500)
    assert ended["Cancelled"] + ended["Finished"] == 500
    assert min(ended["Cancelled"], ended["Finished"]) > 100, "both ways must be walked"
    assert not ended["Failed"]
    assert len(engine) == 0
    assert not list(tmp_path.iterdir())
    assert threading.active_count() == threads
    assert live_tensors() <= tensors


# ---------------------------------------------------------------- killed and restored

KILLED = """
import os, signal, sys
from pathlib import Path
from engine_models import Tiny, engine_of, request

moment, at = sys.argv[2], int(sys.argv[3])
count = 0

def tick(*_):
    global count
    count += 1
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)

model = Tiny(on_call=tick if moment == "step" else None)
if moment == "save":
    real = os.fsync
    os.fsync = lambda descriptor: (tick(), real(descriptor))
engine = engine_of(model, checkpoints=Path(sys.argv[1]), checkpoint_every_s=0)
engine.submit(request(seconds=4, steps=4, sampler="adams-bashforth"), id="long", owner="one")
short = request(seed=3, size=(96, 64), steps=9, reuse=0.9)
engine.submit(short, id="short", owner="other", extra={"told": "by the test"})
for event in engine.events():
    if moment == type(event).__name__:
        tick()
raise SystemExit("it ended before it could be killed")
"""
MOMENTS = (("step", 6), ("save", 9), ("FramesDecoded", 2))
"""In a forward pass, between writing a checkpoint and renaming it, and while frames are handed over."""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders that processes left behind when they were killed, by the moment of it. They run side by side."""
    folders = {moment: tmp_path_factory.mktemp(moment) for moment, _ in MOMENTS}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folders[moment]), moment, str(at)], cwd=Path(__file__).parent
        )
        for moment, at in MOMENTS
    ]
    assert [process.wait(60) for process in processes] == [-signal.SIGKILL] * len(MOMENTS)
    return folders


@pytest.mark.parametrize("moment", [moment for moment, _ in MOMENTS])
def test_killed_at_any_moment_it_ends_with_the_same_bits(killed: dict[str, Path], moment: str) -> None:
    engine = engine_of(Tiny(), checkpoints=killed[moment])
    ids = engine.restore()
    assert set(ids) <= {"long", "short"}
    events = list(engine.events())
    assert sorted(finished_in_order(events)) == sorted(ids)
    expected = {
        "long": request(seconds=4, steps=4, sampler="adams-bashforth"),
        "short": request(seed=3, size=LANDSCAPE, steps=9, reuse=0.9),
    }
    for id_, frames in frames_of(events).items():
        assert np.array_equal(frames, alone(expected[id_])), id_
    assert "long" in ids
    resumed_at = {event.id: event.step for event in events if isinstance(event, Started)}
    assert resumed_at["long"] > 0, "it began anew"
    assert not list(killed[moment].glob("*.generation"))
    extras = {event.id: event.recipe.extra for event in events if isinstance(event, Sampled)}
    assert extras.get("short", {}).get("told", "by the test") == "by the test"


def test_what_a_killed_process_left_half_written_goes_when_all_is_done(killed: dict[str, Path]) -> None:
    engine = engine_of(Tiny(), checkpoints=killed["save"])
    engine.restore()
    list(engine.events())
    assert not list(killed["save"].iterdir())


def test_restored_ones_keep_their_order(tmp_path: Path) -> None:
    """None has been started when the process ends."""
    engine = engine_of(Tiny(), checkpoints=tmp_path)
    ids = [engine.submit(request(seed=number), id=name) for number, name in enumerate("hcfagbde")]
    restored = engine_of(Tiny(), checkpoints=tmp_path, max_rows=2)
    assert restored.restore() == ids
    assert [event.id for event in restored.events() if isinstance(event, Queued)] == ids


def test_who_was_paused_stays_paused(tmp_path: Path) -> None:
    engine = engine_of(Tiny(), checkpoints=tmp_path)
    engine.submit(request(), id="a")
    engine.pause("a")
    restored = engine_of(Tiny(), checkpoints=tmp_path)
    restored.restore()
    assert kinds(list(restored.events()), "a") == ["Queued"]
    restored.resume("a")
    assert np.array_equal(frames_of(restored.events())["a"], alone(request()))


def test_owner_priority_and_what_it_starts_from_come_back(tmp_path: Path) -> None:
    latent = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def engine_with_all(folder: Path) -> Engine:
        engine = engine_of(Tiny(), checkpoints=folder, checkpoint_every_s=0, max_rows=2)
        given_one = Start(latent, (True, False, False))
        changed_one = Start(latent, (False,) * 3, (True,) * 3)
        engine.submit(request(steps=9), id="g", owner="one", start=given_one)
        engine.submit(request(steps=20, strength=0.6), id="c", owner="two", start=changed_one)
        engine.submit(request(steps=20), id="d", owner="two")
        engine.submit(request(), id="u", owner="three", priority=3)
        return engine

    undisturbed = list(engine_with_all(tmp_path / "one").events())
    assert steps_in_order(undisturbed)[:14] == "uuuu" + "gcd" + "gcgcgcg"
    for event in engine_with_all(tmp_path / "other").events():
        if isinstance(event, StepDone) and (event.id, event.step) == ("g", 3):
            break
    engine = engine_of(Tiny(), checkpoints=tmp_path / "other", max_rows=2)
    assert set(engine.restore()) == {"g", "c", "d"}
    events = list(engine.events())
    frames, expected = frames_of(events), frames_of(undisturbed)
    for id_, made in frames.items():
        assert np.array_equal(made, expected[id_]), id_
    order = steps_in_order(events)[:12]
    assert order.count("g") == 6, f"two owners, and one has two jobs: {order}"
    assert torch.equal(latents_of(events)["g"][:, 0], latent[:, 0])


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "noise": lambda content: random.Random(0).randbytes(len(content)),
    "no request": lambda content: _renamed(content, "request", "re_uest"),
    "no arrival": lambda content: _renamed(content, "arrival", "ar_ival"),
    "no owner": lambda content: _renamed(content, "owner", "ow_er"),
    "request is null": lambda content: _without_request(content),
}


def _renamed(content: bytes, name: str, other: str) -> bytes:
    quoted = f'\\"{name}\\"'.encode()
    assert content.count(quoted) == 1
    return content.replace(quoted, f'\\"{other}\\"'.encode())


def _without_request(content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    about = json.loads(header["__metadata__"]["generation"])
    header["__metadata__"]["generation"] = json.dumps({**about, "request": None})
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_told_and_kept_aside_and_the_others_go_on(
    tmp_path: Path, damage: str
) -> None:
    engine = engine_of(Tiny(), checkpoints=tmp_path)
    for id_ in ("good", "bad"):
        engine.submit(request(), id=id_)
    path = tmp_path / "bad.generation"
    content = DAMAGE[damage](path.read_bytes())
    path.write_bytes(content)
    restored = engine_of(Tiny(), checkpoints=tmp_path)
    assert restored.restore() == ["good"]
    events = list(restored.events())
    assert kinds(events, "bad") == ["Failed"]
    assert kinds(events, "good")[-1] == "Finished"
    assert [path.name for path in tmp_path.iterdir()] == ["bad.damaged"]
    assert (tmp_path / "bad.damaged").read_bytes() == content


def test_with_other_weights_a_begun_one_fails_and_one_that_had_not_begun_runs(tmp_path: Path) -> None:
    engine = engine_of(Tiny(), checkpoints=tmp_path, checkpoint_every_s=0, max_rows=2)
    engine.submit(request(), id="begun", priority=1)
    engine.submit(request(), id="waiting")
    for event in engine.events():
        if isinstance(event, StepDone):
            break
    other = engine_of(Tiny(weights_sha256="1" * 64), checkpoints=tmp_path)
    assert set(other.restore()) == {"begun", "waiting"}
    events = list(other.events())
    (failed,) = (event for event in events if isinstance(event, Failed))
    assert failed.id == "begun"
    assert isinstance(failed.error, WeightsError)
    assert "other weights of testcard" in str(failed.error)
    assert "waiting" in finished_in_order(events)


def test_a_finished_one_stays_on_disk_until_its_frames_were_taken_care_of(tmp_path: Path) -> None:
    engine = engine_of(Tiny(), checkpoints=tmp_path)
    engine.submit(request(), id="a")
    events = engine.events()
    made = []
    while not isinstance(event := next(events), Finished):
        made.append(event)
    again = engine_of(Tiny(), checkpoints=tmp_path)
    assert again.restore() == ["a"]
    assert np.array_equal(frames_of(again.events())["a"], frames_of(made)["a"])
    assert next(events, None) is None
    assert not list(tmp_path.iterdir())


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
