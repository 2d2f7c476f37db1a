"""Defends the rendered world: the same seed gives the same clip, and the caption says what the pixels show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hibari.contracts import MissingPart
from hibari.models.mini.text import MAX_TOKENS, model_folder
from hibari.training import data
from hibari.training.world import assets
from hibari.training.world.backdrops import BACKDROPS
from hibari.training.world.backdrops import BY_NAME as BACKDROP_BY_NAME
from hibari.training.world.captions import (
    LIGHT_WORDS,
    LOOK_PREFIXES,
    LOOK_SUFFIXES,
    NUMBERS,
    RELATION_WORDS,
    SIZE_WORDS,
    WEATHER_WORDS,
    article,
    caption,
    gerund,
    plural,
    third_person,
)
from hibari.training.world.motions import CAMERA_BY_NAME, CAMERAS, MOTION_BY_NAME, MOTIONS
from hibari.training.world.render import FRAMES, SHAPES, render
from hibari.training.world.spec import (
    LOOKS,
    RELATIONS,
    SIZES,
    WEATHERS,
    WORLD_VERSION,
    ClipSpec,
    Figure,
    draw,
    is_held_out,
)
from hibari.training.world.subjects import COLOURS, SUBJECT_BY_NAME, SUBJECTS, sprite

SEEDS = st.integers(0, 2**40)


def scene(
    motion: str = "stays", *, subject: str = "balloon", colour: str | None = "red", **changes: object
) -> ClipSpec:
    """One subject in a meadow by day, nothing else going on."""
    start_x, start_y = MOTION_BY_NAME[motion].start
    x, y = 0.5 if start_x is None else start_x, 0.5 if start_y is None else start_y
    plain = ClipSpec(
        seed=2, figures=(Figure(subject, colour, "small", x, y),), relation=None, motion=motion,
        camera="still", backdrop="meadow", variant=0, light="day", weather="clear", look="plain",
        phase=0.0, mirrored=False,
    )  # fmt: skip
    return replace(plain, **changes)


# ---------------------------------------------------------------- how much there is


def test_the_world_is_wide_enough() -> None:
    assert len(SUBJECT_BY_NAME) == len(SUBJECTS) >= 60
    assert len(COLOURS) == 8
    assert sum(bool(subject.tint) for subject in SUBJECTS) >= 12, "colours need subjects that take them"
    assert len(BACKDROP_BY_NAME) == len(BACKDROPS) >= 12
    assert BACKDROP_BY_NAME["club"].animate, "the lights of the techno club move"
    assert len(MOTION_BY_NAME) == len(MOTIONS) >= 12
    assert len(SIZES) == 3
    assert len(CAMERAS) >= 4
    assert set(LOOKS) == {"plain", "black_and_white", "pixel_art", "neon"}
    assert {"rain", "snow", "fog"} <= set(WEATHERS)


def test_what_is_in_the_tables_is_also_drawn() -> None:
    specs = [draw(seed, "any") for seed in range(4000)]
    figures = [figure for spec in specs for figure in spec.figures]
    assert {figure.subject for figure in figures} == set(SUBJECT_BY_NAME)
    assert {figure.colour for figure in figures} == {*COLOURS, None}
    assert {figure.size for figure in figures} == set(SIZES)
    assert {spec.count for spec in specs} == {1, 2, 3}
    assert {spec.relation for spec in specs} == {*RELATIONS, None}
    assert {spec.motion for spec in specs} == set(MOTION_BY_NAME)
    assert {spec.camera for spec in specs} == set(CAMERA_BY_NAME)
    assert {spec.backdrop for spec in specs} == set(BACKDROP_BY_NAME)
    assert {spec.light for spec in specs} == set(LIGHT_WORDS)
    assert {spec.weather for spec in specs} == set(WEATHERS)
    assert {spec.look for spec in specs} == set(LOOKS)


@pytest.mark.parametrize(("group", "figures"), [("single", {1}), ("relation", {2}), ("count", {2, 3})])
def test_a_group_gives_nothing_else(group: str, figures: set[int]) -> None:
    specs = [draw(seed, group=group) for seed in range(60)]
    assert {len(spec.figures) for spec in specs} == figures
    assert all((spec.relation is not None) == (group == "relation") for spec in specs)
    if group == "relation":
        assert all(spec.figures[0].subject != spec.figures[1].subject for spec in specs)


# ---------------------------------------------------------------- the same again


@given(SEEDS)
def test_a_seed_is_one_clip_and_its_captions(seed: int) -> None:
    assert draw(seed) == draw(seed)
    assert caption(draw(seed), seed) == caption(draw(seed), seed)
    assert draw(seed).seed == seed


def test_a_seed_is_the_same_pixels_and_another_is_not() -> None:
    one = render(draw(5))
    render(draw(6))
    assert one.tobytes() == render(draw(5)).tobytes()
    assert one.tobytes() != render(replace(draw(5), variant=(draw(5).variant + 1) % 6)).tobytes()


def test_other_processes_render_the_same_bytes() -> None:
    function = partial(data.crops, clips=1, crop_px=64, crop_frames=5, near_subject=0.7)
    ahead = data.in_order(function, 3, workers=1)
    here = data.in_order(function, 3, workers=0)
    assert isinstance(ahead, Iterator)
    pictures = [(next(ahead), next(here)) for _ in range(3)]
    ahead.close()  # pyright: ignore[reportAttributeAccessIssue] - a generator: this ends its processes
    for there, mine in pictures:
        assert mine.shape == (2, 5, 64, 64, 3)
        assert there.tobytes() == mine.tobytes()
    assert pictures[0][1].tobytes() != pictures[1][1].tobytes()


@given(SEEDS)
def test_the_printed_recipe_holds_the_whole_clip(seed: int) -> None:
    spec = draw(seed, "any")
    text = spec.to_json()
    assert "\n" not in text
    fields = json.loads(text)
    assert fields.pop("world") == WORLD_VERSION
    fields["figures"] = tuple(Figure(**figure) for figure in fields["figures"])
    assert ClipSpec(**fields) == spec


# ---------------------------------------------------------------- held out


@given(SEEDS)
def test_training_never_sees_what_evaluation_asks_for(seed: int) -> None:
    for split, wanted in (("train", False), ("held_out", True)):
        spec = draw(seed, split)  # pyright: ignore[reportArgumentType]
        assert is_held_out(spec.figures[0].subject, spec.motion, spec.backdrop) is wanted


def test_a_tenth_is_held_out_of_every_subject_motion_and_backdrop() -> None:
    held = np.array(
        [[[is_held_out(s.name, m.name, b.name) for b in BACKDROPS] for m in MOTIONS] for s in SUBJECTS]
    )
    assert held.mean() == pytest.approx(0.1, abs=0.01)
    # Nothing is held out altogether, and nothing is known altogether.
    for axes in ((1, 2), (0, 2), (0, 1)):
        share = held.mean(axes)
        assert share.min() > 0
        assert share.max() < 0.3


# ---------------------------------------------------------------- captions


def says(text: str, *phrases: str) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE) for phrase in phrases)


@given(SEEDS, st.integers(0, 2**40))
def test_a_caption_names_what_is_in_the_clip(seed: int, words: int) -> None:
    spec = draw(seed, "any")
    text = caption(spec, words)
    assert text == " ".join(text.split()), "no double spaces"
    assert " ," not in text
    assert ",," not in text
    for index, figure in enumerate(spec.figures if spec.relation else spec.figures[:1]):
        nouns = SUBJECT_BY_NAME[figure.subject].words
        assert says(text, *(map(plural, nouns) if spec.count > 1 else nouns)), (text, index)
        if figure.colour:
            assert says(text, figure.colour), text
    if spec.count > 1:
        assert says(text, NUMBERS[spec.count]), text
    if spec.relation:
        assert says(text, *RELATION_WORDS[spec.relation]), text
    if len(spec.figures) == 1 and spec.figures[0].size != "medium":
        assert says(text, *SIZE_WORDS[spec.figures[0].size]), text
    assert says(text, *BACKDROP_BY_NAME[spec.backdrop].phrases), text
    if spec.camera != "still":
        assert says(text, *CAMERA_BY_NAME[spec.camera].says), text
    if spec.look != "plain":
        assert says(text, *LOOK_SUFFIXES[spec.look], *(w.rstrip(":") for w in LOOK_PREFIXES[spec.look])), text
    if spec.light != "day":
        assert says(text, *LIGHT_WORDS[spec.light]), text
    if spec.weather != "clear":
        assert says(text, *WEATHER_WORDS[spec.weather]), text


@given(SEEDS, st.integers(0, 2**40))
def test_a_caption_names_the_motion(seed: int, words: int) -> None:
    spec = draw(seed, "any")
    if spec.motion == "stays":
        return  # "a cat on the beach" is a cat that stays
    text = caption(spec, words)
    kind = SUBJECT_BY_NAME[spec.figures[0].subject].kind
    forms = [
        f"{form} {rest}".strip()
        for verb, rest in MOTION_BY_NAME[spec.motion].says
        for one in ((*kind.go, "go", "move") if verb == "go" else (verb,))
        for form in (one, third_person(one), gerund(one))
    ]
    assert says(text, *forms), text


def test_a_clip_has_several_captions() -> None:
    assert len({caption(draw(3), words) for words in range(40)}) > 20


@pytest.mark.parametrize(
    "words", ["a cat", "an owl", "an elephant", "an orange car", "a UFO", "a unicorn", "an umbrella",
              "an ice cream", "a blue umbrella", "an octopus", "an electric guitar", "a T-rex"],
)  # fmt: skip
def test_articles(words: str) -> None:
    wanted, noun = words.split(" ", 1)
    assert article(noun) == wanted


@pytest.mark.parametrize(
    ("one", "many"),
    [("cat", "cats"), ("butterfly", "butterflies"), ("monkey", "monkeys"), ("fox", "foxes"), ("bus", "buses"),
     ("coach", "coaches"), ("fish", "fish"), ("sheep", "sheep"), ("cactus", "cacti"),
     ("slice of pizza", "slices of pizza"), ("woman in a red dress", "women in red dresses"),
     ("snowman", "snowmen")],
)  # fmt: skip
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many


@pytest.mark.parametrize(
    ("verb", "he", "doing"),
    [("go", "goes", "going"), ("fly", "flies", "flying"), ("sway", "sways", "swaying"),
     ("approach", "approaches", "approaching"), ("run", "runs", "running"), ("spin", "spins", "spinning"),
     ("shake", "shakes", "shaking"), ("zigzag", "zigzags", "zigzagging"), ("shrink", "shrinks", "shrinking"),
     ("hop", "hops", "hopping"), ("rise", "rises", "rising"), ("travel", "travels", "traveling")],
)  # fmt: skip
def test_verbs(verb: str, he: str, doing: str) -> None:
    assert (third_person(verb), gerund(verb)) == (he, doing)


def test_both_verbs_of_a_pair_are_inflected() -> None:
    texts = {caption(scene("pulses"), words) for words in range(200)}
    wrong = [text for text in texts if re.search(r"(grows|growing) and shrink\b", text)]
    assert wrong == []


def test_one_subject_beside_another_takes_a_verb_in_the_singular() -> None:
    pair = (Figure("cat", None, "small", 0.3, 0.6), Figure("dog", None, "small", 0.7, 0.6))
    texts = {caption(scene("spins", figures=pair, relation="left_of"), words) for words in range(200)}
    wrong = [text for text in texts if re.search(r"(dog|puppy) (spin|rotate|turn)\b", text)]
    assert wrong == []


def test_a_look_before_the_place_still_makes_a_sentence() -> None:
    texts = {caption(scene("rises", look="neon", backdrop="sea"), words) for words in range(600)}
    wrong = [text for text in texts if re.search(r"\bof (at|on|over|above) ", text)]
    assert wrong == []


def test_no_caption_is_cut_by_the_text_encoder() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder(), local_files_only=True)
    texts = [caption(draw(seed, "any"), 1000 * seed) for seed in range(2500)]
    lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    assert max(lengths) <= MAX_TOKENS


# ---------------------------------------------------------------- the font


@pytest.fixture
def unread_font() -> Iterator[None]:
    """As in a process that has not looked at the font yet."""
    assets._emoji_font.cache_clear()
    yield
    assets._emoji_font.cache_clear()


@pytest.mark.usefixtures("unread_font")
def test_a_missing_font_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(assets, "EMOJI_FONT", replace(assets.EMOJI_FONT, path=tmp_path / "gone.ttf"))
    with pytest.raises(MissingPart, match="apt-get install fonts-noto-color-emoji"):
        assets.glyph.__wrapped__("🎈")


@pytest.mark.usefixtures("unread_font")
def test_another_font_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "NotoColorEmoji.ttf"
    path.write_bytes(b"another version")
    monkeypatch.setattr(assets, "EMOJI_FONT", replace(assets.EMOJI_FONT, path=path))
    with pytest.raises(MissingPart, match=r"is not version 2\.042"):
        assets.glyph.__wrapped__("🎈")


def test_every_asset_says_where_it_comes_from() -> None:
    for asset in assets.ASSETS:
        assert all(asdict(asset).values())
        assert re.fullmatch(r"[0-9a-f]{64}", asset.sha256)


# ---------------------------------------------------------------- pixels


def test_every_subject_has_a_picture_of_its_own() -> None:
    pictures = {sprite(subject.name, None).tobytes() for subject in SUBJECTS}
    assert len(pictures) == len(SUBJECTS)
    for subject in SUBJECTS:
        assert sprite(subject.name, None)[..., 3].mean() > 25, f"{subject.name} is nearly invisible"


@pytest.mark.parametrize("name", [subject.name for subject in SUBJECTS if subject.tint])
def test_a_colour_shows(name: str) -> None:
    means = {}
    for colour in COLOURS:
        picture = sprite(name, colour).astype(np.float32)
        means[colour] = picture[picture[..., 3] > 128][:, :3].mean(0)
    assert means["red"][0] - means["blue"][0] > 30
    assert means["blue"][2] - means["red"][2] > 30
    assert means["green"][1] - means["purple"][1] > 20
    nearest = min(np.abs(means[a] - means[b]).max() for a in means for b in means if a < b)
    assert nearest > 4, "two colours look the same"


def test_what_has_no_colour_to_change_cannot_be_coloured() -> None:
    with pytest.raises(ValueError, match="panda cannot be recoloured"):
        sprite("panda", "red")


@pytest.mark.parametrize("shape", SHAPES)
def test_clips_have_the_wanted_shape(shape: tuple[int, int]) -> None:
    width, height = shape
    for backdrop in ("club", "sea"):
        clip = render(scene(backdrop=backdrop, camera="zoom_out"), width=width, height=height)
        assert clip.shape == (FRAMES, height, width, 3)
        assert clip.dtype == np.uint8
        assert clip.std() > 10


@pytest.mark.parametrize("backdrop", sorted(BACKDROP_BY_NAME))
def test_a_backdrop_is_there_in_all_its_lights(backdrop: str) -> None:
    pictures = [
        render(scene(backdrop=backdrop, light=light, figures=()), frames=1)[0].astype(int)
        for light in BACKDROP_BY_NAME[backdrop].lights
    ]
    assert all(picture.std() > 10 for picture in pictures)
    for index, picture in enumerate(pictures[1:]):
        assert np.abs(picture - pictures[index]).mean() > 8


def test_the_lights_of_the_club_move() -> None:
    clip = render(scene(backdrop="club", figures=())).astype(int)
    assert np.abs(np.diff(clip, axis=0)).mean((1, 2, 3)).min() > 1


def test_looks_are_what_they_say() -> None:
    plain, grey, blocks, neon = (render(scene(look=look), frames=5) for look in LOOKS)
    assert np.ptp(plain.astype(int), axis=-1).max() > 100
    assert (grey == grey[..., :1]).all()
    corners = blocks[:, ::4, ::4].repeat(4, 1).repeat(4, 2)
    assert (blocks == corners).all()
    assert len(np.unique(blocks)) <= 6
    assert neon.mean() < 0.7 * plain.mean(), "neon is lines on a dark ground"
    assert neon.max() > 200


@pytest.mark.parametrize("weather", [name for name in WEATHERS if name != "clear"])
def test_weather_shows(weather: str) -> None:
    clear = render(scene(), frames=5).astype(int)
    wet = render(scene(weather=weather), frames=5).astype(int)
    assert np.abs(wet - clear).mean() > 5


def figure_mask(spec: ClipSpec) -> np.ndarray:
    """Where the figures are, bool [frames, height, width]: where the clip differs from its empty backdrop."""
    difference = render(spec).astype(int) - render(replace(spec, figures=()))
    return np.abs(difference).max(-1) > 24


def path_of(spec: ClipSpec) -> np.ndarray:
    """Centre (x, y) and area of the figure in every frame, float64 [frames, 3]; shares of the frame, px."""
    mask = figure_mask(spec)
    rows, cols = (np.arange(n) / n for n in mask.shape[1:])
    area = mask.sum((1, 2))
    return np.stack([(mask.sum(1) * cols).sum(1) / area, (mask.sum(2) * rows).sum(1) / area, area], 1)


@pytest.mark.parametrize(
    ("motion", "axis", "way"),
    [("left", 0, -0.52), ("right", 0, 0.52), ("zigzags", 0, 0.52), ("rises", 1, -0.5), ("falls", 1, 0.5)],
)
def test_things_go_where_they_should(motion: str, axis: int, way: float) -> None:
    path = path_of(scene(motion))
    assert path[-1, axis] - path[0, axis] == pytest.approx(way, abs=0.03)
    steps = np.diff(path[:, axis])
    assert (steps * np.sign(way) > 0).all(), "it never turns back"


@pytest.mark.parametrize(("motion", "grows"), [("approaches", True), ("recedes", False)])
def test_near_is_large(motion: str, grows: bool) -> None:
    area = path_of(scene(motion))[:, 2]
    ratio = area[-1] / area[0] if grows else area[0] / area[-1]
    assert ratio > 3
    assert np.abs(path_of(scene(motion))[:, :2] - 0.5).max() < 0.12


def test_still_things_stay_and_others_come_back() -> None:
    assert np.ptp(path_of(scene("stays"))[:, :2], axis=0).max() < 0.01
    jumps = path_of(scene("jumps"))[:, 1]
    assert np.ptp(jumps) == pytest.approx(0.22, abs=0.03)
    assert jumps[16] == pytest.approx(jumps[0], abs=0.02)


def test_every_motion_differs_from_every_other() -> None:
    clips = {name: render(scene(name, subject="car", colour="red")).astype(int) for name in MOTION_BY_NAME}
    for name, clip in clips.items():
        for other, theirs in clips.items():
            assert name == other or np.abs(clip - theirs).mean() > 0.5, f"{name} looks like {other}"


def test_the_camera_moves_the_scene_and_not_the_subject() -> None:
    still = path_of(scene())
    for camera in CAMERA_BY_NAME:
        spec = scene(camera=camera)
        np.testing.assert_allclose(path_of(spec)[:, :2], still[:, :2], atol=0.02)
        if camera != "still":
            empty = render(replace(spec, figures=())).astype(int)
            assert np.abs(empty[-1] - empty[0]).mean() > 4, camera


@pytest.mark.parametrize(("camera", "way"), [("pan_left", 1), ("pan_right", -1)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_pan_to_the_left_moves_the_scene_to_the_right(camera: str, way: int, mirrored: bool) -> None:
    clip = render(scene(camera=camera, mirrored=mirrored, figures=()))
    first, later = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)[64:] for frame in clip[[0, 4]])
    (shift, _), _ = cv2.phaseCorrelate(first, later, cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F))
    assert shift * way > 3


def test_subjects_look_where_they_go() -> None:
    left, right = (figure_mask(scene(motion, subject="horse", colour=None)) for motion in ("left", "right"))

    def silhouette(mask: np.ndarray) -> np.ndarray:
        cols = np.flatnonzero(mask.any(0))
        return mask[:, cols[0] : cols[-1] + 1]

    middle = 16  # both are in the middle of the frame then
    one, other = silhouette(left[middle]), silhouette(right[middle])
    width = min(one.shape[1], other.shape[1])
    mirrored = (one[:, :width] != other[:, ::-1][:, :width]).mean()
    alike = (one[:, :width] != other[:, :width]).mean()
    assert mirrored < 0.5 * alike


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_relation_is_where_the_subjects_are(relation: str) -> None:
    specs = [draw(seed, "any", group="relation") for seed in range(40)]
    chosen = [spec.figures for spec in specs if spec.relation == relation]
    assert len(chosen) > 4
    for first, second in chosen:
        dx, dy = first.x - second.x, first.y - second.y
        assert {"left_of": -dx, "right_of": dx, "above": -dy, "below": dy}[relation] > 0.35
