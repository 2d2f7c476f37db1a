"""Defends the engine's promise: a run depends on model and request alone, and can be left at any step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hibari import catalog
from hibari.contracts import GenerationRequest, InputError, ModelSpec, OutputError
from hibari.diffusion.noise import frame_noise
from hibari.diffusion.sampler import Draw, Evaluation, Sampler, adams_bashforth_step, euler_step, sample
from hibari.engine import (
    Event,
    Finished,
    FramesDecoded,
    Queued,
    Sampled,
    Started,
    StepDone,
    generate,
    preview_image,
)
from hibari.engine.loop import advance, encode_prompt, prepare
from hibari.engine.state import GenerationState, initial_state
from hibari.models.plan import Plan, Stage, plan
from hibari.models.protocol import Conditioning, Footprint, Model
from hibari.models.testcard.card import card_latent
from hibari.models.testcard.load import load as load_testcard

SPEC = replace(
    catalog.spec("testcard"),
    sizes=((64, 64),),
    window_frames=5,
    window_overlap=2,
    default_seconds=2,
    sigma_shift=3,
)


class Recorder:
    """A small network-like model that writes down how it is called. Its velocity mixes everything it is
    given, so that a wrong input shows in the result."""

    weights_sha256: str | None = "0" * 64
    device = torch.device("cpu")
    dtype = torch.float32
    rgb_from_latent = torch.full((5, 3), 0.1)

    def __init__(self, spec: ModelSpec = SPEC) -> None:
        self.spec = spec
        self.calls: list[tuple[Tensor, Tensor, Conditioning, Tensor]] = []

    def plan(
        self, request: GenerationRequest, given_F: tuple[bool, ...] = (), *, changes: bool = False
    ) -> Plan:
        return plan(self.spec, request, given_F, changes=changes)

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        return {"length_B": torch.tensor([float(len(prompt)) for prompt in prompts])}

    def prepare(self, conditioning: Conditioning) -> Conditioning:
        return conditioning

    def velocity(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, conditioning: Conditioning, start_B: Tensor
    ) -> Tensor:
        self.calls.append((latent_BCFHW, sigma_BF, conditioning, start_B))
        neighbours = latent_BCFHW.roll(1, dims=2) + latent_BCFHW.mean(dim=2, keepdim=True)
        bias_B = 0.01 * conditioning["length_B"] + 0.1 * start_B
        return torch.tanh(neighbours) + bias_B.view(-1, 1, 1, 1, 1) + sigma_BF[:, None, :, None, None]

    def decode(
        self, latent_CFHW: Tensor, generator: torch.Generator | None = None, *, preset: str = ""
    ) -> Iterator[Tensor]:
        for index in range(latent_CFHW.shape[1]):
            assert torch.is_inference_mode_enabled(), "decoding must not record gradients"
            yield torch.full((4 if index else 1, 64, 64, 3), index, dtype=torch.uint8)

    def encode(self, frames_FHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        cells = frames_FHWC[::4, ::16, ::16, :1].float().permute(3, 0, 1, 2) / 255
        return cells.expand(4, -1, -1, -1)

    def footprint(self, frames: int, height: int, width: int) -> Footprint:
        return Footprint(1000, 100, row=10 * frames * height * width, decode=10 * height * width)

    def release_text_encoder(self) -> None:
        self.released = True


def request(**wishes: object) -> GenerationRequest:
    return GenerationRequest.resolve(SPEC, "a red balloon", **{"seed": 7, **wishes})


def run(
    model: Model, stages: Plan, wish: GenerationRequest, state: GenerationState | None = None
) -> Iterator[GenerationState]:
    """Every state of a run, from the one given (or the first) to the last."""
    doing = replace(prepare(model, wish, state=state), plan=stages)
    yield doing.state
    while not doing.done:
        (doing,) = advance(model, [doing])
        yield doing.state


def same(one: GenerationState, other: GenerationState) -> bool:
    """Equal to the bit."""

    def bits(tensor: Tensor | None) -> bytes | None:
        return None if tensor is None else tensor.numpy().tobytes()

    def all_of(state: GenerationState) -> tuple[object, ...]:
        tensors = bits(state.latent_CFHW), bits(state.velocity_CFHW)
        beside = bits(state.keyframes_CKHW), bits(state.first_keyframes_CKHW), state.keyframes_at
        return state.stage, state.step, state.change, state.reused, *tensors, *beside

    return all_of(one) == all_of(other)


# ---------------------------------------------------------------- plan


@settings(deadline=None)
@given(frames=st.integers(1, 400), window=st.integers(1, 12), overlap=st.integers(0, 11))
def test_windows_make_every_latent_frame_once_and_know_those_before(
    frames: int, window: int, overlap: int
) -> None:
    overlap = min(overlap, window - 1)
    spec = replace(SPEC, window_frames=window, window_overlap=overlap)
    wish = replace(request(), native_frames=frames)
    stages, clip = plan(spec, wish), spec.latent_frames(frames)
    made = [frame for stage in stages for frame in asked_of(stage)]
    assert made == list(range(clip))
    assert all(stage.frames == min(window, clip) for stage in stages)
    assert not any(stages[0].given)
    assert all(overlap <= sum(stage.given) < stage.frames for stage in stages[1:])


def asked_of(stage: Stage) -> list[int]:
    """Latent frames of the clip that a stage makes."""
    return [stage.start + k for k, given in enumerate(stage.given) if not given]


def test_a_picture_is_one_window_of_one_frame() -> None:
    (stage,) = plan(SPEC, request(seconds=0))
    assert (stage.start, stage.given, stage.steps) == (0, (False,), 4)


def test_a_clip_of_161_frames_ends_with_a_full_window_that_is_given_more() -> None:
    stages = plan(SPEC, replace(request(), native_frames=161))  # 41 latent frames
    assert [stage.start for stage in stages] == [*range(0, 36, 3), 36]
    assert all(before.end - after.start == sum(after.given) for before, after in pairwise(stages))
    stages = plan(
        SPEC, replace(request(), native_frames=157)
    )  # 40 of them: the last window cannot start at 36
    assert (stages[-1].start, sum(stages[-1].given), stages[-1].end) == (35, 3, 40)


# ---------------------------------------------------------------- noise and state


def test_a_longer_clip_begins_with_the_same_noise() -> None:
    short, long = (initial_state(SPEC, request(seconds=s)).latent_CFHW for s in (1, 5))
    assert short.shape[1] < long.shape[1]
    assert torch.equal(short, long[:, : short.shape[1]])


def test_noise_is_standard_normal_and_new_in_each_frame_and_seed() -> None:
    noise = torch.stack([frame_noise(seed, frame, (16, 32, 32)) for seed in (0, 1) for frame in (0, 1)])
    correlation = torch.corrcoef(noise.flatten(1))
    torch.testing.assert_close(correlation, torch.eye(4), atol=0.04, rtol=0)
    assert noise.mean().abs() < 0.02
    assert abs(noise.std() - 1) < 0.02


def test_all_bits_of_a_seed_count() -> None:
    """A torch.Generator on the CPU takes seeds that are equal modulo 2**32 for the same."""
    one, other, last = (frame_noise(seed, 0, (4, 4, 4)) for seed in (7, 7 + 2**32, 2**63 - 1))
    assert not torch.equal(one, other)
    assert last.isfinite().all()


def test_a_state_comes_back_from_disk_bit_for_bit(tmp_path: Path) -> None:
    latent = torch.tensor([-0.0, float("nan"), 1e-45, 3.0]).view(1, 2, 1, 2)
    for velocity in (None, latent.flip(1)):
        state = GenerationState(
            latent,
            stage=2,
            step=3,
            velocity_CFHW=velocity,
            keyframes_CKHW=latent.flip(1),
            first_keyframes_CKHW=latent.clone(),
            keyframes_at=(5, 40),
        )
        state.save(tmp_path / "state")
        assert same(GenerationState.load(tmp_path / "state"), state)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_state_that_cannot_be_written_says_so_and_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    old = GenerationState(torch.zeros(1, 1, 1, 1))
    old.save(path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        GenerationState(torch.ones(1, 1, 1, 1)).save(path)
    assert same(GenerationState.load(path), old)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    with pytest.raises(OutputError, match="No such file"):
        old.save(tmp_path / "nowhere" / "state")
    with pytest.raises(OutputError, match="Not a directory"):
        old.save(path / "state")


LATENT = torch.zeros(1, 1, 1, 1)
CURSOR = {"format": "hibari generation state 3", "stage": "0", "step": "1", "reused": "0", "change": "inf"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot read"),
        (safetensors.torch.save({"latent_CFHW": LATENT}, CURSOR)[:-1], "cannot read"),
        (safetensors.torch.save({"latent_CFHW": LATENT}), "has format None"),
        (
            safetensors.torch.save({"latent_CFHW": LATENT, "keyframes_CKHW": LATENT + 1}, CURSOR),
            r"keyframes of \[1\], at the pixel frames \[\]",
        ),
        (
            safetensors.torch.save({"latent_CFHW": LATENT}, {**CURSOR, "format": "other"}),
            "has format 'other'",
        ),
        (safetensors.torch.save({"velocity_CFHW": LATENT}, CURSOR), r"holds \['velocity_CFHW'\]"),
        (safetensors.torch.save({"latent_CFHW": LATENT, "x": LATENT.clone()}, CURSOR), "holds"),
        (safetensors.torch.save({"latent_CFHW": LATENT.half()}, CURSOR), "float16"),
        (safetensors.torch.save({"latent_CFHW": LATENT[0]}, CURSOR), r"\[1, 1, 1\]"),
        (safetensors.torch.save({"latent_CFHW": LATENT}, {**CURSOR, "step": "-1"}), "whole numbers"),
        (safetensors.torch.save({"latent_CFHW": LATENT}, {**CURSOR, "change": "much"}), "no number"),
    ],
)
def test_what_is_not_a_state_is_refused_with_the_reason(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(InputError, match=message):
        GenerationState.load(tmp_path / "state")


def test_a_state_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        GenerationState.load(tmp_path / "nothing")


# ---------------------------------------------------------------- loop


def test_a_velocity_that_hardly_changes_is_taken_over_every_other_step_at_most() -> None:
    plain, lazy = Recorder(), Recorder()
    wish = request(seconds=0.5, steps=12)
    *_, exact = run(plain, plan(SPEC, wish), wish)
    assert len(plain.calls) == 12
    *_, close = run(lazy, plan(SPEC, wish), replace(wish, reuse=0.99))
    # The first two are computed, to have a change to judge by, and so is the last.
    assert len(lazy.calls) == 7
    error = (close.latent_CFHW - exact.latent_CFHW).norm() / exact.latent_CFHW.norm()
    assert 0 < error < 0.2
    never = Recorder()
    *_, same_bits = run(never, plan(SPEC, wish), replace(wish, reuse=1e-9))
    assert same_bits.latent_CFHW.equal(exact.latent_CFHW)


@pytest.mark.parametrize("reuse", [0, 0.9])
@pytest.mark.parametrize("second_order", [False, True], ids=["euler", "adams-bashforth"])
def test_a_run_that_is_stopped_stored_and_resumed_ends_in_the_same_bits(
    tmp_path: Path, second_order: bool, reuse: float
) -> None:
    model, wish = Recorder(), request(seconds=4, guidance_scale=3, reuse=reuse)
    stages = plan(SPEC, wish)
    if second_order:
        stages = tuple(replace(stage, sampler=adams_bashforth_step) for stage in stages)
    assert len(stages) == 3
    states = list(run(model, stages, wish))
    assert len(states) == 1 + sum(stage.steps for stage in stages)
    for stopped in states:
        stopped.save(tmp_path / "state")
        *_, resumed = run(Recorder(), stages, wish, GenerationState.load(tmp_path / "state"))
        assert same(resumed, states[-1]), f"stopped at stage {stopped.stage}, step {stopped.step}"


@pytest.mark.parametrize("step", [euler_step, adams_bashforth_step])
def test_a_window_is_made_as_the_bare_sampling_loop_makes_it(step: Sampler) -> None:
    model, wish = Recorder(), request(seconds=1)
    (stage,) = plan(SPEC, wish)
    start, conditioning = initial_state(SPEC, wish).latent_CFHW[None], encode_prompt(model, wish.prompt)
    *_, made = run(model, (replace(stage, sampler=step),), wish)
    bare = sample(
        lambda x, sigma_BF: model.velocity(x, sigma_BF, conditioning, torch.tensor([0])),
        start,
        torch.tensor(stage.sigmas),
        step,
    )
    assert torch.equal(made.latent_CFHW, bare[0])


def test_a_window_does_not_look_back_into_the_one_before() -> None:
    looked_back = []

    def watching_step(
        x: Tensor,
        velocity: Tensor,
        sigma: Tensor,
        sigma_next: Tensor,
        previous: Evaluation | None,
        draw: Draw,
    ) -> Tensor:
        looked_back.append(previous is not None)
        return adams_bashforth_step(x, velocity, sigma, sigma_next, previous)

    wish = request(seconds=4, steps=3)
    list(run(Recorder(), tuple(replace(s, sampler=watching_step) for s in plan(SPEC, wish)), wish))
    assert looked_back == [False, True, True] * 3


def test_an_update_leaves_the_state_that_it_came_from_alone() -> None:
    model, wish = Recorder(), request(seconds=4)
    doing = prepare(model, wish)
    while not doing.done:
        before = doing.state.latent_CFHW.clone()
        (one,), (other,) = (advance(model, [doing]) for _ in range(2))
        assert same(one.state, other.state)
        assert torch.equal(doing.state.latent_CFHW, before)
        doing = one


def test_frames_outside_the_work_never_change() -> None:
    """Those that a window was given, those before it, and the noise after it."""
    wish = request(seconds=4)
    stages = plan(SPEC, wish)
    for before, after in pairwise(run(Recorder(), stages, wish)):
        stage = stages[after.stage]
        worked = torch.zeros(before.latent_CFHW.shape[1], dtype=torch.bool)
        worked[asked_of(stage)] = True
        assert torch.equal(before.latent_CFHW[:, ~worked], after.latent_CFHW[:, ~worked])
        assert not torch.equal(before.latent_CFHW[:, worked], after.latent_CFHW[:, worked])


def test_the_model_is_told_what_is_given_and_where_the_window_starts() -> None:
    model, wish = Recorder(), request(seconds=2, steps=2)  # 5 latent frames fit; 6 make two windows
    wish = replace(wish, native_frames=21)
    list(run(model, plan(SPEC, wish), wish))
    sigmas = [call[1][0].tolist() for call in model.calls]
    assert sigmas == [[1] * 5, [0.75] * 5, [0, 0, 0, 0, 1], [0, 0, 0, 0, 0.75]]  # shift 3 turns 1/2 into 3/4
    assert [call[3].tolist() for call in model.calls] == [[0], [0], [1], [1]]


def test_without_guidance_there_is_one_pass_a_step_of_batch_one() -> None:
    model, wish = Recorder(), request(guidance_scale=1, steps=5)
    list(run(model, plan(SPEC, wish), wish))
    assert [len(call[0]) for call in model.calls] == [1] * 5
    assert model.calls[0][2]["length_B"].tolist() == [len("a red balloon")]


def test_guidance_is_one_pass_of_batch_two_and_only_inside_its_interval() -> None:
    model = Recorder()
    wish = request(guidance_scale=3, negative_prompt="blurry", guidance_interval=(0.5, 0.9))
    list(run(model, plan(SPEC, wish), wish))
    assert [call[1][0, 0].item() for call in model.calls] == pytest.approx([1, 0.9, 0.75, 0.5])
    sigma_in = [0.5 <= call[1][0, 0].item() <= 0.9 for call in model.calls]
    assert [len(call[0]) for call in model.calls] == [2 if inside else 1 for inside in sigma_in]
    assert sigma_in[0] is False
    assert sigma_in[2] is True
    assert model.calls[2][2]["length_B"].tolist() == [len("a red balloon"), len("blurry")]


def test_a_guided_update_is_guidance_of_the_two_single_predictions() -> None:
    wish = request(guidance_scale=3, negative_prompt="blurry", seconds=1, steps=1)
    stages, start = plan(SPEC, wish), initial_state(SPEC, wish).latent_CFHW
    model = Recorder()
    *_, made = run(model, stages, wish)
    cond, uncond = (
        model.velocity(start[None], torch.ones(1, 3), model.encode_text([text]), torch.tensor([0]))[0]
        for text in ("a red balloon", "blurry")
    )
    torch.testing.assert_close(made.latent_CFHW, start - (uncond + 3 * (cond - uncond)))


def test_windows_of_a_long_clip_fit_together() -> None:
    """161 frames of the test card, whose clock shows the place in the clip, land on the card of all of it."""
    model = load_testcard(SPEC, device=torch.device("cpu"))
    wish = replace(request(), native_frames=161)
    *_, last = run(model, plan(SPEC, wish), wish)
    text = model.encode_text([wish.prompt])
    whole = card_latent(text["letters_BL"], text["hash_B"], torch.tensor([0]), 41, 4, 4)[0]
    torch.testing.assert_close(last.latent_CFHW, whole, atol=1e-5, rtol=0)


# ---------------------------------------------------------------- generate


def frames_of(wish: GenerationRequest, on_event: Callable[[Event], None] | None = None) -> np.ndarray:
    model = load_testcard(SPEC, device=torch.device("cpu"))
    return np.stack(list(generate(model, wish, on_event=on_event).frames))


def global_generators() -> tuple[object, ...]:
    """The states of the three generators that a careless function would draw from."""
    return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()  # noqa: NPY002


def disturb_global_generators() -> None:
    torch.randn(5)
    np.random.random(5)  # noqa: NPY002
    random.random()


def test_a_clip_is_what_was_asked_for() -> None:
    model = Recorder()
    clip = generate(model, request(seconds=1.25, steps=3))
    frames = list(clip.frames)
    assert (clip.width, clip.height, clip.fps, clip.frame_count) == (64, 64, 8, 10)
    assert len(frames) == 10  # of the 13 that four latent frames hold
    assert all(frame.shape == (64, 64, 3) and frame.dtype == np.uint8 for frame in frames)
    assert all(frame.flags.c_contiguous for frame in frames)
    assert clip.recipe.request == request(seconds=1.25, steps=3)
    assert clip.recipe.weights_sha256 == model.weights_sha256
    assert {"hibari", "numpy", "python", "torch"} == clip.recipe.versions.keys()


def test_the_same_request_gives_the_same_bits_whatever_ran_before_and_whoever_listens() -> None:
    wish = request(seconds=4)
    first = list(run(Recorder(), plan(SPEC, wish), wish))[-1]
    disturb_global_generators()
    frames_of(request(seed=99))
    second = list(run(Recorder(), plan(SPEC, wish), wish))[-1]
    assert same(first, second)
    assert np.array_equal(frames_of(wish), frames_of(wish, on_event=lambda event: None))


def test_global_generators_are_not_moved() -> None:
    before = global_generators()
    frames_of(request())
    assert global_generators() == before
    disturb_global_generators()
    assert global_generators() != before


def test_other_seeds_give_other_results() -> None:
    one, other = (list(run(Recorder(), plan(SPEC, wish), wish))[-1] for wish in (request(), request(seed=8)))
    assert not torch.equal(one.latent_CFHW, other.latent_CFHW)


def test_events_count_each_step_and_each_frame() -> None:
    events: list[Event] = []
    frames_of(request(seconds=4), events.append)  # 9 latent frames: three windows of four steps
    steps = [event for event in events if isinstance(event, StepDone)]
    decoded = [event for event in events if isinstance(event, FramesDecoded)]
    kinds = [type(event) for event in events]
    assert kinds == [Queued, Started, *[StepDone] * 12, Sampled, *[FramesDecoded] * 9, Finished]
    assert [(event.step, event.total) for event in steps] == [(step, 12) for step in range(1, 13)]
    assert all(event.seconds_left > 0 for event in steps[:-1])
    assert steps[-1].seconds_left == 0
    assert [(event.done, event.total) for event in decoded] == [(n, 32) for n in (*range(1, 30, 4), 32)]
    assert [len(event.frames) for event in decoded] == [1, 4, 4, 4, 4, 4, 4, 4, 3]


def test_previews_show_the_predicted_end_from_the_first_step_on() -> None:
    """The test card's velocity points straight at its x0: every preview is the finished picture."""
    events: list[Event] = []
    frames_of(request(seconds=1), events.append)
    previews = [event.preview for event in events if isinstance(event, StepDone)]
    last = previews[-1]
    assert last is not None
    for preview in previews:
        assert preview is not None
        assert (preview.shape, preview.dtype) == ((4, 4, 3), np.uint8)
        assert np.abs(preview.astype(int) - last.astype(int)).max() <= 1


def test_nobody_listening_costs_no_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("a preview was made for nobody")

    monkeypatch.setattr("hibari.engine.engine.preview_image", forbidden)
    frames_of(request())
    with pytest.raises(AssertionError, match="for nobody"):
        frames_of(request(), on_event=lambda event: None)


def test_what_a_listener_raises_ends_the_generation() -> None:
    model = Recorder()

    def cancel(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(model, request(), on_event=cancel)
    assert len(model.calls) == 2


def test_frames_are_decoded_as_they_are_taken() -> None:
    taken: list[Event] = []
    clip = generate(load_testcard(SPEC, device=torch.device("cpu")), request(), on_event=taken.append)
    assert not any(isinstance(event, FramesDecoded) for event in taken)
    next(clip.frames)
    assert isinstance(taken[-1], FramesDecoded)
    assert (taken[-1].done, taken[-1].total) == (1, clip.frame_count)
    assert not torch.is_inference_mode_enabled(), (
        "the consumer of a stream must not live in the engine's mode"
    )


def test_a_model_that_decodes_too_little_is_found_out() -> None:
    model = Recorder()
    model.decode = lambda latent_CFHW, generator=None, preset="": iter(
        [torch.zeros(1, 64, 64, 3, dtype=torch.uint8)]
    )
    with pytest.raises(RuntimeError, match="decoded 1 frames of 16"):
        list(generate(model, request()).frames)


def test_progress_is_counted_over_all_stages() -> None:
    wish = request(seconds=4)
    doing, made = prepare(Recorder(), wish), []
    while not doing.done:
        (doing,) = advance(Recorder(), [doing])
        made.append((doing.steps_made, doing.total_steps))
    assert made == [(step, 12) for step in range(1, 13)]


def test_a_preview_puts_each_pixel_of_a_cell_in_its_place() -> None:
    """Ordered (colour, row, column): a cell of 2 x 2 px whose pixels are told apart by their values."""
    rgb_from_latent = torch.zeros(2, 12)
    rgb_from_latent[1] = torch.arange(12) / 255  # the constant's row
    rgb_from_latent[0, 0] = 100 / 255  # red of the upper left pixel follows the latent
    image = preview_image(torch.tensor([[[0.0, 1.0]]]), rgb_from_latent)
    assert image.shape == (2, 4, 3)
    assert image[:, :2].tolist() == [[[0, 4, 8], [1, 5, 9]], [[2, 6, 10], [3, 7, 11]]]
    assert image[0, 2].tolist() == [100, 4, 8]
    assert image[0, 3].tolist() == [1, 5, 9]


def test_a_preview_clamps_what_lies_outside_the_picture() -> None:
    rgb_from_latent = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    image = preview_image(torch.tensor([[[-3.0, 3.0]]]), rgb_from_latent)
    assert image.tolist() == [[[0, 0, 0], [255, 255, 255]]]
