"""Defends: every creative tool asks the engine for the right thing and shows the right frames; bad input is refused.

With the test card, whose decoder shows what a latent holds and whose velocity leads exactly to the prompt's card, so
that given frames and made ones can be told apart. What a real network makes of it is measured in `benchmarks/tools.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

import hibari
from hibari import catalog, media, tools
from hibari.contracts import Clip, ClipStream, InputError, InvalidRequest
from hibari.engine import Failed, Finished, StepDone
from hibari.models.plan import plan
from hibari.models.protocol import Model
from hibari.tools import StoryCard, Wish, plan_job
from hibari.tools.sources import encode, read_clip


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HIBARI_MODEL", "testcard")
    monkeypatch.setenv("HIBARI_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model() -> Model:
    return catalog.load("testcard", device=torch.device("cpu"))


def make(prompt: str = "", **wishes: Any) -> Clip:
    clip = hibari.generate(prompt, **{"seed": 1, **wishes})
    assert isinstance(clip, Clip)
    return clip


def cells(model: Model, frames: np.ndarray) -> torch.Tensor:
    """[3, h, w]: the colours of a frame, past what is written on it."""
    return encode(model, frames[None])[:3, 0]


def write(clip: Clip, path: Path) -> Path:
    frames, height, width, _ = clip.frames.shape
    stream = ClipStream(iter(clip.frames), width, height, clip.fps, frames, clip.recipe)
    media.write_clip(stream, path)
    return path


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Squares of 16 px, each of one colour: what a test card's latent can hold."""
    colours = np.random.default_rng(3).integers(0, 256, (8, 8, 3), np.uint8)
    return colours.repeat(16, axis=0).repeat(16, axis=1)


def test_a_picture_becomes_the_first_the_last_or_any_frame(model: Model, picture: np.ndarray) -> None:
    wanted = cells(model, picture)
    clip = make("a cat", seconds=2, image=picture, last_image=picture)
    assert torch.equal(cells(model, clip.frames[0]), wanted)
    assert torch.equal(cells(model, clip.frames[-1]), wanted)
    assert not torch.equal(cells(model, clip.frames[8]), wanted)
    clip = make("a cat", seconds=4, cards=[StoryCard(2, image=picture)])
    assert torch.equal(cells(model, clip.frames[16]), wanted)
    assert not torch.equal(cells(model, clip.frames[0]), wanted)


def test_a_picture_of_any_size_and_kind_is_cropped_to_the_shape(
    model: Model, picture: np.ndarray, tmp_path: Path
) -> None:
    wide = np.concatenate([np.zeros_like(picture), picture, np.zeros_like(picture)], 1)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    clip = make("a cat", seconds=1, image=tmp_path / "wide.png")
    assert torch.equal(cells(model, clip.frames[0]), cells(model, picture))
    Image.fromarray(picture).convert("P").save(tmp_path / "a.gif")
    assert make("a cat", seconds=1, image=tmp_path / "a.gif").frames.shape == (8, 128, 128, 3)


def test_extend_keeps_every_frame_and_adds_the_wanted_seconds() -> None:
    clip = make("a cat", seconds=2.125)  # 17 frames: whole latent frames
    longer = make("a dog", extend=clip, seconds=2)
    assert len(longer.frames) == 17 + 16
    assert np.array_equal(longer.frames[:17], clip.frames)
    assert longer.recipe.request.prompt == "a dog"
    assert longer.recipe.extra["tool"] == "extend"
    assert longer.latent_CFHW is not None
    again = make(extend=longer, seconds=1)
    assert again.recipe.request.prompt == "a dog", "the clip's own prompt goes on"
    assert np.array_equal(again.frames[:33], longer.frames)


def test_frames_that_fill_up_a_latent_frame_are_not_shown(model: Model, tmp_path: Path) -> None:
    file = write(make("a cat", seconds=2), tmp_path / "a.mp4")  # 16 frames, 3 more than whole latent frames
    given = read_clip(model, file)
    assert (given.frames, given.padding) == (16, 1)
    longer = make("a dog", extend=file, seconds=1)
    assert len(longer.frames) == 16 + 8
    assert any("only repeat" in said for said in longer.recipe.postprocess)
    assert longer.latent_CFHW is None


def test_extend_back_leads_up_to_the_clip(model: Model) -> None:
    clip = make("a cat", seconds=2.125)
    led = make("a dog", extend_back=clip, seconds=2)
    # One frame, three latent frames, then the clip: its first frame once, as it was.
    assert len(led.frames) == 1 + 12 + 17
    assert torch.equal(cells(model, led.frames[-1]), cells(model, clip.frames[-1]))
    assert torch.equal(cells(model, led.frames[13]), cells(model, clip.frames[0]))
    assert not torch.equal(cells(model, led.frames[12]), cells(model, clip.frames[0]))


def test_connect_leads_from_one_clip_to_the_other(model: Model) -> None:
    one, two = make("a cat", seconds=2.125), make("a dog", seconds=2.125, seed=2)
    both = make("a bird", connect=(one, two), seconds=1)
    assert len(both.frames) == 17 + 8 + 17
    assert np.array_equal(both.frames[:17], one.frames)
    assert torch.equal(cells(model, both.frames[25]), cells(model, two.frames[0]))
    assert torch.equal(cells(model, both.frames[-1]), cells(model, two.frames[-1]))


def test_a_loop_is_made_toward_its_own_beginning(model: Model) -> None:
    clip = make("a cat", seconds=2.125)
    looped = make("a dog", loop=clip, seconds=1)
    assert len(looped.frames) == 17 + 8
    assert np.array_equal(looped.frames[:17], clip.frames)
    job = plan_job(model, Wish(prompt="a dog", loop=clip, options={"seconds": 1, "seed": 1}))
    assert job.start is not None
    assert job.start.given_F == (True,) * 5 + (False,) * 2 + (True,) * 3
    beginning = encode(model, np.concatenate([clip.frames[:1], clip.frames[:12]]))[:, 1:]
    assert torch.equal(job.start.latent_CFHW[:, 7:], beginning)
    assert min(job.cut) == 25


def test_a_blend_begins_as_the_one_and_ends_as_the_other(model: Model) -> None:
    one, two = make("a cat", seconds=2.125), make("a dog", seconds=2.125, seed=2)
    job = plan_job(model, Wish(blend=(one, two), strength=0.5, options={"seed": 1}))
    assert job.start is not None
    latent = job.start.latent_CFHW
    assert torch.equal(latent[:, 0], one.latent_CFHW[:, 0])
    assert torch.equal(latent[:, -1], two.latent_CFHW[:, -1])
    torch.testing.assert_close(latent[:, 2], (one.latent_CFHW + two.latent_CFHW)[:, 2] / 2)
    assert [card.prompt for card in job.request.cards] == ["a cat", "a dog"]
    cut = plan_job(model, Wish(blend=(one, two), curve="step", options={"seed": 1}))
    assert cut.start is not None
    assert torch.equal(cut.start.latent_CFHW[:, 1], one.latent_CFHW[:, 1])
    assert cut.request.transition_s == 0


@pytest.mark.parametrize(("strength", "level"), [("subtle", 0.4), ("strong", 0.85), ("0.3", 0.3), (0.5, 0.5)])
def test_an_edit_starts_from_the_clip_at_its_strength(
    strength: str | float, level: float, model: Model
) -> None:
    clip = make("a cat", seconds=2.125)
    options = {"seed": 5, "steps": 10}
    job = plan_job(model, Wish(prompt="a dog", edit=clip, strength=strength, options=options))
    assert job.start is not None
    stages = plan(model.spec, job.request, job.start.given_F, changes=any(job.start.changed_F))
    assert stages[0].sigmas[0] == level
    assert stages[0].steps < 10
    noise = torch.randn(clip.latent_CFHW.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        job.start.mixed_with(noise, level), (1 - level) * clip.latent_CFHW + level * noise
    )


def test_a_remix_keeps_noise_and_settings_and_changes_the_prompt(tmp_path: Path) -> None:
    clip = make("a cat", seconds=2, seed=77, steps=3, negative_prompt="rain", guidance_scale=2.0)
    remixed = make("a dog", remix=write(clip, tmp_path / "a.mp4"), seed=None).recipe.request
    assert (remixed.seed, remixed.steps, remixed.negative_prompt) == (77, 3, "rain")
    assert remixed.prompt == "a dog"
    with pytest.raises(InvalidRequest, match="carries no recipe"):
        make("a dog", remix=clip.frames)
    with pytest.raises(InvalidRequest, match="no variations"):
        make("a dog", remix=clip, variations=2)


@pytest.mark.parametrize("fps", [8, 24])
def test_a_changed_clip_is_as_long_as_what_was_shown(fps: int) -> None:
    """A second is 8 frames, of which the latent, made of whole latent frames, has 9."""
    clip = make("a cat", seconds=1, fps=fps)
    assert clip.latent_CFHW.shape[1] == 3
    assert len(make("a dog", remix=clip, fps=fps).frames) == len(clip.frames) == fps


def test_a_storyboard_shows_each_card_at_its_time(model: Model) -> None:
    cards = [StoryCard(0, "a cat"), StoryCard(2, "a dog")]
    clip = make(cards=cards, seconds=4, transition_s=0)
    for prompt, frame in (("a cat", 1), ("a dog", 30)):
        alone = make(prompt, seconds=4)
        assert torch.equal(cells(model, clip.frames[frame]), cells(model, alone.frames[frame]))
    assert clip.recipe.request.prompt == "a cat; a dog"
    late = make("a bird", cards=[StoryCard(2, "a dog")], seconds=4)
    assert [card.prompt for card in late.recipe.request.cards] == ["a bird", "a dog"]


def test_variations_are_each_what_their_seed_gives_alone() -> None:
    clips = hibari.generate("a cat", seconds=1, variations=3, seed=5)
    assert isinstance(clips, list)
    assert [clip.recipe.request.seed for clip in clips] == [5, 6, 7]
    for clip in clips:
        alone = make("a cat", seconds=1, seed=clip.recipe.request.seed)
        assert np.array_equal(clip.frames, alone.frames)


def test_num_frames_is_the_length_of_the_finished_clip() -> None:
    assert len(make("a cat", num_frames=1).frames) == 1
    assert len(make("a cat", num_frames=33).frames) == 33
    assert len(make("a cat", num_frames=25, fps=24, size=(64, 64)).frames) == 25
    with pytest.raises(InvalidRequest, match="not both"):
        make("a cat", num_frames=8, seconds=1)


def test_a_stream_tells_what_the_engine_does() -> None:
    events = list(hibari.stream("a cat", seconds=1, seed=1))
    assert not [event for event in events if isinstance(event, Failed)]
    assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2, 3, 4]
    assert isinstance(events[-1], Finished)


# ---------------------------------------------------------------- latents that were kept


def test_a_kept_latent_spares_the_autoencoder_as_long_as_it_belongs_to_the_file(
    model: Model, tmp_path: Path
) -> None:
    clip = make("a cat", seconds=2)
    file = write(clip, tmp_path / "a.mp4")
    tools.keep_latent(file, clip.latent_CFHW, clip.recipe)
    assert torch.equal(read_clip(model, file).latent_CFHW, clip.latent_CFHW)

    write(make("a cat", seconds=2, seed=9), file)  # another clip under the same name
    assert not torch.equal(read_clip(model, file).latent_CFHW, clip.latent_CFHW)

    other = replace(clip, recipe=replace(clip.recipe, weights_sha256="of other weights"))
    assert not torch.equal(read_clip(model, other).latent_CFHW, clip.latent_CFHW)


# ---------------------------------------------------------------- what cannot be


def test_tools_that_cannot_go_together_are_named() -> None:
    clip = make("a cat", seconds=1)
    with pytest.raises(InvalidRequest, match="extend and loop cannot go together"):
        make("a cat", extend=clip, loop=clip)
    with pytest.raises(InvalidRequest, match="edit and image cannot go together"):
        make("a cat", edit=clip, image=clip.frames[0])
    with pytest.raises(InvalidRequest, match="strength is for"):
        make("a cat", strength=0.5)
    with pytest.raises(InvalidRequest, match="strength is 'huge'; wanted subtle"):
        make("a cat", edit=clip, strength="huge")
    with pytest.raises(InvalidRequest, match="no curve 'wavy'"):
        make("a cat", blend=(clip, clip), curve="wavy")
    with pytest.raises(InvalidRequest, match="variations is 99; must be 1 to 16"):
        make("a cat", variations=99)


def test_clips_of_two_shapes_cannot_be_joined() -> None:
    square, wide = make("a cat", seconds=1), make("a cat", seconds=1, size=(160, 96))
    for tool in ("connect", "blend"):
        with pytest.raises(InvalidRequest, match=r"both clips must have one shape, here that of 128x128"):
            make("a dog", **{tool: (square, wide)})


def test_cards_outside_the_clip_are_refused(picture: np.ndarray) -> None:
    with pytest.raises(InvalidRequest, match="card 2 is at 9 s; the clip has 0 to 4 s"):
        make(cards=[StoryCard(0, "a cat"), StoryCard(9, "a dog")], seconds=4)
    with pytest.raises(InvalidRequest, match="a card is at 9 s; the clip has 0 to 4 s"):
        make("a cat", cards=[StoryCard(9, image=picture)], seconds=4)
    with pytest.raises(InvalidRequest, match="what is given fills the whole clip"):
        make("a cat", image=picture, seconds=0)


def test_the_clip_of_somebody_else_needs_a_prompt() -> None:
    clip = make("a cat", seconds=1)
    with pytest.raises(InvalidRequest, match="the given clip does not say what it shows"):
        make(extend=clip.frames)
    assert len(make("a cat", extend=clip.frames, seconds=1).frames) == 8 + 8


def test_what_is_too_long_or_too_short_is_refused(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make("a cat", seconds=2)
    monkeypatch.setattr(model, "spec", replace(model.spec, max_seconds=1))
    with pytest.raises(InvalidRequest, match="longer than 1 s, the most testcard makes; trim it first"):
        read_clip(model, clip)
    with pytest.raises(InputError, match="is a single picture; a clip is wanted"):
        make("a dog", extend=make("a cat", seconds=0))
    with pytest.raises(InvalidRequest, match="seconds is 0; above 0 to 60 seconds can be added"):
        make("a dog", extend=clip, seconds=0)


def test_pixels_of_another_kind_are_refused(picture: np.ndarray) -> None:
    for wrong in (picture / 255, picture[..., :1], np.zeros((0, 128, 128, 3), np.uint8)):
        with pytest.raises(InputError, match="wanted is uint8"):
            make("a cat", image=wrong)


def test_files_that_are_not_what_they_should_be_are_refused(tmp_path: Path) -> None:
    good = write(make("a cat", seconds=1), tmp_path / "good.mp4")
    text = tmp_path / "text.png"
    text.write_text("no picture")
    cut_off = tmp_path / "cut.mp4"
    cut_off.write_bytes(good.read_bytes()[:2000])
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        silence.sample_rate = 48000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    huge = tmp_path / "huge.mp4"
    with huge.open("wb") as file:
        file.truncate(4 * 2**30)  # sparse
    for path, message in (
        (text, "text.png is not a video or picture"),
        (cut_off, "cut.mp4 is not a video or picture"),
        (sound, "sound.mp4 has no pictures|sound.mp4 is not a video"),
        (huge, "huge.mp4 has 4.0 GB; at most 2 GB are read"),
        (tmp_path, "cannot read|is not a video"),
        (tmp_path / "none.png", "No such file"),
    ):
        with pytest.raises(InputError, match=message):
            make("a cat", image=path)
        with pytest.raises(InputError, match=message):
            make("a cat", extend=path)


def test_an_unusual_codec_is_read(tmp_path: Path, picture: np.ndarray) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.width, stream.height, stream.pix_fmt = 128, 128, "bgr0"
        for _ in range(9):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    assert len(make("a cat", extend=tmp_path / "a.mkv", seconds=1).frames) == 9 + 8


@pytest.mark.parametrize("fps", [4, 8, 24, 30])
def test_a_clip_of_any_rate_lasts_as_long_at_the_models_own(fps: int, tmp_path: Path, model: Model) -> None:
    file = write(make("a cat", seconds=2, fps=fps), tmp_path / "a.mp4")
    assert read_clip(model, file).frames == 16
