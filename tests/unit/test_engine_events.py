"""Defends what the engine tells, and that one that breaks takes nobody along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from engine_models import (
    LANDSCAPE,
    SPEC,
    Tiny,
    alone,
    engine_of,
    frames_of,
    request,
)
from engine_told import finished_in_order, kinds

from hibari.contracts import InvalidRequest, OutputError
from hibari.engine import (
    Event,
    Failed,
    FramesDecoded,
    Queued,
    Sampled,
    Start,
    Started,
    StepDone,
)
from hibari.engine.start import latent_shape
from hibari.models.plan import plan
from hibari.models.protocol import Conditioning


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
    keyframe = Start(
        torch.zeros(4, 3, 4, 4), (False,) * 3, keyframes_CKHW=torch.zeros(4, 1, 4, 4), keyframes_at=(2,)
    )
    with pytest.raises(
        InvalidRequest, match=r"keyframes are \[4, 1, 4, 4\] at \[2\]; testcard is shown none"
    ):
        engine.submit(request(), start=keyframe)
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
