"""Who can be in a clip: the table of subjects, their words and their sprites."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from hibari.training.world.assets import glyph


@dataclass(frozen=True, slots=True)
class Kind:
    """How a family of subjects behaves.

    Attributes:
        grounded: stands on the ground of a scene (else it is held in the middle of the air).
        go: verbs for getting from one place to another.
    """

    grounded: bool
    go: tuple[str, ...]


WALKER = Kind(True, ("walk", "run", "wander"))
FLYER = Kind(False, ("fly", "glide"))
SWIMMER = Kind(False, ("swim", "glide"))
VEHICLE = Kind(True, ("drive", "roll"))
CRAFT = Kind(False, ("fly", "travel"))
BOAT = Kind(True, ("sail", "glide"))
THING = Kind(False, ("slide", "travel"))
PLANT = Kind(True, ("slide", "travel"))


@dataclass(frozen=True, slots=True)
class Subject:
    """One subject.

    Attributes:
        name: its class in specs and evaluation.
        character: its emoji.
        kind: how it behaves.
        words: singular nouns that people use for it, the usual one first.
        faces: -1 if its picture looks to the left, 1 to the right, 0 if it has no side.
        tint: what a colour changes: "vivid" its saturated parts, "all" every part, "" nothing.
    """

    name: str
    character: str
    kind: Kind
    words: tuple[str, ...]
    faces: int = 0
    tint: str = ""


SUBJECTS: tuple[Subject, ...] = (
    # Those that come in every colour.
    Subject("balloon", "🎈", THING, ("balloon",), tint="vivid"),
    Subject("ball", "🔴", THING, ("ball",), tint="vivid"),
    Subject("bird", "🐦", FLYER, ("bird", "little bird", "songbird"), -1, "vivid"),
    Subject("bus", "🚌", VEHICLE, ("bus", "coach"), -1, "all"),
    Subject("butterfly", "🦋", FLYER, ("butterfly",), tint="vivid"),
    Subject("car", "🚗", VEHICLE, ("car", "automobile"), -1, "vivid"),
    Subject("fish", "🐟", SWIMMER, ("fish",), -1, "vivid"),
    Subject("flower", "🌷", PLANT, ("tulip", "flower"), tint="vivid"),
    Subject("gift", "🎁", THING, ("gift box", "present", "gift"), tint="vivid"),
    Subject("guitar", "🎸", THING, ("guitar", "electric guitar"), tint="vivid"),
    Subject("hat", "🎩", THING, ("top hat", "hat"), tint="all"),
    Subject("heart", "❤", THING, ("heart",), tint="all"),
    Subject("kite", "🪁", FLYER, ("kite",), tint="vivid"),
    Subject("mushroom", "🍄", PLANT, ("mushroom", "toadstool"), tint="vivid"),
    Subject("octopus", "🐙", SWIMMER, ("octopus",), tint="vivid"),
    Subject("rocket", "🚀", CRAFT, ("rocket", "space rocket"), tint="vivid"),
    Subject("sailboat", "⛵", BOAT, ("sailboat", "sailing boat", "boat"), tint="all"),
    Subject("star", "⭐", THING, ("star",), tint="vivid"),
    Subject("umbrella", "🌂", THING, ("umbrella",), tint="vivid"),
    Subject("whale", "🐳", SWIMMER, ("whale",), -1, "all"),
    # Those that are as they are.
    Subject("airplane", "✈️", CRAFT, ("airplane", "plane", "jet"), 1),
    Subject("alien", "👽", THING, ("alien", "extraterrestrial")),
    Subject("banana", "🍌", THING, ("banana",)),
    Subject("bear", "🐻", WALKER, ("bear", "brown bear")),
    Subject("bee", "🐝", FLYER, ("bee", "honeybee"), -1),
    Subject("cactus", "🌵", PLANT, ("cactus",)),
    Subject("cake", "🎂", THING, ("birthday cake", "cake")),
    Subject("cat", "🐈", WALKER, ("cat", "kitten"), -1),
    Subject("cow", "🐄", WALKER, ("cow",), -1),
    Subject("crab", "🦀", WALKER, ("crab",)),
    Subject("crown", "👑", THING, ("crown", "golden crown")),
    Subject("dancer", "💃", WALKER, ("dancer", "dancing woman", "woman in a red dress")),
    Subject("dinosaur", "🦖", WALKER, ("dinosaur", "t-rex"), -1),
    Subject("dog", "🐕", WALKER, ("dog", "puppy"), -1),
    Subject("dragon", "🐉", FLYER, ("dragon",), -1),
    Subject("duck", "🦆", WALKER, ("duck",), -1),
    Subject("elephant", "🐘", WALKER, ("elephant",), -1),
    Subject("flamingo", "🦩", WALKER, ("flamingo",), -1),
    Subject("fox", "🦊", WALKER, ("fox",)),
    Subject("frog", "🐸", WALKER, ("frog",)),
    Subject("ghost", "👻", FLYER, ("ghost", "spooky ghost")),
    Subject("giraffe", "🦒", WALKER, ("giraffe",), -1),
    Subject("helicopter", "🚁", CRAFT, ("helicopter",), -1),
    Subject("horse", "🐎", WALKER, ("horse",), -1),
    Subject("icecream", "🍦", THING, ("ice cream cone", "ice cream")),
    Subject("lion", "🦁", WALKER, ("lion",)),
    Subject("monkey", "🐒", WALKER, ("monkey",), -1),
    Subject("owl", "🦉", FLYER, ("owl",)),
    Subject("panda", "🐼", WALKER, ("panda", "panda bear")),
    Subject("penguin", "🐧", WALKER, ("penguin",)),
    Subject("pig", "🐖", WALKER, ("pig",), -1),
    Subject("pizza", "🍕", THING, ("slice of pizza", "pizza slice", "pizza")),
    Subject("pumpkin", "🎃", THING, ("pumpkin", "halloween pumpkin", "jack-o'-lantern")),
    Subject("rabbit", "🐇", WALKER, ("rabbit", "bunny"), -1),
    Subject("robot", "🤖", WALKER, ("robot",)),
    Subject("sheep", "🐑", WALKER, ("sheep",), -1),
    Subject("snail", "🐌", WALKER, ("snail",), -1),
    Subject("snowman", "⛄", PLANT, ("snowman",)),
    Subject("strawberry", "🍓", THING, ("strawberry",)),
    Subject("sunflower", "🌻", PLANT, ("sunflower",)),
    Subject("teddy", "🧸", THING, ("teddy bear", "teddy")),
    Subject("tractor", "🚜", VEHICLE, ("tractor",), -1),
    Subject("train", "🚂", VEHICLE, ("steam train", "locomotive", "train"), -1),
    Subject("tree", "🌳", PLANT, ("tree",)),
    Subject("turtle", "🐢", WALKER, ("turtle", "tortoise"), -1),
    Subject("ufo", "🛸", CRAFT, ("UFO", "flying saucer")),
    Subject("unicorn", "🦄", WALKER, ("unicorn",), -1),
)
SUBJECT_BY_NAME = {subject.name: subject for subject in SUBJECTS}

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 30, 38),
    "orange": (250, 135, 20),
    "yellow": (252, 214, 30),
    "green": (50, 170, 60),
    "blue": (35, 95, 225),
    "purple": (135, 55, 190),
    "pink": (250, 130, 185),
    "white": (244, 244, 246),
}
"""The eight colours, as sRGB."""


@cache
def sprite(name: str, colour: str | None) -> np.ndarray:
    """The picture of a subject: uint8 RGBA [side, side, 4], straight (not premultiplied) alpha.

    Raises:
        ValueError: for a colour of a subject that has none to change.
    """
    subject = SUBJECT_BY_NAME[name]
    picture = glyph(subject.character)
    if colour is None:
        return picture
    if not subject.tint:
        raise ValueError(f"{name} cannot be recoloured (got {colour!r})")
    return _tinted(picture, np.array(COLOURS[colour], np.float32), subject.tint)


def _tinted(picture: np.ndarray, target: np.ndarray, tint: str) -> np.ndarray:
    """Give the coloured parts another colour and keep their light and shade."""
    rgb = picture[..., :3].astype(np.float32)
    alpha = picture[..., 3] > 128
    saturation = cv2.cvtColor(picture[..., :3], cv2.COLOR_RGB2HSV)[..., 1].astype(np.float32) / 255
    share = np.ones_like(saturation) if tint == "all" else np.clip((saturation - 0.25) * 4, 0, 1)
    # Shade relative to the part's usual brightness: the brightest channel, since it is hue-free.
    value = rgb.max(axis=-1)
    part = alpha & (share > 0.5)
    usual = np.percentile(value[part], 60)
    shade = np.clip(value / usual, 0.35, 1.25)[..., None]
    toned = np.where(shade <= 1, target * shade, target + (255 - target) * (shade - 1))
    out = rgb + (toned - rgb) * share[..., None]
    return np.dstack([np.clip(out, 0, 255).astype(np.uint8), picture[..., 3]])
