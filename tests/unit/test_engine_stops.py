"""Defends cancelling, pausing and closing: within a step, and nothing is left behind."""

from __future__ import annotations

import gc
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
import torch
from engine_models import (
    LANDSCAPE,
    SMALL,
    SQUARE,
    Tiny,
    alone,
    engine_of,
    frames_of,
    latents_of,
    request,
)
from engine_told import ROUNDING, finished_in_order, kinds, latent_alone

from hibari.contracts import GenerationRequest
from hibari.engine import (
    Cancelled,
    Engine,
    Event,
    Failed,
    Finished,
    FramesDecoded,
    Queued,
    Started,
    StepDone,
)
from hibari.models.protocol import Conditioning


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
