"""Defends: a request is complete and possible once it exists, and a refusal names the field and what is
possible."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hibari import catalog
from hibari.contracts import (
    MAX_PROMPT_CHARS,
    MAX_SEED,
    GenerationRequest,
    HibariError,
    InvalidRequest,
    Recipe,
)

SPEC = catalog.spec("testcard")


def resolve(prompt: str = "a cat", **wishes) -> GenerationRequest:
    return GenerationRequest.resolve(SPEC, prompt, **{"seed": 1, **wishes})


def test_defaults_are_the_models() -> None:
    request = resolve("  a cat \n")
    assert request.prompt == "a cat"
    assert (request.width, request.height, request.fps) == (*SPEC.sizes[0], SPEC.fps)
    assert (request.steps, request.guidance_scale) == (SPEC.default_steps, SPEC.default_guidance)
    assert request.frames == SPEC.default_seconds * SPEC.fps


@pytest.mark.parametrize(
    ("wishes", "field", "words"),
    [
        ({"prompt": ""}, "prompt", "empty"),
        ({"prompt": " \n\t"}, "prompt", "empty"),
        ({"prompt": "x" * 10_000}, "prompt", "10,000 characters; at most 2,000"),
        ({"prompt": "caf\udce9"}, "prompt", "Unicode"),
        ({"negative_prompt": "x" * 10_000}, "negative_prompt", "10,000"),
        ({"size": (0, 128)}, "size", "16 to 1920"),
        ({"size": (-64, 128)}, "size", "16 to 1920"),
        ({"size": (4096, 2160)}, "size", "16 to 1920"),
        ({"size": (129, 128)}, "size", "even"),
        ({"size": (640, 64)}, "size", "4 times"),
        ({"seconds": -1.0}, "seconds", "0 .one frame. to 60"),
        ({"seconds": 61.0}, "seconds", "to 60"),
        ({"seconds": math.nan}, "seconds", "nan"),
        ({"seconds": math.inf}, "seconds", "inf"),
        ({"fps": 0}, "fps", "1 to 30"),
        ({"fps": 31}, "fps", "1 to 30"),
        ({"steps": 0}, "steps", "1 to 200"),
        ({"steps": 201}, "steps", "1 to 200"),
        ({"guidance_scale": 0.5}, "guidance_scale", "to 30"),
        ({"guidance_scale": math.nan}, "guidance_scale", "to 30"),
        ({"seed": -1}, "seed", "0 to"),
        ({"seed": MAX_SEED + 1}, "seed", "0 to"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(wishes: dict, field: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        resolve(**wishes)
    assert caught.value.field == field
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1


def test_the_limits_themselves_are_possible() -> None:
    resolve("x" * MAX_PROMPT_CHARS, size=(1920, 1080), seconds=60.0, fps=30, steps=200, seed=MAX_SEED)
    resolve(size=(16, 16), seconds=0.0, fps=1, steps=1, guidance_scale=1.0, seed=0)


@given(
    seconds=st.floats(0, SPEC.max_seconds),
    fps=st.integers(1, 30),
    width=st.integers(8, 960).map(lambda n: 2 * n),
    height=st.integers(8, 960).map(lambda n: 2 * n),
)
def test_the_native_clip_covers_the_finished_one(seconds: float, fps: int, width: int, height: int) -> None:
    assume(1 / 4 <= width / height <= 4)
    request = resolve(seconds=seconds, fps=fps, size=(width, height))
    last_s = (request.frames - 1) / fps
    assert (request.native_frames - 1) / SPEC.fps >= last_s - 1e-9
    assert (request.native_frames - 2) / SPEC.fps < last_s or request.native_frames == 1
    assert (request.native_width, request.native_height) in SPEC.sizes
    assert 1 + SPEC.time_factor * (SPEC.latent_frames(request.native_frames) - 1) >= request.native_frames


@pytest.mark.parametrize(
    ("size", "native"),
    [
        ((512, 512), (128, 128)),
        ((1920, 1080), (160, 96)),
        ((1080, 1920), (96, 160)),
        ((640, 480), (160, 96)),
        ((600, 480), (128, 128)),
    ],
)
def test_the_native_shape_is_the_nearest(size: tuple[int, int], native: tuple[int, int]) -> None:
    assert SPEC.native_size(*size) == native


def test_a_recipe_is_one_line_of_json_with_all_that_was_asked(recipe: Recipe) -> None:
    text = recipe.to_json()
    assert "\n" not in text
    assert json.loads(text)["request"]["prompt"] == recipe.request.prompt
    assert recipe.to_json() == text


def test_every_error_of_ours_has_an_exit_code() -> None:
    found = [HibariError]
    for error in found:
        found += error.__subclasses__()
    assert {error.exit_code for error in found} == {2}
