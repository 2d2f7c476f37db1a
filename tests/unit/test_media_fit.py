"""Defends: any size and rate is reached without drift, stretch or a clip's worth of memory, and is written
down."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hibari import catalog
from hibari.contracts import ClipStream, GenerationRequest, Recipe
from hibari.media import fit
from hibari.media.fit import central_box


def ramp(count: int, step: int, *, width: int = 16, height: int = 16) -> list[np.ndarray]:
    """Frame i is all `i * step`."""
    return [np.full((height, width, 3), i * step, np.uint8) for i in range(count)]


def test_what_is_equal_stays_untouched(make_clip) -> None:
    clip = make_clip(ramp(3, 10))
    assert fit(clip, width=16, height=16, fps=8, frames=3) is clip


def test_what_only_changes_its_colour_is_mixed_by_nearness(make_clip) -> None:
    fitted = fit(make_clip(ramp(3, 100)), width=16, height=16, fps=32, frames=9)
    assert [int(frame[0, 0, 0]) for frame in fitted.frames] == [0, 25, 50, 75, 100, 125, 150, 175, 200]
    assert (fitted.fps, fitted.frame_count) == (32, 9)
    assert fitted.recipe.postprocess == (
        "retimed from 8 to 32 frames a second along the optical flow, 3 -> 9 frames",
    )


@given(fps=st.integers(1, 30), tenths=st.integers(0, 40))
def test_every_rate_and_length_that_can_be_asked_for_keeps_time(fps: int, tenths: int) -> None:
    spec = catalog.spec("testcard")
    request = GenerationRequest.resolve(spec, "x", seconds=tenths / 10, fps=fps, seed=0)
    native = ramp(request.native_frames, 5)  # 5 a native frame = 40 a second
    clip = ClipStream(iter(native), 16, 16, spec.fps, len(native), Recipe(request, None, {}))
    fitted = fit(clip, width=16, height=16, fps=fps, frames=request.frames)
    shown = [int(frame[0, 0, 0]) for frame in fitted.frames]
    assert len(shown) == request.frames
    assert shown == pytest.approx([5 * spec.fps * i / fps for i in range(request.frames)], abs=0.51)


def test_a_clip_that_is_too_short_is_a_bug(make_clip) -> None:
    with pytest.raises(ValueError, match="do not reach"):
        fit(make_clip(ramp(3, 10)), width=16, height=16, fps=8, frames=4)


def test_surplus_frames_are_never_decoded(make_clip) -> None:
    def frames() -> Iterator[np.ndarray]:
        yield from ramp(4, 10)
        raise AssertionError("frame 5 was taken")

    clip = make_clip(frames(), count=5)
    kept = fit(clip, width=clip.width, height=clip.height, fps=8, frames=4)
    assert len(list(kept.frames)) == 4
    assert kept.recipe.postprocess == ("kept the first 4 of 5 frames",)


def test_memory_does_not_grow_with_the_length(make_clip) -> None:
    taken = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal taken
        for frame in ramp(100, 2, width=96, height=64):
            taken += 1
            yield frame

    fitted = fit(make_clip(frames(), count=100), width=32, height=32, fps=16, frames=199)
    for i, _ in enumerate(fitted.frames):
        assert taken <= i // 2 + 2


def test_a_circle_stays_one_and_the_middle_is_kept(make_clip) -> None:
    y, x = np.mgrid[:96, :160]
    disc = ((x - 79.5) ** 2 + (y - 47.5) ** 2 < 30**2)[..., None] * np.uint8(255)
    fitted = fit(make_clip([np.repeat(disc, 3, 2)]), width=640, height=360, fps=8, frames=1)
    (frame,) = fitted.frames
    lit = np.argwhere(frame[..., 0] > 127)
    (top, left), (bottom, right) = lit.min(0), lit.max(0)
    assert bottom - top == pytest.approx(240, abs=3)
    assert right - left == pytest.approx(240, abs=3)
    assert ((top + bottom) / 2, (left + right) / 2) == pytest.approx((179.5, 319.5), abs=1)
    assert fitted.recipe.postprocess == (
        "cropped centrally from 160x96 to 160x90 px",
        "resized from 160x90 to 640x360 px",
    )


@given(width=st.integers(8, 960).map(lambda n: 2 * n), height=st.integers(8, 960).map(lambda n: 2 * n))
def test_rounding_never_leaves_the_picture(width: int, height: int) -> None:
    for native_width, native_height in catalog.spec("testcard").sizes:
        left, top, right, bottom = central_box(native_width, native_height, width, height)
        assert 0 <= left < right <= native_width  # Pillow refuses a box that is outside by one bit
        assert 0 <= top < bottom <= native_height
        assert (right - left) / (bottom - top) == pytest.approx(width / height)


def test_the_same_shape_is_only_resized(make_clip) -> None:
    fitted = fit(make_clip(ramp(1, 0)), width=512, height=512, fps=8, frames=1)
    assert fitted.recipe.postprocess == ("resized from 16x16 to 512x512 px",)
    (frame,) = fitted.frames
    assert (frame.shape, frame.dtype) == ((512, 512, 3), np.uint8)
