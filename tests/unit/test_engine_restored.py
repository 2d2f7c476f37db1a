"""Defends checkpoints: killed at any moment, a generation ends with the same bits."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_models import (
    LANDSCAPE,
    Tiny,
    alone,
    engine_of,
    frames_of,
    latents_of,
    request,
)
from engine_told import finished_in_order, kinds, steps_in_order

from hibari.contracts import WeightsError
from hibari.engine import (
    Engine,
    Failed,
    Finished,
    Queued,
    Sampled,
    Start,
    Started,
    StepDone,
)

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
