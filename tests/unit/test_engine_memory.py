"""Defends the promises about memory: what does not fit is refused with a hint that holds, what runs out takes nobody
else along, and a prompt that was read once is not read again."""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
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
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hibari import catalog
from hibari.contracts import Card, GenerationRequest, ModelSpec, OutOfMemory
from hibari.engine import Engine, Event, Failed, Finished, Started, StepDone, TextCache, generate, memory
from hibari.engine import text_cache as text_cache_module
from hibari.models.protocol import Conditioning, Footprint

MB = 2**20


class Sized(Tiny):
    """What it needs grows as in a real model: rows with frames and cells, decoding with cells."""

    def footprint(self, frames: int, height: int, width: int) -> Footprint:
        return Footprint(
            10 * MB, 5 * MB, row=MB * frames * height * width // 8, decode=MB * height * width // 2
        )


def needed(wish: GenerationRequest) -> int:
    """The least budget with which the request is let in."""
    low, high = 0, 2**40
    while high - low > 1:
        middle = (low + high) // 2
        try:
            memory.check_fits(Sized(), wish, middle)
            high = middle
        except OutOfMemory:
            low = middle
    return high


def failures(events: list[Event]) -> dict[str, Exception]:
    return {event.id: event.error for event in events if isinstance(event, Failed)}


def finished(events: list[Event]) -> list[str]:
    return [event.id for event in events if isinstance(event, Finished)]


# ---------------------------------------------------------------- the budget


def test_what_does_not_fit_is_refused_before_any_pass_and_the_others_run() -> None:
    big, small = request(seconds=2), request(size=SMALL, guidance_scale=1, seconds=0)
    model = Sized()
    engine = engine_of(model, memory_bytes=needed(small) + MB)
    for id_, wish in (("big", big), ("small", small)):
        engine.submit(wish, id=id_)
    events = list(engine.events())
    assert isinstance(failures(events)["big"], OutOfMemory)
    assert not any(isinstance(event, Started) and event.id == "big" for event in events)
    assert finished(events) == ["small"]
    assert set(model.calls) == {1}
    assert model.prompts_read == ["a red balloon"]


def test_what_is_larger_than_the_machine_is_refused_in_the_plain_way_as_well() -> None:
    with pytest.raises(OutOfMemory, match="MB of memory and"):
        generate(Tiny(footprint=Footprint(2**62, 0, 0, 0)), request())


def as_hinted(wish: GenerationRequest, hint: str) -> GenerationRequest | None:
    """The request that a hint speaks of, made as a user would: from the beginning."""
    options: dict[str, Any] = {
        "size": (wish.width, wish.height),
        "seconds": wish.seconds,
        "guidance_scale": wish.guidance_scale,
    }
    changes = 0
    if "guidance 1" in hint:
        options["guidance_scale"], changes = 1, changes + 1
    if found := re.search(r"(\d+)x(\d+)", hint):
        options["size"], changes = (int(found[1]), int(found[2])), changes + 1
    if "one second" in hint:
        options["seconds"], changes = min(1, wish.seconds), changes + 1
    return request(cards=wish.cards, **options) if changes else None


wishes = st.builds(
    request,
    size=st.sampled_from((SQUARE, LANDSCAPE, SMALL)),
    seconds=st.sampled_from((0, 1, 2, 4)),
    guidance_scale=st.sampled_from((1, 3)),
    cards=st.sampled_from(((), (Card(0, "one"),))),
)


@settings(deadline=None, max_examples=40)
@given(wishes, st.floats(0.2, 0.999))
def test_a_hint_says_what_really_fits(wish: GenerationRequest, share: float) -> None:
    budget = int(share * needed(wish))
    with pytest.raises(OutOfMemory) as refused:
        memory.check_fits(Sized(), wish, budget)
    hint = str(refused.value).partition("; ")[2]
    smaller = as_hinted(wish, hint)
    if smaller is None:
        assert "no size" in hint
        return
    memory.check_fits(Sized(), smaller, budget)
    engine = engine_of(Sized(), memory_bytes=budget)
    engine.submit(smaller)
    assert not failures(list(engine.events()))


@settings(deadline=None, max_examples=40)
@given(wishes, st.floats(0.2, 0.999))
def test_only_where_nothing_fits_a_hint_says_so(wish: GenerationRequest, share: float) -> None:
    """Two changes together may help where one does not."""
    budget = int(share * needed(wish))
    with pytest.raises(OutOfMemory) as refused:
        memory.check_fits(Sized(), wish, budget)
    if "no size of this model fits" in str(refused.value):
        assert needed(request(size=SMALL, seconds=min(1, wish.seconds), guidance_scale=1)) > budget


def test_passes_are_only_shared_as_far_as_the_budget_goes() -> None:
    wish = request(seconds=1)
    states = 3 * memory.state_bytes(SPEC, wish)
    row = Sized().footprint(3, 4, 4).row
    model = Sized()
    engine = engine_of(model, memory_bytes=10 * MB + states + 5 * row)
    for seed in range(3):
        engine.submit(request(seconds=1, seed=seed))
    assert len(finished(list(engine.events()))) == 3
    assert max(model.calls) == 4, "six rows would be one too many"


def test_the_budget_of_this_machine_is_some_of_what_is_free() -> None:
    budget = memory.default_budget_bytes()
    assert 0 < budget < 2**50
    free = memory._free_bytes()
    assert free is None or budget <= free


def test_a_model_on_a_gpu_has_what_is_free_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has beside it; the weights that it holds there already are not asked for again."""
    model = Sized()
    wish = request(seconds=1)
    lacking = needed(wish) - model.footprint(1, 1, 1).weights - MB

    def outcome(free_there: float) -> type[Event]:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free_there), 2**40))
        engine = Engine(lambda _: model, find=lambda _: SPEC)
        model.device = torch.device("cuda:1")
        engine.adopt(model)
        model.device = torch.device("cpu")  # where it can be computed here
        engine.submit(wish)
        return type(list(engine.events())[-1])

    assert outcome(lacking / memory.SHARE_OF_FREE) is Failed
    assert outcome((lacking + 2 * MB) / memory.SHARE_OF_FREE) is Finished


def test_memory_that_the_system_can_take_back_counts_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's `memory.current` counts the files that were read lately; they go when memory is wanted."""
    for name, content in {
        "memory.max": f"{1000 * MB}\n",
        "memory.current": f"{990 * MB}\n",
        "memory.stat": f"anon {190 * MB}\nfile {800 * MB}\nactive_file {MB}\ninactive_file {799 * MB}\n",
    }.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(memory, "Path", lambda path: tmp_path if path == "/sys/fs/cgroup" else Path(path))
    free = memory._cgroup_free_bytes()
    assert free is not None
    assert free >= 800 * MB


# ---------------------------------------------------------------- it runs out all the same


def test_out_of_memory_in_a_shared_pass_fails_only_who_does_not_fit_alone() -> None:
    board = request(cards=tuple(Card(at_s, f"card {at_s}") for at_s in (0, 0.4, 0.8)), transition_s=5)
    model = Tiny(rows_that_fit=3)
    engine = engine_of(model)
    wishes = {"a": request(seed=1), "board": board, "b": request(seed=2), "c": request(seed=3)}
    for id_, wish in wishes.items():
        engine.submit(wish, id=id_)
    events = list(engine.events())
    assert failures(events).keys() == {"board"}
    error = failures(events)["board"]
    assert isinstance(error, OutOfMemory)
    assert "memory ran out in this generation" in str(error)
    assert sorted(finished(events)) == ["a", "b", "c"]
    frames = frames_of(events)
    for id_ in "abc":
        assert np.array_equal(frames[id_], alone(wishes[id_])), (
            "alone again, it is bit for bit what it is alone"
        )
    assert len(engine) == 0


def test_after_it_ran_out_there_are_no_events_twice_and_steps_count_on() -> None:
    engine = engine_of(Tiny(rows_that_fit=2))
    for id_ in "ab":
        engine.submit(request(seed=ord(id_)), id=id_)
    events = list(engine.events())
    for id_ in "ab":
        steps = [event.step for event in events if isinstance(event, StepDone) and event.id == id_]
        assert steps == [1, 2, 3, 4]


def test_how_many_rows_fit_is_remembered() -> None:
    model = Tiny(rows_that_fit=3)
    engine = engine_of(model)
    for seed in range(3):
        engine.submit(request(seed=seed, steps=6))
    assert len(finished(list(engine.events()))) == 3
    assert sum(rows > 3 for rows in model.calls) <= 3, "each size is tried once, and not at every step"


def test_what_the_failed_pass_held_is_free_when_each_is_tried_alone() -> None:
    """An exception's traceback keeps every tensor of the pass alive, as long as the exception is being handled."""

    class Hungry(Tiny):
        def velocity(
            self, latent_BCFHW: Tensor, sigma_BF: Tensor, conditioning: Conditioning, start_B: Tensor
        ) -> Tensor:
            if len(latent_BCFHW) > 2:
                half_done = torch.zeros(1000)
                held.append(weakref.ref(half_done))
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            still_held.extend(ref() is not None for ref in held)
            held.clear()
            return super().velocity(latent_BCFHW, sigma_BF, conditioning, start_B)

    held: list[weakref.ref[Tensor]] = []
    still_held: list[bool] = []
    engine = engine_of(Hungry())
    engine.submit(request(seed=1))
    engine.submit(request(seed=2))
    assert len(finished(list(engine.events()))) == 2
    assert still_held
    assert not any(still_held)


def test_out_of_memory_while_decoding_is_told_as_such() -> None:
    class Decoder(Tiny):
        def decode(
            self, latent_CFHW: Tensor, generator: torch.Generator | None = None, *, preset: str = ""
        ) -> Any:
            if latent_CFHW.shape[1] == 3:
                raise RuntimeError(
                    "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate"
                )
            return super().decode(latent_CFHW, generator, preset=preset)

    engine = engine_of(Decoder())
    engine.submit(request(), id="bad")
    engine.submit(request(seconds=0), id="good")
    events = list(engine.events())
    assert isinstance(failures(events)["bad"], OutOfMemory)
    assert finished(events) == ["good"]


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_which_errors_say_that_memory_ran_out(error: Exception, is_one: bool) -> None:
    assert memory.is_out_of_memory(error) == is_one


# ---------------------------------------------------------------- several models

NAMES = ("mini", "testcard", "third")


@pytest.fixture
def specs(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModelSpec]:
    """Three models that the catalog knows."""
    table = {name: replace(SPEC, name=name) for name in NAMES}
    monkeypatch.setattr(catalog, "spec", lambda name, _models=None: table[name])
    return table


class Shelf:
    """Loads models, each of 10 MB, and writes down which."""

    def __init__(self, specs: dict[str, ModelSpec]) -> None:
        self._specs = specs
        self.loaded: list[str] = []
        self.alive: dict[str, weakref.ref[Tiny]] = {}

    def load(self, name: str) -> Tiny:
        model = Tiny(self._specs[name], footprint=Footprint(10 * MB, 0, 100, 100))
        self.loaded.append(name)
        self.alive[name] = weakref.ref(model)
        return model

    @property
    def now(self) -> list[str]:
        return sorted(name for name, ref in self.alive.items() if ref() is not None)


def make(engine: Engine, spec: ModelSpec) -> None:
    engine.submit(request(spec=spec, steps=1))
    events = list(engine.events())
    assert not failures(events)


def test_idle_models_leave_least_recently_used_first(specs: dict[str, ModelSpec]) -> None:
    shelf = Shelf(specs)
    engine = Engine(shelf.load, memory_bytes=25 * MB)
    for name in ("mini", "testcard", "mini"):
        make(engine, specs[name])
    assert shelf.now == ["mini", "testcard"]
    make(engine, specs["third"])
    assert shelf.now == ["mini", "third"], "testcard was idle for longest"
    make(engine, specs["testcard"])
    assert shelf.now == ["testcard", "third"]
    assert shelf.loaded == ["mini", "testcard", "third", "testcard"]


def test_with_room_for_all_none_leaves(specs: dict[str, ModelSpec]) -> None:
    shelf = Shelf(specs)
    engine = Engine(shelf.load, memory_bytes=100 * MB)
    for name in (*NAMES, *NAMES):
        make(engine, specs[name])
    assert shelf.loaded == list(NAMES)


def test_a_model_that_somebody_waits_for_is_not_idle(specs: dict[str, ModelSpec]) -> None:
    shelf = Shelf(specs)
    engine = Engine(shelf.load, memory_bytes=25 * MB)
    waiting = engine.submit(request(spec=specs["mini"]))
    events = engine.events()
    while not isinstance(next(events), Started):
        pass
    engine.pause(waiting)
    make(engine, specs["testcard"])
    make(engine, specs["third"])
    assert shelf.now == ["mini", "third"]
    engine.resume(waiting)
    assert finished(list(engine.events())) == [waiting]
    assert shelf.loaded.count("mini") == 1


def test_a_model_that_cannot_be_loaded_fails_its_generations_only(specs: dict[str, ModelSpec]) -> None:
    def load(name: str) -> Tiny:
        if name == "mini":
            raise RuntimeError("no such file")
        return Tiny(specs[name])

    engine = Engine(load, memory_bytes=100 * MB)
    bad = engine.submit(request(spec=specs["mini"]))
    good = engine.submit(request(spec=specs["testcard"]))
    events = list(engine.events())
    assert failures(events).keys() == {bad}
    assert finished(events) == [good]


# ---------------------------------------------------------------- the text encoder


class Watched(Sized):
    """Writes down at each pass whether the text encoder had been released."""

    def __init__(self) -> None:
        self.released_at_step: list[bool] = []
        super().__init__(on_call=lambda rows: self.released_at_step.append(self.times_released > 0))


def test_a_text_encoder_leaves_before_the_steps_where_both_do_not_fit() -> None:
    wish = request()
    least = needed(wish)  # without the encoder's 5 MB
    for budget, released in ((least, True), (least + 4 * MB, True), (least + 6 * MB, False)):
        model = Watched()
        engine = engine_of(model, memory_bytes=budget)
        id_ = engine.submit(wish)
        events = list(engine.events())
        assert finished(events) == [id_]
        assert model.released_at_step == [released] * 4, "before the first step, or never"
        assert sorted(model.prompts_read) == ["", "a red balloon"], "each prompt is read once"
        assert np.array_equal(frames_of(events)[id_], alone(wish))


def test_who_was_read_before_the_encoder_left_needs_it_no_more(tmp_path: Path) -> None:
    wish = request()
    model = Sized()
    engine = engine_of(model, memory_bytes=needed(wish))
    for _ in range(3):
        engine.submit(wish)
        list(engine.events())
    assert len(model.prompts_read) == 2


# ---------------------------------------------------------------- prompts that were read before


def encode(cache: TextCache, model: Tiny, prompt: str) -> Tensor:
    (text,) = cache.encode(model, prompt).values()
    return text


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_prompt_is_read_once_and_comes_back_to_the_bit() -> None:
    cache, model = TextCache(), Tiny()
    first, second = (encode(cache, model, "a cat") for _ in range(2))
    assert model.prompts_read == ["a cat"]
    assert torch.equal(first, second)
    assert torch.equal(first, Tiny().encode_text(["a cat"])["text_BD"])


def test_memory_drops_what_was_used_least_recently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_cache_module, "MEMORY_ENTRIES", 2)
    cache, model = TextCache(), Tiny()
    for prompt in ("a", "b", "a", "c", "a", "c", "b"):
        encode(cache, model, prompt)
    assert model.prompts_read == ["a", "b", "c", "b"]


def test_another_process_reads_from_disk_and_needs_no_text_encoder(tmp_path: Path) -> None:
    first = encode(TextCache(tmp_path), Tiny(), "a cat")
    model = Tiny()
    model.encode_text = lambda prompts: pytest.fail("the text encoder was asked")
    assert torch.equal(encode(TextCache(tmp_path), model, "a cat"), first)


def test_a_whole_generation_from_the_disk_needs_no_text_encoder(tmp_path: Path) -> None:
    clips = []
    for _ in range(2):
        model = Tiny()
        engine = engine_of(model, text_cache=TextCache(tmp_path))
        engine.submit(request(negative_prompt="blurry"), id="a")
        clips.append((model.prompts_read, latents_of(engine.events())["a"]))
    (first_read, first), (second_read, second) = clips
    assert (first_read, second_read) == (["a red balloon", "blurry"], [])
    assert torch.equal(first, second)


def test_file_names_tell_nothing_of_the_prompt(tmp_path: Path) -> None:
    encode(TextCache(tmp_path), Tiny(), "secret")
    (name,) = entries(tmp_path)
    assert re.fullmatch("[0-9a-f]{64}", name)
    assert b"secret" not in (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: content[:-5], lambda content: bytes(len(content))],
    ids=["empty", "cut", "zeros"],
)
def test_a_damaged_entry_is_read_anew_and_replaced(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    first = encode(TextCache(tmp_path), Tiny(), "a cat")
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    model = Tiny()
    assert torch.equal(encode(TextCache(tmp_path), model, "a cat"), first)
    assert model.prompts_read == ["a cat"]
    again = Tiny()
    assert torch.equal(encode(TextCache(tmp_path), again, "a cat"), first)
    assert again.prompts_read == []


def test_a_folder_that_cannot_be_written_costs_time_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    model = Tiny()
    cache = TextCache(tmp_path / "file")
    first, second = (encode(cache, model, "a cat") for _ in range(2))
    assert torch.equal(first, second)
    assert model.prompts_read == ["a cat"]
    assert entries(tmp_path) == ["file"]


def test_a_full_disk_leaves_no_half_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    encode(TextCache(tmp_path), Tiny(), "a cat")
    assert entries(tmp_path) == []


def test_a_folder_that_may_only_be_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was filled when a container was built, say."""
    encode(TextCache(tmp_path), Tiny(), "a cat")

    def forbidden(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", forbidden)
    model = Tiny()
    encode(TextCache(tmp_path), model, "a cat")
    assert model.prompts_read == []


def test_the_folder_is_trimmed_by_least_recent_use(tmp_path: Path) -> None:
    encode(TextCache(tmp_path), Tiny(), "0")
    (one,) = tmp_path.iterdir()
    cache = TextCache(tmp_path, disk_bytes=3 * one.stat().st_size)
    names = {"0": one.name}
    for prompt in ("1", "2"):
        before = set(entries(tmp_path))
        encode(cache, Tiny(), prompt)
        (names[prompt],) = set(entries(tmp_path)) - before
    for age_s, prompt in enumerate(("2", "1", "0")):
        os.utime(tmp_path / names[prompt], (1e9 - age_s, 1e9 - age_s))  # "0" was used least recently
    model = Tiny()
    encode(TextCache(tmp_path), model, "0")  # and now most recently
    assert model.prompts_read == []
    encode(cache, model, "3")
    assert set(entries(tmp_path)) >= {names["0"], names["2"]}
    assert names["1"] not in entries(tmp_path)
    assert len(entries(tmp_path)) == 3


def test_other_weights_models_and_prompts_do_not_share(tmp_path: Path) -> None:
    readers = [
        Tiny(),
        Tiny(weights_sha256="1" * 64),
        Tiny(replace(SPEC, name="other")),
    ]
    cache = TextCache(tmp_path)
    for model in readers:
        for prompt in ("a cat", "a cat ", ""):
            encode(cache, model, prompt)
    assert [model.prompts_read for model in readers] == [["a cat", "a cat ", ""]] * 3
    assert len(entries(tmp_path)) == 9
