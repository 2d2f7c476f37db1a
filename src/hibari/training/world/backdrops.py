"""The painted backgrounds of the rendered training world.

Each backdrop is a picture-book scene of large flat shapes and smooth gradients, in two layers (far, near)
that a panning camera moves at different speeds, in the light of day, sunset or night, in six fixed variants.
There is no fine texture on purpose: a small video autoencoder has to compress the pictures about 90 times.
Some backdrops also move: `animate` adds slow, predictable light, water or smoke to a composed frame.
Canvas coordinates are px of the 320x256 canvas; the central 128x128 of it is x 96..224, y 64..192.
A density of n paints and shows the same scene with n x n px for each of them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import pairwise
from typing import TypeVar

import cv2
import numpy as np

CANVAS_W, CANVAS_H = 320, 256
VARIANTS = 6
LIGHTS = ("day", "sunset", "night")

RGB = tuple[float, float, float]
Points = Sequence[tuple[float, float]]
T = TypeVar("T")

_SS = 2  # supersampling; the shapes are anti-aliased as well
_SHIFT = 4  # fractional bits of the coordinates handed to cv2
_GROUND = 168.0
_WHITE: RGB = (250, 250, 248)
_TINT: dict[str, RGB] = {"day": (1.0, 1.0, 1.0), "sunset": (1.0, 0.88, 0.82), "night": (0.75, 0.8, 1.0)}
_GRADE: dict[str, tuple[RGB, RGB]] = {  # light: (factor, offset) of a daylight colour
    "day": ((1, 1, 1), (0, 0, 0)),
    "sunset": ((0.84, 0.7, 0.6), (32, 6, 18)),
    "night": ((0.4, 0.42, 0.52), (2, 10, 36)),
}
_SKY: dict[str, tuple[RGB, RGB, RGB]] = {  # light: colours at the top, in the middle, at the horizon
    "day": ((92, 170, 238), (148, 206, 248), (214, 238, 250)),
    "sunset": ((112, 78, 152), (238, 124, 128), (255, 204, 122)),
    "night": ((14, 18, 56), (30, 42, 96), (66, 84, 148)),
}


@dataclass(frozen=True, slots=True)
class Scenery:
    """One painted picture: two layers and how subjects stand in it."""

    far: np.ndarray  # uint8 [CANVAS_H * density, CANVAS_W * density, 3] RGB
    near: np.ndarray  # uint8 [CANVAS_H * density, CANVAS_W * density, 4] RGBA, premultiplied
    ground_px: float  # y on the canvas where standing subjects have their feet
    tint: RGB  # factor of a subject's RGB


@dataclass(frozen=True, slots=True)
class Window:
    """Frame pixel (u, v) shows point (x0_px + u * scale, y0_px + v * scale) of the near layer's canvas. The frame has
    `density` px in each direction for one of the usual render."""

    x0_px: float
    y0_px: float
    scale: float
    density: int = 1

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Frame pixel of a canvas point."""
        return (x - self.x0_px) / self.scale, (y - self.y0_px) / self.scale

    def place(self, x0_px: float, y0_px: float) -> np.ndarray:
        """[2, 3] from this frame's pixels to those of a layer of the same density, were the window at that point."""
        middle = (self.density - 1) / 2
        scale = self.scale * self.density
        return np.array(
            [[scale, 0, x0_px * self.density + middle], [0, scale, y0_px * self.density + middle]], np.float64
        )

    def finer(self, density: int) -> Window:
        """The same view by `density` times as many pixels in each direction: where there was the middle of one, there
        is the middle of density x density."""
        scale = self.scale / density
        half = (density - 1) / 2 * scale
        return Window(self.x0_px - half, self.y0_px - half, scale, self.density * density)

    def halved(self) -> Window:
        """The view of a frame of half the size, to be enlarged to this one's."""
        half = (self.density - 1) / 2 * self.scale
        return Window(self.x0_px - half, self.y0_px - half, self.scale * 2, self.density)


Animate = Callable[[np.ndarray, float, float, Window], None]


@dataclass(frozen=True, slots=True)
class Backdrop:
    """A kind of background: its words, its lights, its painter."""

    name: str
    phrases: tuple[str, ...]
    outdoors: bool
    lights: tuple[str, ...]
    paint: Callable[[np.random.Generator, str, int], Scenery]
    animate: Animate | None = None


# --- drawing


def _fixed(points: Points, factor: float = 1.0, offset: float = 0.0) -> np.ndarray:
    """int32 [n, 1, 2] fixed-point coordinates for cv2 of points * factor + offset."""
    pixels = np.asarray(points, np.float64) * factor + offset
    return np.rint(pixels * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2)


def _mix(a: RGB, b: RGB, t: float) -> RGB:
    """Colour between a (t = 0) and b (t = 1)."""
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t


def _oval(
    x: float, y: float, rx: float, ry: float, turn: float = 0.0, start: float = 0.0, stop: float = 360.0
) -> Points:
    """Points of an ellipse (or of its arc, degrees, clockwise from the right), turned by `turn` degrees."""
    a = np.radians(np.linspace(start, stop, 48))
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    u, v = rx * np.cos(a), ry * np.sin(a)
    return list(zip((x + u * c - v * s).tolist(), (y + u * s + v * c).tolist(), strict=True))


def _ridge(base: float, *waves: tuple[float, float, float]) -> list[tuple[float, float]]:
    """Upper edge, left to right, of hills: sum of (amplitude px, wavelength px, phase 0..1) around base."""
    xs = np.arange(-4, CANVAS_W + 5, 2.0)
    ys = base + sum(a * np.sin(2 * math.pi * (xs / length + p)) for a, length, p in waves) + 0 * xs
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


class Sheet:
    """A layer being painted: premultiplied RGBA, `factor` times the canvas; coordinates are canvas px."""

    def __init__(self, density: int) -> None:
        self.density = density
        self.factor = max(_SS, density)
        # A canvas point is in the same place of the scene at every factor, and at itself where the factor is _SS.
        self.offset = self.factor / (2 * _SS) - 0.5
        self.px = np.zeros((CANVAS_H * self.factor, CANVAS_W * self.factor, 4), np.uint8)

    def _fixed(self, points: Points) -> np.ndarray:
        return _fixed(points, self.factor, self.offset)

    def gradient(self, y0: float, y1: float, *stops: RGB) -> None:
        """Fill the whole layer with a vertical gradient through `stops` from y0 to y1."""
        ys = (
            ((np.arange(CANVAS_H * self.factor) - self.offset) / self.factor - y0)
            / (y1 - y0)
            * (len(stops) - 1)
        )
        rows = np.stack([np.interp(ys, range(len(stops)), [s[k] for s in stops]) for k in range(3)], -1)
        self.px[..., :3] = np.rint(rows)[:, None]
        self.px[..., 3] = 255

    def polygon(self, points: Points, colour: RGB, bottom: RGB | None = None) -> None:
        """Fill a polygon, with a vertical gradient from `colour` to `bottom` if given."""
        fixed = self._fixed(points)
        x0, y0, w, h = cv2.boundingRect(fixed >> _SHIFT)
        x1, y1 = min(x0 + w + 2, self.px.shape[1]), min(y0 + h + 2, self.px.shape[0])
        x0, y0 = max(x0 - 1, 0), max(y0 - 1, 0)
        wide = (x1 - x0) * _SS > self.px.shape[1]
        if bottom is None or wide:
            cv2.fillPoly(self.px, [fixed], (*colour, 255.0), cv2.LINE_AA, _SHIFT)
        if bottom is None or x1 <= x0 or y1 <= y0:
            return
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        moved = fixed - np.array((x0 << _SHIFT, y0 << _SHIFT), np.int32)
        cv2.fillPoly(mask, [moved], 255, cv2.LINE_AA, _SHIFT)
        ramp = np.linspace(0, 1, y1 - y0)[:, None]
        rows = np.array((*colour, 255.0)) * (1 - ramp) + np.array((*bottom, 255.0)) * ramp
        part = self.px[y0:y1, x0:x1]
        if wide:  # land: its upper edge already has the flat fill's anti-aliasing, and copying is much faster
            fill = np.repeat(np.rint(rows).astype(np.uint8)[:, None], x1 - x0, axis=1)
            cv2.copyTo(fill, (mask == 255).astype(np.uint8), part)
        else:
            weight = mask[..., None].astype(np.float32) / 255
            part[...] = np.rint(part * (1 - weight) + rows[:, None].astype(np.float32) * weight)

    def land(self, ridge: Points, colour: RGB, bottom: RGB | None = None) -> None:
        """Fill everything below a ridge."""
        self.polygon([*ridge, (ridge[-1][0], CANVAS_H + 1), (ridge[0][0], CANVAS_H + 1)], colour, bottom)

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        colour: RGB,
        bottom: RGB | None = None,
        turn: float = 0.0,
    ) -> None:
        """Ellipse around (x, y), turned by `turn` radians."""
        self.polygon(_oval(x, y, rx, ry, turn), colour, bottom)

    def disc(self, x: float, y: float, r: float, colour: RGB, bottom: RGB | None = None) -> None:
        """Circle around (x, y)."""
        self.polygon(_oval(x, y, r, r), colour, bottom)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: RGB, bottom: RGB | None = None) -> None:
        """Upright rectangle."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, bottom)

    def stroke(self, points: Points, width: float, colour: RGB) -> None:
        """Line with round ends through the points."""
        thick = max(1, round(width * _SS)) * self.factor // _SS
        cv2.polylines(self.px, [self._fixed(points)], False, (*colour, 255.0), thick, cv2.LINE_AA, _SHIFT)

    def glow(self, x: float, y: float, rx: float, ry: float, colour: RGB, strength: float = 0.8) -> None:
        """Blend a soft elliptic spot of colour over the layer."""
        factor = self.factor
        x0, x1 = max(int((x - rx) * factor), 0), min(int((x + rx) * factor), self.px.shape[1])
        y0, y1 = max(int((y - ry) * factor), 0), min(int((y + ry) * factor), self.px.shape[0])
        if x1 <= x0 or y1 <= y0:
            return
        u = (((np.arange(x0, x1, dtype=np.float32) - self.offset) / factor - x) / rx) ** 2
        v = (((np.arange(y0, y1, dtype=np.float32) - self.offset) / factor - y) / ry) ** 2
        weight = (strength * np.clip(1 - u[None] - v[:, None], 0, 1) ** 2)[..., None]
        part = self.px[y0:y1, x0:x1]
        part[...] = np.rint(part * (1 - weight) + np.array((*colour, 255), np.float32) * weight)

    def finished(self) -> np.ndarray:
        """uint8 [CANVAS_H * density, CANVAS_W * density, 4]"""
        size = (CANVAS_W * self.density, CANVAS_H * self.density)
        return cv2.resize(self.px, size, interpolation=cv2.INTER_AREA)


@dataclass(slots=True)
class Art:
    """The two layers of a picture being painted, with its random variation and its light."""

    rng: np.random.Generator
    light: str
    density: int
    far: Sheet = field(init=False)
    near: Sheet = field(init=False)
    hue: float = 0.0  # radians by which this variant's colours are turned

    def __post_init__(self) -> None:
        self.far, self.near = Sheet(self.density), Sheet(self.density)
        self.hue = math.radians(self.some(-13, 13))

    def some(self, low: float, high: float) -> float:
        """A number between the two, by this variant."""
        return float(self.rng.uniform(low, high))

    def pick(self, *options: T) -> T:
        """One of the options, by this variant."""
        return options[int(self.rng.integers(len(options)))]

    def by_light(self, day: T, sunset: T, night: T) -> T:
        """The one that belongs to this light."""
        return {"day": day, "sunset": sunset, "night": night}[self.light]

    def turned(self, r: float, g: float, b: float) -> RGB:
        """The colour with this variant's turn of hue (around the grey axis, in YIQ)."""
        y, i, q = 0.3 * r + 0.59 * g + 0.11 * b, 0.6 * r - 0.28 * g - 0.32 * b, 0.21 * r - 0.52 * g + 0.31 * b
        c, s = math.cos(self.hue), math.sin(self.hue)
        i, q = i * c - q * s, i * s + q * c
        rgb = (y + 0.95 * i + 0.62 * q, y - 0.27 * i - 0.65 * q, y - 1.1 * i + 1.7 * q)
        return min(max(rgb[0], 0), 255), min(max(rgb[1], 0), 255), min(max(rgb[2], 0), 255)

    def lit(self, r: float, g: float, b: float, turn: bool = True) -> RGB:
        """A daylight colour in this picture's light and, if `turn`, hue."""
        r, g, b = self.turned(r, g, b) if turn else (r, g, b)
        (fr, fg, fb), (ar, ag, ab) = _GRADE[self.light]
        return min(r * fr + ar, 255), min(g * fg + ag, 255), min(b * fb + ab, 255)

    def scenery(self, mirror: bool = False, tint: RGB | None = None) -> Scenery:
        """The finished picture; `mirror` flips half of the variants (not for a backdrop that animates)."""
        far, near = self.far.finished()[..., :3], self.near.finished()
        if mirror and self.rng.random() < 0.5:
            far, near = far[:, ::-1], near[:, ::-1]
        far, near = np.ascontiguousarray(far), np.ascontiguousarray(near)
        far.flags.writeable = near.flags.writeable = (
            False  # `scenery` hands out the same arrays again and again
        )
        return Scenery(far, near, _GROUND, tint or _TINT[self.light])


def _cloud(sheet: Sheet, x: float, y: float, size: float, colour: RGB, shade: RGB) -> None:
    """A flat-bottomed cloud about 2.6 * size px wide whose base is at y."""
    sheet.polygon(
        [
            (x - 1.1 * size, y - 0.2 * size),
            (x + 1.1 * size, y - 0.2 * size),
            (x + 1.1 * size, y),
            (x - 1.1 * size, y),
        ],
        shade,
    )
    for sign, tone in ((0.12, shade), (0.0, colour)):
        for dx, dy, r in ((-0.85, 0.3, 0.42), (0.85, 0.28, 0.4), (-0.3, 0.62, 0.58), (0.4, 0.52, 0.5)):
            sheet.disc(x + dx * size, y - (dy - sign) * size, r * size * (1 - 0.02 * (sign == 0)), tone)


def _sky(
    art: Art,
    horizon: float,
    clouds: bool = True,
    sun_x: float | None = None,
    colours: tuple[RGB, RGB, RGB] | None = None,
) -> float:
    """Paint sky, sun or moon, clouds or stars on the far layer; gives x of the sun or moon."""
    top, middle, low = colours or _SKY[art.light]
    if art.light != "night":
        top, middle = art.turned(*top), art.turned(*middle)
    art.far.gradient(44, horizon, top, middle, low)
    x = art.pick(128.0, 190.0) + art.some(-6, 6) if sun_x is None else sun_x
    if art.light == "day":
        art.far.glow(x, 82, 34, 34, (255, 250, 214), 0.7)
        art.far.disc(x, 82, 8.5, (255, 240, 150))
        if clouds:
            for cx, cy, size in ((112, 104, 13), (210, 96, 11), (40, 92, 14), (284, 106, 14), (160, 62, 11)):
                _cloud(art.far, cx + art.some(-8, 8), cy + art.some(-4, 4), size, _WHITE, (224, 236, 246))
    elif art.light == "sunset":
        y = horizon - 13
        art.far.glow(x, y, 70, 52, (255, 226, 140), 0.85)
        art.far.disc(x, y, 14, (255, 236, 160), (255, 176, 84))
        if clouds:
            for cx, cy, w in ((116, 92, 24), (208, 80, 22), (36, 88, 26), (280, 96, 26)):
                cx += art.some(-8, 8)
                art.far.ellipse(cx, cy, w, 3.5, (250, 164, 150))
                art.far.ellipse(cx + 8, cy - 4, w * 0.6, 3, (252, 182, 160))
    else:
        art.far.glow(x, 95, 36, 36, (150, 170, 226), 0.5)
        inner = _oval(x + 5.5, 95, 8, 9.2, 0, 290, 70)  # a crescent: an outer arc, and an inner one back
        art.far.polygon([*_oval(x, 95, 11, 11, 0, 55, 305), *inner], (248, 242, 206))
        for sx, sy in (
            (106, 76),
            (214, 92),
            (122, 100),
            (196, 70),
            (30, 84),
            (70, 66),
            (254, 72),
            (296, 100),
            (148, 58),
        ):
            if abs(sx - x) > 18:
                art.far.disc(sx, sy, 1.7, (255, 246, 206))
    return x


def _round_tree(sheet: Sheet, x: float, y: float, size: float, leaf: RGB, dark: RGB, trunk: RGB) -> None:
    """A round tree with its foot at y, about 2 * size px high."""
    sheet.polygon(
        [
            (x - size * 0.12, y - size),
            (x + size * 0.12, y - size),
            (x + size * 0.18, y),
            (x - size * 0.18, y),
        ],
        trunk,
    )
    for dx, dy, r in ((-0.4, 1.0, 0.45), (0.4, 1.0, 0.45), (0, 1.35, 0.58)):
        sheet.disc(x + dx * size, y - dy * size, r * size, dark)
    sheet.disc(x - 0.1 * size, y - 1.45 * size, 0.42 * size, leaf)


def _fir(sheet: Sheet, x: float, y: float, size: float, green: RGB, cap: RGB | None, trunk: RGB) -> None:
    """A fir of three tiers with its foot at y, `size` px high; `cap` is snow on each tier."""
    sheet.box(x - size * 0.05, y - size * 0.2, x + size * 0.05, y, trunk)
    for k, (low, high, half) in enumerate(((0.12, 0.55, 0.3), (0.36, 0.8, 0.23), (0.6, 1.0, 0.16))):
        sheet.polygon(
            [(x - half * size, y - low * size), (x, y - high * size), (x + half * size, y - low * size)],
            green,
        )
        if cap is not None:
            h = high - (0.2 if k < 2 else 0.22)
            w = half * (high - h) / (high - low) * size
            sheet.polygon(
                [
                    (x - w, y - h * size),
                    (x, y - high * size),
                    (x + w, y - h * size),
                    (x, y - (h + 0.05) * size),
                ],
                cap,
            )


# --- animation


def _add_polygons(
    frame: np.ndarray, window: Window, shapes: Sequence[tuple[Points, RGB]], blur: int = 5
) -> None:
    """Add soft translucent polygons (canvas px, RGB to add) to a frame."""
    layer = np.zeros_like(frame)
    for points, colour in shapes:
        cv2.fillPoly(layer, [_fixed([window.at(*p) for p in points])], colour, cv2.LINE_AA, _SHIFT)
    cv2.add(frame, cv2.blur(layer, _kernel(blur, window.density)) if blur > 1 else layer, dst=frame)


def _kernel(side: int, density: int) -> tuple[int, int]:
    """Of a blur of an odd side, in px of a frame of that density; odd, so that nothing is shifted."""
    return (side * density) | 1, (side * density) | 1


def _moved(
    size: tuple[int, int], window: Window, light: np.ndarray, dx: float = 0.0, dy: float = 0.0
) -> np.ndarray:
    """uint8 [h, w, 3] part of an RGB map of the canvas, of the window's density, moved by (dx, dy) canvas px, in the
    window; size is (w, h)."""
    place = window.place(window.x0_px - dx, window.y0_px - dy)
    return cv2.warpAffine(light, place, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _swing(t_s: float, period_s: float, phase: float) -> float:
    """-1..1, a sine over time."""
    return math.sin(2 * math.pi * (t_s / period_s + phase))


# --- backdrops
# The formatter would put every coordinate of the tables below on a line of its own.
# fmt: off


def _sea(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    sun = _sky(art, 122)
    isle = art.pick(104.0, 214.0)
    art.far.ellipse(isle, 124, 26, 10, art.lit(96, 140, 130))
    art.far.ellipse(isle + 14, 124, 16, 15, art.lit(84, 128, 122))
    near = art.near
    near.land(_ridge(121), art.lit(96, 186, 216), art.lit(20, 78, 150))
    path = art.by_light((190, 232, 244), (255, 196, 120), (150, 170, 220))
    near.glow(sun, 140, 20, 26, path, 0.7)
    for k, (y, amp, length) in enumerate(((132, 1.2, 22), (144, 1.8, 32), (160, 2.6, 42), (182, 3.4, 54),
            (212, 4, 64))):
        ridge = _ridge(y, (amp, length, art.some(0, 1)))
        near.stroke(ridge, 1.4 + 0.4 * k, art.lit(170, 222, 236))
        near.land(ridge, art.lit(66 - 9 * k, 160 - 17 * k, 208 - 12 * k), art.lit(26, 92, 164))
    return art.scenery()


@cache
def _glints(density: int) -> np.ndarray:
    """uint8 [CANVAS_H, CANVAS_W + 160, 3], both sides times density: three rows of long glints with a period of 80
    canvas px."""
    spots = [
        (x + offset, y, half, 2)
        for y, half, offset in ((138, 9, 0), (152, 13, 40), (172, 17, 10), (198, 20, 55))
        for x in range(-80, CANVAS_W + 240, 80)
    ]
    return _spots(density, spots, (46, 50, 50), 5)


def _spots(density: int, spots: Sequence[tuple[int, int, int, int]], colour: RGB, blur: int) -> np.ndarray:
    """A light map, uint8 [CANVAS_H, CANVAS_W + 160, 3], both sides times density: soft ellipses (x, y, rx, ry)."""
    light = np.zeros((CANVAS_H * density, (CANVAS_W + 160) * density, 3), np.uint8)
    for x, y, rx, ry in spots:
        # The centre of a pixel becomes that of density x density.
        u, v = (round((c * density + (density - 1) / 2) * (1 << _SHIFT)) for c in (x, y))
        axes = (rx * density << _SHIFT, ry * density << _SHIFT)
        cv2.ellipse(light, (u, v), axes, 0, 0, 360, colour, -1, cv2.LINE_AA, _SHIFT)
    return cv2.GaussianBlur(light, _kernel(blur, density), 0)


def _sea_moves(frame: np.ndarray, t_s: float, phase: float, window: Window) -> None:
    dx = -((t_s * 14 + phase * 80) % 80)
    light = _glints(window.density)
    cv2.add(frame, _moved(frame.shape[1::-1], window, light, dx, 1.5 * _swing(t_s, 3, phase)), dst=frame)


def _beach(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    sun = _sky(art, 114)
    near = art.near
    near.land(_ridge(113), art.lit(50, 150, 200), art.lit(64, 210, 206))
    near.glow(sun, 122, 22, 10, art.by_light((150, 220, 234), (255, 196, 120), (150, 170, 220)), 0.6)
    near.land(_ridge(132, (1.2, 40, 0.2)), art.lit(70, 190, 208), art.lit(120, 226, 214))
    near.land(_ridge(143, (2, 80, 0)), art.lit(250, 252, 250))
    near.land(_ridge(147, (2, 80, 0)), art.lit(222, 190, 136))
    near.land(_ridge(153, (2, 80, 0)), art.lit(248, 222, 162), art.lit(238, 200, 130))
    for x, lean, foot in ((104, 12, 170), (292, -14, 176)):
        trunk = [(x + lean * k * k / 64, foot - 11 * k) for k in range(9)]
        near.stroke(trunk, 5.5, art.lit(150, 104, 62))
        tx, ty = trunk[-1]
        for turn in (-160, -125, -60, -20, 25, 155):
            c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
            near.ellipse(tx + 13 * c, ty + 10 * s, 15, 4.2, art.lit(52, 150, 76), turn=turn)
        near.disc(tx, ty + 2, 3, art.lit(110, 70, 40))
    _parasol(art, 200, 166)
    _parasol(art, 40, 172)
    for x, y in ((130, 186), (190, 206), (240, 184)):
        points = [p for k in range(5) for p in (_oval(x, y, 6, 5, 0, 72 * k - 90)[0],
            _oval(x, y, 2.4, 2, 0, 72 * k - 54)[0])]
        near.polygon(points, art.lit(240, 120, 90))
    return art.scenery()


def _parasol(art: Art, x: float, foot: float) -> None:
    """A striped parasol on the near layer."""
    art.near.stroke([(x, foot), (x, foot - 40)], 2, art.lit(240, 236, 226))
    edges = [-22, -13, -4.5, 4.5, 13, 22]
    colours = [art.lit(236, 78, 84), art.lit(252, 246, 236)]
    art.near.polygon([*_oval(x, foot - 32, 22, 17, 0, 180, 360)], colours[0])
    for k in (1, 3):
        a, b = edges[k], edges[k + 1]
        art.near.polygon([(x + a, foot - 32), (x + a * 0.6, foot - 43.5), (x, foot - 49),
            (x + b * 0.6, foot - 43.5), (x + b, foot - 32)], colours[1])


def _beach_moves(frame: np.ndarray, t_s: float, phase: float, window: Window) -> None:
    y = 146 + 3.5 * _swing(t_s, 4, phase)
    ridge = _ridge(y, (2, 80, 0))[::4]
    _add_polygons(frame, window, [([*ridge, *((x, v + 4) for x, v in reversed(ridge))], (60, 60, 56))], 3)


def _forest(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    mist = art.by_light((214, 238, 172), (255, 196, 120), (70, 100, 138))
    art.far.gradient(50, 150, art.lit(70, 140, 80), _mix(art.lit(120, 180, 96), mist, 0.5), mist)
    art.far.glow(160, 116, 56, 56, mist, 0.8)
    for x in (18, 62, 124, 146, 181, 203, 236, 290):
        w = art.some(3, 4.5)
        art.far.box(x - w, 40, x + w, 170, _mix(art.lit(84, 110, 70), mist, 0.45))
    near = art.near
    near.land(_ridge(148, (3, 130, art.some(0, 1))), art.lit(92, 150, 66), art.lit(40, 92, 48))
    near.polygon([(146, 148), (170, 148), (206, 256), (96, 256)], art.lit(176, 146, 96),
        art.lit(140, 108, 70))
    for x, w in ((108, 9), (214, 10), (52, 12), (272, 11), (4, 10), (316, 10)):
        x += art.some(-3, 3)
        near.polygon([(x - w, 0), (x + w, 0), (x + w, 150), (x + w * 1.8, 168), (x - w * 1.8, 168),
            (x - w, 150)], art.lit(112, 74, 48), art.lit(84, 54, 38))
        near.box(x - w * 0.7, 0, x - w * 0.2, 152, art.lit(140, 96, 62))
    for k in range(9):
        x = 4 + 39 * k
        near.disc(x + 18, 54, 22, art.lit(44, 104, 52))
    for k in range(9):
        near.disc(k * 39, 50 + 8 * (abs(k - 4) > 0), 23, art.lit(58, 132, 58))
    near.box(0, 0, CANVAS_W, 50, art.lit(44, 104, 52))
    for x, y in ((130, 176), (196, 184), (72, 182), (244, 178)):
        near.box(x - 2.2, y - 5, x + 2.2, y + 3, art.lit(246, 232, 208))
        near.polygon(_oval(x, y - 4, 7, 7, 0, 180, 360), art.lit(222, 62, 54))
    return art.scenery(mirror=True)


def _desert(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    day = ((70, 172, 206), (150, 212, 214), (252, 232, 184)) if light == "day" else None
    _sky(art, 136, clouds=False, colours=day)
    for x, w, h in ((112, 22, 26), (214, 17, 34), (30, 30, 30), (280, 24, 24)):
        h *= art.some(0.85, 1.15)
        art.far.polygon([(x - w, 142), (x - w * 0.72, 136 - h), (x + w * 0.72, 136 - h), (x + w, 142)],
            art.lit(196, 104, 72), art.lit(222, 146, 96))
    near, p = art.near, art.some(0, 1)
    near.land(_ridge(136, (5, 150, p)), art.lit(242, 180, 100), art.lit(226, 146, 76))
    crest = _ridge(151, (7, 190, p + 0.35))
    near.land(crest, art.lit(232, 160, 84), art.lit(214, 128, 64))
    near.land(_ridge(166, (5, 240, p + 0.8)), art.lit(250, 196, 116), art.lit(222, 146, 78))
    for x, y, s in ((112, 172, 1.0), (208, 164, 0.75), (28, 168, 1.0), (270, 178, 1.1)):
        green, edge = art.lit(58, 146, 92), art.lit(92, 180, 112)
        near.ellipse(x, y, 14 * s, 2.5, art.lit(196, 118, 62))
        for points in ([(x, y - 3), (x, y - 44 * s)], [(x, y - 16 * s), (x - 12 * s, y - 18 * s),
                (x - 12 * s, y - 32 * s)], [(x, y - 22 * s), (x + 12 * s, y - 24 * s),
                (x + 12 * s, y - 38 * s)]):
            near.stroke(points, 7 * s, green)
        near.stroke([(x - 1.5 * s, y - 6), (x - 1.5 * s, y - 43 * s)], 1.5, edge)
    return art.scenery(mirror=True)


def _meadow(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    _sky(art, 134)
    p = art.some(0, 1)
    art.far.land(_ridge(126, (8, 140, p)), art.lit(134, 200, 150), art.lit(120, 196, 120))
    near = art.near
    near.land(_ridge(138, (8, 170, p + 0.3)), art.lit(134, 210, 92), art.lit(96, 184, 70))
    tree = art.pick(116.0, 206.0)
    _round_tree(near, tree, 146, 19, art.lit(110, 190, 76), art.lit(70, 154, 66), art.lit(130, 88, 58))
    near.land(_ridge(156, (5, 230, p + 0.7)), art.lit(112, 200, 74), art.lit(58, 150, 56))
    petals = [(250, 244, 240), (255, 150, 186), (255, 214, 74)]
    for k, (x, y) in enumerate(((110, 174), (132, 188), (206, 176), (188, 192), (160, 206), (60, 178),
            (24, 196), (256, 180), (296, 196))):
        colour = petals[(k + int(p * 3)) % 3]
        near.stroke([(x, y), (x, y + 14)], 2, art.lit(52, 130, 52))
        for a in range(6):
            c, s = math.cos(a * math.pi / 3), math.sin(a * math.pi / 3)
            near.disc(x + 4.6 * c, y + 4.6 * s, 3.2, art.lit(*colour, turn=False))
        near.disc(x, y, 3, art.lit(246, 176, 50) if k % 3 != 2 else art.lit(160, 90, 50))
    return art.scenery(mirror=True)


def _mountains(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    _sky(art, 132, clouds=False)
    far, snow, dim = art.far, art.lit(250, 252, 255), art.lit(198, 212, 236)
    for x, w, top in ((20, 74, 86), (300, 70, 80), (120, 62, 76), (212, 66, 84), (166, 46, 102)):
        x, top = x + art.some(-6, 6), top + art.some(-4, 4)
        h = 142 - top
        far.polygon([(x - w, 142), (x, top), (x + w, 142)], art.lit(112, 132, 176), art.lit(140, 164, 200))
        far.polygon([(x, top), (x + w, 142), (x + w * 0.15, 142)], art.lit(84, 100, 148),
            art.lit(112, 136, 180))
        c = 0.42
        far.polygon([(x, top), (x - w * c, top + h * c), (x - w * 0.2, top + h * 0.34),
            (x - w * 0.06, top + h * 0.46), (x + w * 0.06, top + h * 0.36)], snow)
        far.polygon([(x, top), (x + w * 0.06, top + h * 0.36), (x + w * 0.2, top + h * 0.46),
            (x + w * 0.27, top + h * 0.34), (x + w * c, top + h * c)], dim)
    near = art.near
    near.land(_ridge(136, (3, 120, art.some(0, 1))), art.lit(74, 124, 112), art.lit(64, 116, 96))
    near.polygon(_oval(160, 150, 76, 8), art.lit(150, 206, 226), art.lit(90, 160, 204))
    near.land(_ridge(155, (2.5, 170, art.some(0, 1))), art.lit(140, 158, 110), art.lit(96, 116, 88))
    for x, y, size in ((104, 162, 40), (118, 166, 28), (216, 164, 44), (30, 166, 46), (284, 168, 48),
            (262, 164, 30)):
        _fir(near, x, y, size, art.lit(48, 96, 84), None, art.lit(92, 70, 56))
    for x, y, r in ((200, 176, 9), (128, 190, 12), (60, 184, 11), (248, 190, 12)):
        near.polygon(_oval(x, y, r, r * 0.75, 0, 180, 360), art.lit(170, 172, 176), art.lit(122, 124, 134))
    return art.scenery(mirror=True)


def _city(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    _sky(art, 146, clouds=False, sun_x=art.pick(152.0, 168.0))
    glass = art.by_light((150, 206, 236), (255, 214, 130), (255, 222, 120))
    off = art.by_light((122, 176, 214), (150, 96, 116), (44, 54, 92))
    for k, (x, w, top) in enumerate(((146, 11, 116), (171, 12, 106), (192, 10, 122), (126, 11, 112),
            (240, 14, 84), (80, 14, 92))):
        art.far.box(x - w, top + art.some(-5, 5), x + w, 170, _mix(art.lit(150, 164, 196), _SKY[light][2],
            0.35 if k % 2 else 0.2))
    near = art.near
    near.land(_ridge(150), art.lit(196, 194, 194), art.lit(196, 194, 194))
    fronts = [(226, 120, 92), (240, 192, 120), (126, 158, 190), (200, 140, 160), (150, 180, 150),
        (214, 170, 130)]
    first = int(rng.integers(6))
    for k, (x0, x1, top) in enumerate(((196, 232, 74), (88, 126, 66), (40, 86, 84), (234, 280, 90),
            (-4, 38, 62), (282, 324, 66))):
        colour = fronts[(first + k) % 6]
        near.box(x0, top, x1, 152, art.lit(*colour))
        near.box(x0 - 1.5, top - 3, x1 + 1.5, top + 2, art.lit(*_mix(colour, (60, 50, 60), 0.4)))
        columns = 3
        step = (x1 - x0) / columns
        for row in range(5):
            for col in range(columns):
                x, y = x0 + step * (col + 0.5), top + 9 + 15 * row
                if y < 134:
                    near.box(x - 3.6, y, x + 3.6, y + 9, off if (row * 2 + col * 3 + k) % 4 == 0 else glass)
        near.box((x0 + x1) / 2 - 5, 137, (x0 + x1) / 2 + 5, 152, art.lit(92, 66, 62))
    near.box(0, 160, CANVAS_W, CANVAS_H, art.lit(98, 102, 114), art.lit(70, 74, 86))
    near.box(0, 158, CANVAS_W, 161, art.lit(228, 226, 220))
    for x in range(-10, CANVAS_W, 44):
        near.polygon([(x, 181), (x + 24, 181), (x + 22, 185), (x - 2, 185)], art.lit(250, 232, 150))
    for x in (131, 300):
        near.stroke([(x, 158), (x, 104), (x + 9, 104)], 2.4, art.lit(56, 60, 76))
        if light != "day":
            near.glow(x + 10, 108, 17, 17, (255, 226, 140), 0.75)
        near.ellipse(x + 10, 106, 4.5, 3, (255, 240, 180))
    near.stroke([(190, 158), (190, 124)], 2.4, art.lit(56, 60, 76))
    near.box(185.5, 108, 194.5, 130, (40, 44, 56))
    near.disc(190, 114, 3.4, (110, 36, 36))
    near.disc(190, 124, 3.4, (24, 84, 50))
    return art.scenery()


def _city_moves(frame: np.ndarray, t_s: float, phase: float, window: Window) -> None:
    red = (t_s / 4 + phase) % 1.0 < 0.5
    shapes: list[tuple[Points, RGB]] = [(_oval(190, 114 if red else 124, 4.4, 4.4)[::4],
        (170, 20, 10) if red else (20, 170, 50))]
    neon = 0.5 + 0.5 * _swing(t_s, 2, phase)
    shapes.append(([(104, 128), (122, 128), (122, 135), (104, 135)], (30 + 150 * neon, 10, 40 + 90 * neon)))
    _add_polygons(frame, window, shapes, 3)


def _club(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    art.hue *= 1.6
    art.far.gradient(50, 150, art.turned(24, 14, 46), art.turned(48, 22, 84), art.turned(70, 30, 104))
    for x in range(-16, CANVAS_W, 48):
        art.far.box(x + 3, 40, x + 45, 146, art.turned(40, 20, 72), art.turned(60, 28, 96))
    near = art.near
    near.box(0, 148, CANVAS_W, CANVAS_H, art.turned(36, 18, 58), art.turned(28, 14, 48))
    colours = [(206, 56, 140), (56, 110, 214), (112, 64, 196), (40, 168, 178)]
    for k, (points, row) in enumerate(_tiles()):
        colour = art.turned(*colours[(k + row) % 4])
        near.polygon(points, _mix((20, 12, 40), colour, 0.62))
    near.box(134, 132, 186, 149, art.turned(34, 26, 62))
    near.box(134, 130, 186, 134, art.turned(150, 80, 220))
    for x in (108, 212, 40, 280):
        near.box(x - 13, 98, x + 13, 152, (26, 24, 34))
        near.box(x - 11, 100, x + 11, 150, (44, 42, 56))
        for y, r in ((112, 6.5), (134, 9.5)):
            near.disc(x, y, r, (18, 16, 24))
            near.disc(x, y, r * 0.72, (96, 94, 116))
            near.disc(x, y, r * 0.3, (30, 28, 40))
    near.box(159.4, 0, 160.6, 80, (120, 120, 140))
    near.disc(160, 90, 11, (206, 214, 236), (110, 112, 160))
    for y in (84, 90, 96):
        near.stroke([(160 - math.sqrt(121 - (y - 90) ** 2), y), (160 + math.sqrt(121 - (y - 90) ** 2), y)],
            0.8, (120, 124, 168))
    for bend in (-7, -2.5, 2.5, 7):
        near.stroke(_oval(160, 90, abs(bend), 11, 0, *((-90, 90) if bend > 0 else (90, 270))), 0.8,
            (120, 124, 168))
    near.disc(156, 86, 2.6, (255, 255, 255))
    return art.scenery(tint=(0.9, 0.82, 1.0))


@cache
def _tiles() -> list[tuple[Points, int]]:
    """Quadrilaterals of the dance floor in perspective, with the number of their row."""
    rows = [152.0, 162.0, 176.0, 195.0, 222.0, 262.0]
    tiles: list[tuple[Points, int]] = []
    for r, (y0, y1) in enumerate(pairwise(rows)):
        a, b = (y0 - 110) * 0.52, (y1 - 110) * 0.52
        for c in range(-8, 8):
            near = [(160 + (c + 0.94) * b, y1 - 0.8), (160 + (c + 0.06) * b, y1 - 0.8)]
            tiles += [([(160 + (c + 0.06) * a, y0 + 0.8), (160 + (c + 0.94) * a, y0 + 0.8), *near], r)]
    return tiles


@cache
def _tile_light(odd: int, density: int) -> np.ndarray:
    """uint8 [CANVAS_H * density, CANVAS_W * density, 3]: light of every other tile."""
    light = np.zeros((CANVAS_H * density, CANVAS_W * density, 3), np.uint8)
    for k, (points, row) in enumerate(_tiles()):
        if (k + row) % 2 == odd:
            fixed = _fixed(points, density, (density - 1) / 2)
            cv2.fillPoly(light, [fixed], (84, 74, 84), cv2.LINE_AA, _SHIFT)
    return light


_BEAM_COLOURS: tuple[RGB, ...] = ((96, 10, 74), (10, 80, 100), (84, 70, 6), (20, 92, 30))


def _club_moves(frame: np.ndarray, t_s: float, phase: float, window: Window) -> None:
    beat = 0.5 + 0.5 * _swing(t_s, 2, phase)
    step = int(t_s + phase * 4)
    shapes: list[tuple[Points, RGB]] = []
    for k, x in enumerate((112, 144, 176, 208)):
        foot = x + 34 * _swing(t_s, 4, phase + 0.25 * k)
        shapes.append(([(x - 2, 56), (x + 2, 56), (foot + 13, 176), (foot - 13, 176)],
            _BEAM_COLOURS[(k + step) % 4]))
    # At half the size: the cones are soft anyway, and it is four times cheaper.
    half = window.halved()
    tiles = _moved(
        (frame.shape[1] // 2, frame.shape[0] // 2), half, _tile_light(int(beat > 0.5), window.density)
    )
    layer = cv2.convertScaleAbs(tiles, alpha=abs(2 * beat - 1))
    for points, colour in shapes:
        cone = np.zeros_like(layer)
        cv2.fillConvexPoly(cone, _fixed([half.at(*p) for p in points]), colour, cv2.LINE_AA, _SHIFT)
        cv2.add(layer, cone, dst=layer)
    soft = cv2.blur(layer, _kernel(3, window.density))
    cv2.add(frame, cv2.resize(soft, (frame.shape[1], frame.shape[0])), dst=frame)


def _space(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    art.hue *= 2
    far = art.far
    far.gradient(30, 220, (10, 8, 28), art.turned(22, 18, 58), art.turned(40, 22, 72))
    far.glow(120, 170, 120, 56, art.turned(104, 44, 128), 0.55)
    far.glow(250, 60, 100, 60, art.turned(36, 70, 140), 0.5)
    x, y = 190 + art.some(-3, 3), 98 + art.some(-3, 3)
    body = art.pick((236, 160, 92), (226, 120, 110), (110, 190, 180), (214, 180, 110))
    ring = _oval(x, y, 34, 9, -18)
    far.stroke(_oval(x, y, 34, 9, -18, 180, 360), 3.5, (226, 208, 176))
    far.disc(x, y, 22, art.turned(*body), art.turned(*_mix(body, (60, 20, 70), 0.6)))
    far.ellipse(x - 2, y - 7, 17, 3.2, art.turned(*_mix(body, (255, 250, 230), 0.4)), turn=-18)
    far.ellipse(x + 3, y + 9, 15, 2.6, art.turned(*_mix(body, (80, 30, 60), 0.35)), turn=-18)
    far.stroke(ring[:24], 3.5, (240, 224, 192))
    far.disc(112, 154, 9, art.turned(150, 190, 226), art.turned(60, 70, 130))
    far.disc(40, 90, 16, art.turned(190, 130, 200), art.turned(70, 40, 110))
    far.disc(290, 190, 14, art.turned(130, 200, 190), art.turned(40, 70, 110))
    for x, y, r in ((104, 98, 5), (216, 164, 6), (60, 200, 8), (270, 130, 6)):
        art.near.polygon(_oval(x, y, r, r * 0.8, 20)[::7], (132, 120, 122), (74, 64, 78))
    return art.scenery(tint=(0.95, 0.95, 1.0))


_STARS = ((126, 82), (148, 74), (114, 122), (174, 146), (218, 132), (140, 108), (134, 182), (196, 182),
    (30, 60), (70, 130), (84, 76), (240, 86), (262, 176), (296, 104), (160, 216))


def _space_moves(frame: np.ndarray, t_s: float, phase: float, window: Window) -> None:
    for k, (x, y) in enumerate(_STARS):
        level = 0.55 + 0.45 * _swing(t_s, 2 + k % 3, phase + 0.37 * k)
        u, v = window.at(x, y)
        if -4 < u / window.density < frame.shape[1] + 4 and -4 < v / window.density < frame.shape[0] + 4:
            r = (1.3 + 1.0 * level) / window.scale
            centre = round(u * 16), round(v * 16)
            cv2.circle(frame, centre, round(r * 16), (150 + 100 * level, 150 + 95 * level, 170 + 70 * level),
                -1, cv2.LINE_AA, _SHIFT)


def _underwater(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    art.far.gradient(44, 190, art.turned(122, 222, 226), art.turned(38, 156, 190), art.turned(16, 84, 146))
    art.far.land(_ridge(148, (9, 96, art.some(0, 1)), (5, 40, art.some(0, 1))), art.turned(30, 116, 158),
        art.turned(24, 96, 146))
    near = art.near
    near.land(_ridge(164, (3, 140, art.some(0, 1))), art.turned(226, 212, 158), art.turned(120, 150, 150))
    reds = [(250, 110, 130), (255, 156, 84), (206, 112, 204)]
    first = int(rng.integers(3))
    for k, (x, y, s) in enumerate(((106, 172, 1.0), (212, 170, 1.1), (44, 176, 1.2), (276, 176, 1.1))):
        colour = art.turned(*reds[(first + k) % 3])
        for dx, dy in ((-13, -22), (0, -34), (13, -24)):
            near.stroke([(x, y), (x + dx * s * 0.9, y + dy * s * 0.45), (x + dx * s, y + dy * s)], 6 * s,
                colour)
        dome = art.turned(*reds[(first + k + 1) % 3])
        near.polygon(_oval(x + (20 if k % 2 == 0 else -20), y + 3, 11, 12, 0, 180, 360), dome)
    for x in (10, 78, 240, 306):
        near.stroke([(x + 5 * math.sin(k * 0.8), 178 - 8 * k) for k in range(9)], 5, art.turned(40, 150, 96))
    near.ellipse(150, 196, 8, 4, art.turned(250, 226, 200))
    return art.scenery(tint=(0.86, 0.96, 1.0))


def _underwater_moves(frame: np.ndarray, t_s: float, phase: float, window: Window) -> None:
    shapes: list[tuple[Points, RGB]] = []
    for k, x in enumerate((24, 108, 168, 248)):
        foot = x + 24 + 10 * _swing(t_s, 4, phase + 0.3 * k)
        shapes.append(([(x, 20), (x + 14, 20), (foot + 28, 190), (foot, 190)], (26, 34, 28)))
    _add_polygons(frame, window, shapes, 7)
    for k, x in enumerate((124, 200, 60, 262)):
        y = 176 - ((t_s * 26 + (phase + 0.3 * k) * 120) % 120)
        u, v = window.at(x + 3 * _swing(t_s, 2, 0.2 * k), y)
        centre, r = (round(u * 16), round(v * 16)), round((3.4 + k % 2) / window.scale * 16)
        cv2.circle(frame, centre, r, (206, 244, 248), window.density, cv2.LINE_AA, _SHIFT)


def _snow(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    day = ((150, 186, 226), (186, 212, 238), (226, 236, 246)) if light == "day" else None
    _sky(art, 136, clouds=False, sun_x=art.some(130, 170), colours=day)
    art.far.land(_ridge(128, (6, 150, art.some(0, 1))), art.lit(206, 222, 240), art.lit(190, 208, 232))
    for x in range(6, CANVAS_W, 22):
        _fir(art.far, x, 140 + 3 * math.sin(x), 22 + 5 * math.sin(2.3 * x), art.lit(122, 156, 172), None,
            art.lit(110, 100, 110))
    near, white = art.near, art.lit(252, 253, 255)
    near.land(_ridge(141, (4, 180, art.some(0, 1))), art.lit(238, 244, 252), art.lit(216, 228, 244))
    _cabin(art, 200, 156)
    near.land(_ridge(157, (4, 260, art.some(0, 1))), white, art.lit(208, 222, 242))
    for x, y, size in ((112, 170, 74), (92, 164, 50), (36, 172, 80), (240, 166, 60), (286, 174, 84)):
        near.ellipse(x, y, size * 0.26, 3, art.lit(190, 206, 232))
        _fir(near, x, y, size, art.lit(44, 110, 92), white, art.lit(110, 78, 60))
    return art.scenery()


def _cabin(art: Art, x: float, y: float) -> None:
    """A wooden cabin with a snowy roof on the near layer."""
    near, pane = art.near, art.by_light((255, 226, 150), (255, 224, 130), (255, 214, 96))
    near.box(x + 6, y - 38, x + 12, y - 20, art.lit(120, 100, 100))
    near.box(x - 15, y - 20, x + 15, y + 2, art.lit(164, 104, 66))
    near.polygon([(x - 20, y - 19), (x - 10, y - 33), (x + 10, y - 33), (x + 20, y - 19)],
        art.lit(250, 252, 255))
    near.box(x - 11, y - 15, x - 2, y - 6, pane)
    near.box(x + 3, y - 15, x + 10, y + 2, art.lit(104, 64, 46))


def _snow_moves(frame: np.ndarray, t_s: float, phase: float, window: Window) -> None:
    shapes: list[tuple[Points, RGB]] = []
    for k in range(3):
        age = (t_s / 4 + phase + k / 3) % 1.0
        level = 70 * min(1.0, 5 * age) * (1 - age)
        shapes.append((_oval(209 + 12 * age, 114 - 34 * age, 3 + 5 * age, 3 + 4 * age)[::4],
            (level, level, level)))
    _add_polygons(frame, window, shapes, 3)


def _room(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    wall, sofa = art.pick(((250, 224, 190), (76, 140, 150)), ((206, 226, 206), (214, 120, 90)),
        ((244, 214, 206), (110, 120, 180)), ((226, 218, 240), (196, 150, 70)))
    far, near = art.far, art.near
    far.gradient(60, 150, wall, _mix(wall, (200, 170, 140), 0.25))
    far.box(182, 76, 218, 118, (250, 248, 240))
    far.box(185, 79, 215, 115, (120, 192, 244), (206, 234, 250))
    far.disc(192, 112, 6, (120, 190, 100))
    far.box(199, 79, 201, 115, (250, 248, 240))
    far.box(185, 96, 215, 98, (250, 248, 240))
    curtain = _mix(sofa, (255, 255, 255), 0.45)
    for s in (-1, 1):
        far.polygon([(200 + s * 24, 72), (200 + s * 10, 72), (200 + s * 15, 98), (200 + s * 17, 124),
            (200 + s * 25, 124)], curtain)
    far.box(172, 70, 228, 73, (130, 90, 60))
    far.box(102, 78, 138, 104, (150, 104, 60))
    far.box(105, 81, 135, 101, (250, 236, 200))
    far.disc(127, 88, 4, (240, 120, 80))
    far.polygon([(105, 101), (105, 96), (114, 88), (123, 97), (129, 93), (135, 99), (135, 101)],
        (96, 150, 120))
    far.box(20, 74, 60, 150, (160, 110, 70))
    for k in range(3):
        far.box(23, 80 + 22 * k, 57, 97 + 22 * k, (112, 74, 50))
        for j, colour in enumerate(((214, 90, 80), (90, 140, 190), (240, 196, 100), (110, 170, 120))):
            far.box(25 + 7 * j, 83 + 22 * k, 31 + 7 * j, 97 + 22 * k, colour)
    near.box(0, 152, CANVAS_W, CANVAS_H, (206, 150, 98), (160, 104, 66))
    near.box(0, 148, CANVAS_W, 153, (250, 246, 238))
    near.ellipse(160, 180, 62, 15, _mix(sofa, (255, 240, 225), 0.72))
    near.ellipse(160, 180, 52, 11.5, _mix(sofa, (255, 240, 225), 0.5))
    dark = _mix(sofa, (30, 20, 40), 0.25)
    for x in (118, 292):
        near.polygon([*_oval(x - 26, 132, 12, 12, 0, 180, 270), *_oval(x + 26, 132, 12, 12, 0, 270, 360),
            (x + 38, 160), (x - 38, 160)], sofa)
        near.box(x - 36, 146, x + 36, 162, _mix(sofa, (255, 255, 255), 0.15), dark)
        for s in (-1, 1):
            near.polygon([*_oval(x + s * 40, 144, 7, 7, 0, 180, 360), (x + s * 40 + 7, 164),
                (x + s * 40 - 7, 164)], dark)
        near.polygon([(x + 12, 132), (x + 26, 136), (x + 22, 150), (x + 8, 146)], (255, 214, 96))
    x = 212
    near.stroke([(x, 162), (x, 122)], 2, (110, 90, 80))
    near.ellipse(x, 163, 9, 2.5, (110, 90, 80))
    near.glow(x, 118, 26, 26, (255, 240, 180), 0.6)
    near.polygon([(x - 6, 110), (x + 6, 110), (x + 12, 127), (x - 12, 127)], (255, 236, 170), (250, 206, 120))
    return art.scenery(mirror=True, tint=(1.0, 0.97, 0.92))


def _farm(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    _sky(art, 138)
    art.far.land(_ridge(132, (5, 170, art.some(0, 1))), art.lit(176, 196, 100), art.lit(190, 200, 100))
    near = art.near
    near.land(_ridge(146), art.lit(232, 196, 92), art.lit(214, 160, 66))
    for k in range(-9, 10):
        if k % 2:
            near.polygon([(160 + 11 * k - 3, 149), (160 + 11 * k + 3, 149), (160 + 42 * k + 13, 256),
                (160 + 42 * k - 13, 256)], art.lit(196, 142, 70), art.lit(170, 112, 56))
    for x in (114, 300):
        red = art.lit(198, 58, 50)
        near.polygon([(x - 24, 152), (x - 24, 116), (x - 16, 100), (x, 90), (x + 16, 100), (x + 24, 116),
            (x + 24, 152)], red)
        near.stroke([(x - 26, 117), (x - 17, 100), (x, 90), (x + 17, 100), (x + 26, 117)], 3.4,
            art.lit(110, 74, 74))
        white = art.lit(252, 248, 240)
        near.box(x - 12, 127, x + 12, 152, white)
        near.box(x - 10, 129, x + 10, 152, art.lit(170, 44, 42))
        near.stroke([(x - 9, 131), (x + 9, 150)], 2, white)
        near.stroke([(x + 9, 131), (x - 9, 150)], 2, white)
        near.box(x - 5, 104, x + 5, 114, art.by_light((90, 60, 60), (255, 214, 130), (255, 218, 110)))
    near.polygon([(198, 154), (203, 106), (213, 106), (218, 154)], art.lit(236, 228, 214),
        art.lit(206, 190, 176))
    near.polygon([(201, 107), (208, 96), (215, 107)], art.lit(150, 84, 70))
    near.disc(208, 107, 2.5, art.lit(250, 246, 236))
    fence = art.lit(250, 246, 238)
    for y in (148, 155):
        near.box(0, y, 84, y + 2.6, fence)
        near.box(142, y, 272, y + 2.6, fence)
    for x in (4, 24, 44, 64, 82, 144, 164, 184, 226, 246, 266):
        near.box(x - 2, 143, x + 2, 163, fence)
    return art.scenery()


def _farm_moves(frame: np.ndarray, t_s: float, phase: float, window: Window) -> None:
    shapes: list[tuple[Points, RGB]] = []
    for k in range(4):
        a = 2 * math.pi * (t_s / 6 + phase + k / 4)
        c, s = math.cos(a), math.sin(a)
        shapes.append(([(208 + c * u - s * v, 107 + s * u + c * v) for u,
            v in ((2, -1), (24, -1), (24, 6), (7, 6))], (74, 70, 62)))
    _add_polygons(frame, window, shapes, 1)


def _stage(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    far, near = art.far, art.near
    far.gradient(50, 150, art.turned(36, 22, 52), art.turned(62, 36, 74))
    far.glow(160, 130, 62, 84, (255, 226, 170), 0.42)
    near.box(0, 150, CANVAS_W, CANVAS_H, (196, 130, 78), (150, 90, 54))
    for k in range(-6, 7):
        near.stroke([(160 + 26 * k, 150), (160 + 62 * k, 256)], 1.2, (160, 100, 60))
    near.ellipse(160, 170, 52, 12, (250, 216, 160))
    near.box(0, 201, CANVAS_W, CANVAS_H, (104, 58, 40), (60, 34, 34))
    red, dark = art.turned(196, 34, 44), art.turned(130, 16, 34)
    for side in (-1, 1):
        for k in range(9):
            x = 160 + side * (46 + 15 * k)
            bottom = 166 + 2 * (k % 2)
            near.polygon([(x - 8, 40), (x + 8, 40), (x + 9, bottom), (x - 9, bottom)], red if k % 2 else dark)
            near.box(x - 2.5, 60, x + 1.5, bottom - 2, _mix(red, (255, 120, 110),
                0.25) if k % 2 else _mix(dark, red, 0.5))
    near.box(0, 0, CANVAS_W, 70, dark)
    for k in range(11):
        x = k * 32
        near.polygon(_oval(x, 68, 17, 21, 0, 0, 180), red)
        near.stroke(_oval(x, 68, 16, 20, 0, 0, 180), 2.6, (246, 200, 84))
    return art.scenery(tint=(1.0, 0.96, 0.9))


def _stage_moves(frame: np.ndarray, t_s: float, phase: float, window: Window) -> None:
    shapes: list[tuple[Points, RGB]] = []
    for x, shift in ((118, 0.0), (202, 0.5)):
        foot = 160 + 16 * _swing(t_s, 4, phase + shift)
        shapes.append(([(x - 3, 40), (x + 3, 40), (foot + 24, 174), (foot - 24, 174)], (40, 36, 24)))
    _add_polygons(frame, window, shapes, 5)


def _volcano(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    skies: tuple[RGB, RGB, RGB] = art.by_light(((122, 140, 168), (190, 176, 172), (246, 206, 168)),
        ((86, 40, 78), (196, 66, 66), (255, 150, 80)), ((24, 12, 36), (60, 22, 50), (128, 44, 50)))
    art.far.gradient(44, 146, *skies)
    x = 172.0
    smoke = _mix(skies[0], (120, 108, 112), 0.5)
    for dx, dy, r in ((0, -14, 12), (10, -26, 15), (-4, -34, 16), (20, -42, 20), (4, -54, 22)):
        art.far.disc(x + dx, 96 + dy, r, smoke)
    art.far.glow(x, 92, 44, 34, (255, 150, 60), 0.85)
    art.far.polygon([(x - 84, 156), (x - 44, 128), (x - 14, 92), (x + 14, 92), (x + 46, 128), (x + 86, 156)],
        art.lit(104, 76, 80), art.lit(80, 62, 74))
    art.far.polygon([(x + 2, 92), (x + 14, 92), (x + 46, 128), (x + 86, 156), (x + 40, 156)],
        art.lit(80, 58, 68))
    for start, w in ((x - 84, 40), (x + 120, 46), (x - 150, 50)):
        art.far.polygon([(start - w, 156), (start, 124 + art.some(-4, 4)), (start + w, 156)],
            art.lit(100, 82, 96))
    lava, hot = (255, 110, 30), (255, 206, 80)
    flow = [(-14, 91), (14, 91), (8, 98), (7, 110), (14, 122), (16, 134), (26, 148), (-4, 148), (4, 134),
        (2, 124), (-6, 112), (-7, 98)]
    art.far.polygon([(x + dx, y) for dx, y in flow], hot, lava)
    near = art.near
    near.land(_ridge(146, (4, 110, art.some(0, 1)), (2, 37, art.some(0, 1))), art.lit(98, 78, 80),
        art.lit(56, 44, 54))
    for points in ([(196, 148), (204, 158), (190, 172), (214, 190), (206, 256)],
            [(96, 150), (116, 162), (104, 178), (126, 196), (112, 256)],
            [(262, 150), (250, 170), (272, 190), (262, 256)], [(40, 150), (56, 170), (36, 190), (48, 256)]):
        near.stroke(points, 8, art.lit(150, 50, 40))
        near.stroke(points, 5, lava)
        near.stroke(points, 2, hot)
    for x, y, r in ((126, 168, 9), (218, 172, 9), (160, 200, 12), (70, 170, 12), (290, 172, 12)):
        near.polygon(_oval(x, y, r, r, 0, 180, 360)[::8], art.lit(84, 68, 76), art.lit(52, 42, 52))
    return art.scenery()


def _volcano_moves(frame: np.ndarray, t_s: float, phase: float, window: Window) -> None:
    level = 0.5 + 0.5 * _swing(t_s, 2, phase)
    shapes: list[tuple[Points, RGB]] = [(_oval(172, 88, r, r * 0.7)[::3],
        (b * level, 0.5 * b * level, 8 * level)) for r, b in ((34, 34), (25, 60), (16, 90))]
    _add_polygons(frame, window, shapes, 9)
    for k, reach in enumerate((-30, 12, 34)):
        age = (t_s / 2 + phase + k / 3) % 1.0
        u, v = window.at(172 + reach * age, 90 - 90 * age * (1 - age) + 26 * age * age)
        r = 3.4 * (1 - age) / window.scale
        cv2.circle(frame, (round(u * 16), round(v * 16)), round(r * 16), (255, 214, 90), -1, cv2.LINE_AA,
            _SHIFT)


def _park(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    _sky(art, 134)
    leaf, dark, trunk = art.lit(126, 196, 96), art.lit(84, 164, 84), art.lit(134, 94, 66)
    for x in range(-4, CANVAS_W + 20, 27):
        _round_tree(art.far, x, 148, 17 + 2 * math.sin(x), _mix(leaf, _SKY[light][2], 0.3),
            _mix(dark, _SKY[light][2], 0.3), trunk)
    near = art.near
    near.box(0, 138, CANVAS_W, CANVAS_H, art.lit(66, 140, 74), art.lit(66, 140, 74))
    for x in range(-6, CANVAS_W + 12, 20):
        near.disc(x, 139, 10.5, art.lit(66, 140, 74))
    near.land(_ridge(149), art.lit(140, 206, 104), art.lit(96, 176, 80))
    path = [(150, 150), (158, 150), (150, 160), (166, 172), (206, 194), (226, 256), (96, 256), (120, 200),
        (126, 178), (138, 162)]
    near.polygon(path, art.lit(244, 226, 186), art.lit(224, 198, 154))
    _round_tree(near, 104, 160, 32, leaf, dark, trunk)
    _round_tree(near, 270, 164, 36, leaf, dark, trunk)
    _round_tree(near, 30, 164, 36, leaf, dark, trunk)
    stone, dim, water = art.lit(226, 222, 220), art.lit(178, 174, 184), art.lit(120, 206, 236)
    near.polygon([(172, 150), (224, 150), (218, 166), (178, 166)], stone, dim)
    near.ellipse(198, 150, 27, 5.5, stone)
    near.ellipse(198, 150, 23, 3.8, water)
    near.box(195, 122, 201, 150, dim)
    near.polygon(_oval(198, 124, 14, 9, 0, 0, 180), stone, dim)
    near.ellipse(198, 124, 14, 2.8, stone)
    near.ellipse(198, 124, 11.5, 1.8, water)
    lamp = 134
    near.stroke([(lamp, 162), (lamp, 122)], 2.2, art.lit(56, 70, 76))
    if light != "day":
        near.glow(lamp, 118, 18, 18, (255, 230, 150), 0.75)
    near.disc(lamp, 118, 4.5, art.by_light((250, 248, 232), (255, 240, 180), (255, 238, 170)))
    return art.scenery()


def _park_moves(frame: np.ndarray, t_s: float, phase: float, window: Window) -> None:
    shapes: list[tuple[Points, RGB]] = []
    for side in (-1, 1):
        for reach, top in ((18, 104), (9, 98)):
            height = top + 2 * _swing(t_s, 2, phase)
            arc = [(198 + side * reach * s, 122 + (height - 122) * 4 * s * (1 - s * 0.98) + 26 * s * s)
                for s in (0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1)]
            shapes.append(([*((x - 1, y) for x, y in arc), *((x + 1, y + 1) for x, y in reversed(arc))],
                (90, 100, 105)))
    age = (t_s + phase) % 1.0
    r, level = 7 + 14 * age, 50 * (1 - age)
    shapes.append((_oval(198, 150, r, r * 0.16)[::4], (level, level, level)))
    _add_polygons(frame, window, shapes, 1)


def _clouds(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    top, middle, low = _SKY[light]
    art.far.gradient(40, 210, art.turned(*top) if light != "night" else top, middle, low)
    colour, shade = art.by_light(((252, 253, 255), (206, 226, 246)), ((255, 216, 200), (226, 146, 164)),
        ((128, 144, 200), (82, 98, 160)))
    if light == "day":
        bands: tuple[RGB, ...] = ((244, 110, 110), (250, 176, 90), (250, 232, 120), (130, 214, 140),
            (120, 170, 240))
        for k, band in enumerate(bands):
            art.far.stroke(_oval(160, 176, 92 - 5 * k, 92 - 5 * k, 0, 180, 360), 5.4, _mix(band, middle, 0.3))
    elif light == "sunset":
        art.far.glow(160, 146, 80, 70, (255, 232, 150), 0.8)
        art.far.disc(160, 146, 20, (255, 240, 170), (255, 180, 90))
    else:
        art.far.glow(188, 92, 40, 40, (150, 170, 226), 0.5)
        art.far.disc(188, 92, 14, (246, 242, 214))
        for x, y in ((112, 80), (134, 104), (158, 74), (214, 122), (60, 90), (260, 76), (24, 120),
                (296, 110)):
            art.far.disc(x, y, 1.9, (255, 246, 206))
    for x, y, s in ((112, 140, 18), (212, 132, 20), (36, 120, 20), (288, 136, 22)):
        _cloud(art.far, x + art.some(-5, 5), y + art.some(-6, 6), s, _mix(colour, middle, 0.25),
            _mix(shade, middle, 0.25))
    for x, y, s in ((100, 184, 24), (150, 192, 26), (206, 186, 27), (40, 188, 28), (262, 190, 28),
            (310, 184, 24), (0, 186, 20)):
        _cloud(art.near, x + art.some(-4, 4), y, s, colour, shade)
    art.near.box(0, 182, CANVAS_W, CANVAS_H, colour, shade)
    return art.scenery()


@cache
def _wisps(density: int) -> np.ndarray:
    """uint8 [CANVAS_H, CANVAS_W + 160, 3], both sides times density: faint clouds with a period of 160 canvas px."""
    spots = [
        (x + dx, y, rx, ry)
        for x in range(-160, CANVAS_W + 320, 160)
        for dx, y, rx, ry in ((40, 112, 24, 7), (54, 106, 14, 8), (124, 156, 28, 7), (112, 150, 15, 8))
    ]
    return _spots(density, spots, (46, 44, 44), 7)


def _clouds_move(frame: np.ndarray, t_s: float, phase: float, window: Window) -> None:
    light = _wisps(window.density)
    cv2.add(frame, _moved(frame.shape[1::-1], window, light, -((t_s * 16 + phase * 160) % 160)), dst=frame)


def _moon(rng: np.random.Generator, light: str, density: int) -> Scenery:
    art = Art(rng, light, density)
    art.hue *= 0.6
    far = art.far
    far.gradient(40, 150, (6, 6, 14), (14, 14, 30), (30, 32, 54))
    for x, y in ((112, 88), (136, 106), (154, 74), (216, 122), (58, 90), (256, 78), (24, 116), (296, 96),
            (176, 116)):
        far.disc(x, y, 1.6, (255, 250, 226))
    ex, ey = 196 + art.some(-4, 4), 94 + art.some(-4, 4)
    far.glow(ex, ey, 36, 36, (70, 130, 220), 0.6)
    far.disc(ex, ey, 19, (86, 170, 244), (34, 84, 180))
    far.ellipse(ex - 6, ey - 5, 7, 6, (98, 190, 110))
    far.ellipse(ex + 7, ey + 6, 6, 8, (98, 190, 110), turn=20)
    far.ellipse(ex + 5, ey - 11, 8, 2.4, (244, 250, 255))
    far.ellipse(ex - 7, ey + 8, 7, 2.2, (244, 250, 255))
    far.land(_ridge(138, (7, 90, art.some(0, 1)), (3, 50, art.some(0, 1))), art.turned(126, 124, 130),
        art.turned(100, 98, 106))
    near = art.near
    near.land(_ridge(147, (3, 170, art.some(0, 1))), art.turned(196, 192, 190), art.turned(132, 130, 138))
    for x, y, r in ((116, 162, 15), (204, 158, 11), (210, 184, 20), (140, 194, 18), (48, 170, 22),
            (268, 176, 24), (84, 204, 22), (300, 156, 10)):
        x += art.some(-4, 4)
        near.ellipse(x, y, r, r * 0.32, art.turned(222, 220, 218))
        near.ellipse(x, y + 0.06 * r, r * 0.86, r * 0.24, art.turned(116, 114, 124),
            art.turned(156, 154, 160))
    near.stroke([(112, 160), (112, 122)], 1.6, (230, 230, 236))
    near.polygon([(112, 122), (132, 124), (132, 136), (112, 135)],
        art.pick((240, 90, 80), (90, 150, 240), (250, 200, 80)))
    return art.scenery(mirror=True, tint=(0.95, 0.95, 1.0))


_ONLY_DAY = ("day",)

BACKDROPS: tuple[Backdrop, ...] = (Backdrop("sea", ("at sea", "on the sea", "over the sea",
    "above the ocean waves", "on the open ocean"), True, LIGHTS, _sea, _sea_moves),
    Backdrop("beach", ("on the beach", "at the beach", "on a sandy beach", "by the seaside under palm trees"),
    True, LIGHTS, _beach, _beach_moves), Backdrop("forest", ("in the forest", "in the woods",
    "among tall trees", "on a forest path"), True, LIGHTS, _forest),
    Backdrop("desert", ("in the desert", "among sand dunes", "in a desert with cacti",
    "over the desert dunes"), True, LIGHTS, _desert), Backdrop("meadow",
    ("in a meadow", "in a field of flowers", "among green hills", "on a grassy hill"), True, LIGHTS, _meadow),
    Backdrop("mountains", ("in the mountains", "in front of snowy mountains", "by a mountain lake",
    "among mountain peaks"), True, LIGHTS, _mountains), Backdrop("city",
    ("in the city", "on a city street", "in a street downtown", "between city buildings"), True, LIGHTS,
    _city, _city_moves), Backdrop("club", ("in a techno club", "in a nightclub", "on the dance floor",
    "at a disco", "at a rave"), False, _ONLY_DAY, _club, _club_moves),
    Backdrop("space", ("in space", "in outer space", "among the stars", "near a planet with rings"), False,
    _ONLY_DAY, _space, _space_moves), Backdrop("underwater", ("underwater", "under the sea",
    "at the bottom of the ocean", "on a coral reef"), False, _ONLY_DAY, _underwater, _underwater_moves),
    Backdrop("snow", ("in the snow", "in a snowy field", "in a winter landscape", "among snowy fir trees"),
    True, LIGHTS, _snow, _snow_moves), Backdrop("room", ("in the living room", "at home", "inside a house",
    "in a cozy room"), False, _ONLY_DAY, _room), Backdrop("farm",
    ("on a farm", "in front of a red barn", "in a wheat field", "in the countryside by a barn"), True, LIGHTS,
    _farm, _farm_moves), Backdrop("stage", ("on stage", "on a theater stage", "in the spotlight",
    "in front of red curtains"), False, _ONLY_DAY, _stage, _stage_moves),
    Backdrop("volcano", ("near a volcano", "in front of an erupting volcano", "by rivers of lava",
    "over a volcano"), True, LIGHTS, _volcano, _volcano_moves),
    Backdrop("park", ("in the park", "in a garden", "by a fountain", "in a city park"), True, LIGHTS, _park,
    _park_moves), Backdrop("sky", ("in the sky", "among the clouds", "above the clouds",
    "high up in the air"), True, LIGHTS, _clouds, _clouds_move),
    Backdrop("moon", ("on the moon", "on the surface of the moon", "on the lunar surface",
    "among moon craters"), False, _ONLY_DAY, _moon))
BY_NAME: dict[str, Backdrop] = {b.name: b for b in BACKDROPS}


def scenery(name: str, light: str, variant: int, density: int = 1) -> Scenery:
    """The picture of a backdrop in a light, variant 0..VARIANTS-1: always the same for the same arguments."""
    return (_usual_scenery if density == 1 else _dense_scenery)(name, light, variant, density)


def _painted(name: str, light: str, variant: int, density: int) -> Scenery:
    seed = zlib.crc32(f"{name}/{light}/{variant}".encode())
    return BY_NAME[name].paint(np.random.default_rng(seed), light, density)


_usual_scenery = cache(_painted)
_dense_scenery = lru_cache(maxsize=32)(_painted)  # 9 MB each at a density of 4
