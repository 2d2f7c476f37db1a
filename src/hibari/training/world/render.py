"""A spec becomes pixels: backdrop through a moving window, subjects over it, weather, then the look."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from hibari.training.world import backdrops
from hibari.training.world.motions import CAMERA_BY_NAME, MOTION_BY_NAME
from hibari.training.world.spec import ClipSpec, Figure
from hibari.training.world.subjects import SUBJECT_BY_NAME, sprite

FPS = 8
FRAMES = 33  # 1 + 4 * 8: nine latent frames, four seconds
SHAPES: tuple[tuple[int, int], ...] = ((128, 128), (160, 96), (96, 160))
"""(width, height) in px of the clips, the most usual first."""
FAR_SHARE = 0.45  # the distance moves this much of what the near layer moves: parallax


def render(
    spec: ClipSpec,
    *,
    width: int = 128,
    height: int = 128,
    frames: int = FRAMES,
    fps: int = FPS,
    density: int = 1,
    only: Sequence[int] | None = None,
) -> np.ndarray:
    """The clip of a spec: uint8 RGB [frames, height * density, width * density, 3].

    Args:
        width, height: px of the scene that is seen.
        fps: frames a second; at a multiple of FPS every so many frames are those of FPS.
        density: px in each direction for one of these: the same scene, drawn finer. Averaged down it is the usual
            render but for the rounding of edges.
        only: numbers of the frames that are drawn; all by default.
    """
    t_s = np.arange(frames) / fps
    chosen = range(frames) if only is None else only
    backdrop = backdrops.BY_NAME[spec.backdrop]
    scene = backdrops.scenery(spec.backdrop, spec.light, spec.variant, density)
    windows = _windows(spec, t_s, width, height)
    actors = [_actor(spec, figure, t_s, width, height, density, scene.tint) for figure in spec.figures]
    weather = _WEATHER.get(spec.weather)
    clip = np.empty((len(chosen), height * density, width * density, 3), np.uint8)
    for place, index in enumerate(chosen):
        window = windows[index]
        frame = _view(scene, window, width, height, density)
        if backdrop.animate:
            backdrop.animate(frame, float(t_s[index]), spec.phase, window.finer(density))
        if spec.mirrored:
            frame = np.ascontiguousarray(frame[:, ::-1])
        for picture, matrices in actors:
            _draw(frame, picture, matrices[index])
        if weather:
            weather(frame, float(t_s[index]), spec.phase, density)
        clip[place] = frame
    return LOOK[spec.look](clip, density)


# ------------------------------------------------------------------------------------------------ camera


def _windows(spec: ClipSpec, t_s: np.ndarray, width: int, height: int) -> list[backdrops.Window]:
    """What the camera sees of the canvas, frame by frame."""
    camera = CAMERA_BY_NAME[spec.camera]
    share = np.clip(t_s / 4.0, 0, 1.6)  # pans go on in longer clips, until the canvas ends
    zoom = camera.zoom**share
    if camera.zoom < 1:
        zoom = zoom / camera.zoom  # begins close, ends at the usual view
    pan_x, pan_y = camera.pan_px
    if spec.mirrored:
        pan_x = -pan_x
    scale = 1 / zoom
    centre_x = backdrops.CANVAS_W / 2 + pan_x * (share - 0.5)
    centre_y = backdrops.CANVAS_H / 2 + pan_y * share
    x0 = np.clip(centre_x - width * scale / 2, 0, backdrops.CANVAS_W - width * scale)
    y0 = np.clip(centre_y - height * scale / 2, 0, backdrops.CANVAS_H - height * scale)
    return [backdrops.Window(float(x), float(y), float(s)) for x, y, s in zip(x0, y0, scale, strict=True)]


def _view(
    scene: backdrops.Scenery, window: backdrops.Window, width: int, height: int, density: int
) -> np.ndarray:
    """Both layers through the window: uint8 RGB [height * density, width * density, 3]."""
    centre_x = window.x0_px + width * window.scale / 2
    centre_y = window.y0_px + height * window.scale / 2
    far_x = (
        backdrops.CANVAS_W / 2 + FAR_SHARE * (centre_x - backdrops.CANVAS_W / 2) - width * window.scale / 2
    )
    far_y = (
        backdrops.CANVAS_H / 2 + FAR_SHARE * (centre_y - backdrops.CANVAS_H / 2) - height * window.scale / 2
    )
    size = (width * density, height * density)
    far = _crop(scene.far, backdrops.Window(far_x, far_y, window.scale).finer(density), size)
    near = _crop(scene.near, window.finer(density), size)
    keep = cv2.merge([255 - near[..., 3]] * 3)
    return cv2.add(cv2.multiply(far, keep, scale=1 / 255), np.ascontiguousarray(near[..., :3]))


def _crop(layer: np.ndarray, window: backdrops.Window, size: tuple[int, int]) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    place = window.place(window.x0_px, window.y0_px).astype(np.float32)
    return cv2.warpAffine(layer, place, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


# ------------------------------------------------------------------------------------------------ subjects


def _actor(
    spec: ClipSpec,
    figure: Figure,
    t_s: np.ndarray,
    width: int,
    height: int,
    density: int,
    tint: tuple[float, float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """A figure's picture (premultiplied RGBA [side, side, 4]) and where it is: matrices [frames, 2, 3] that map the
    picture's pixels to the frame's."""
    x, y, side_share, angle = spec.course(figure, t_s)
    x, y, side_px = x * width, y * height, side_share * min(width, height)
    # Shrunk once with area averaging to the largest size it will have, so that no frame shows aliasing.
    side = max(8, int(np.ceil(side_px.max())))
    zoom = side_px / side
    # The middle of a pixel becomes the middle of density x density.
    x, y, side = (x * density + (density - 1) / 2, y * density + (density - 1) / 2, side * density)
    flipped = _is_flipped(spec, figure)
    if density == 1:
        picture = _kept_picture(figure.subject, figure.colour, side, flipped, tint)
    else:
        picture = _picture(_crisp(figure.subject, figure.colour), side, flipped, tint)
    cos, sin = np.cos(np.radians(angle)) * zoom, np.sin(np.radians(angle)) * zoom
    half = (side - 1) / 2
    matrices = np.empty((len(t_s), 2, 3), np.float32)
    matrices[:, 0] = np.stack([cos, sin, x - (cos + sin) * half], 1)
    matrices[:, 1] = np.stack([-sin, cos, y - (cos - sin) * half], 1)
    return picture, matrices


def _is_flipped(spec: ClipSpec, figure: Figure) -> bool:
    """Whether the picture is mirrored: to look where it goes, else as the seed has it."""
    faces = SUBJECT_BY_NAME[figure.subject].faces
    side = MOTION_BY_NAME[spec.motion].side
    if faces and side:
        return faces != side
    return bool(faces) and spec.seed % 2 == 1


@lru_cache(maxsize=4096)
def _kept_picture(
    subject: str, colour: str | None, side: int, flipped: bool, tint: tuple[float, float, float]
) -> np.ndarray:
    return _picture(sprite(subject, colour), side, flipped, tint)


def _picture(picture: np.ndarray, side: int, flipped: bool, tint: tuple[float, float, float]) -> np.ndarray:
    """A sprite in the scene's light and at its size: premultiplied RGBA [side, side, 4]."""
    alpha = picture[..., 3:].astype(np.float32) / 255
    light = np.array(tint, np.float32)
    premultiplied = np.dstack([picture[..., :3] * alpha * light, picture[..., 3]])
    interpolation = cv2.INTER_AREA if side < picture.shape[0] else cv2.INTER_LINEAR
    resized = cv2.resize(premultiplied, (side, side), interpolation=interpolation)
    if flipped:
        resized = resized[:, ::-1]
    return np.ascontiguousarray(np.clip(np.rint(resized), 0, 255).astype(np.uint8))


_CRISP = 4  # times the font's bitmaps: the largest sprites of a density of 4 are 3.2 times as large
_SHARPENINGS = 4


@lru_cache(maxsize=64)  # 1.2 MB each
def _crisp(subject: str, colour: str | None) -> np.ndarray:
    """A sprite enlarged with sharp edges: uint8 RGBA, straight alpha.

    The font's bitmaps are smaller than the figures of a dense render. Interpolation leaves their edges soft, so each
    pixel then takes the brighter or the darker end of its neighbourhood, whichever is nearer (the toggle filter of
    Kramer and Bruckner, 1975): edges become steps, and what is flat stays as it is.
    """
    picture = sprite(subject, colour)
    side = picture.shape[0] * _CRISP
    alpha = picture[..., 3:].astype(np.float32) / 255
    premultiplied = np.dstack([picture[..., :3] * alpha, 255 * alpha])
    large = cv2.resize(premultiplied, (side, side), interpolation=cv2.INTER_CUBIC)
    # Around the silhouette the colour goes on as it is beside it, so that black does not get into the edge.
    beside = np.where(large[..., 3:] > 127, large, cv2.blur(large, (17, 17)))
    rgb = 255 * beside[..., :3] / np.maximum(beside[..., 3:], 1)
    sharp = np.clip(np.rint(np.dstack([rgb, large[..., 3]])), 0, 255).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    for _ in range(_SHARPENINGS):
        high, low = cv2.dilate(sharp, kernel), cv2.erode(sharp, kernel)
        sharp = np.where(high - sharp < sharp - low, high, low)
    return sharp


def _draw(frame: np.ndarray, picture: np.ndarray, matrix: np.ndarray) -> None:
    """Lay a premultiplied picture over the frame, touching only the box that it covers."""
    side = picture.shape[0]
    corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]], np.float32) @ matrix.T
    x0, y0 = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0)
    x1, y1 = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, (frame.shape[1], frame.shape[0]))
    if x1 <= x0 or y1 <= y0:
        return
    local = matrix.copy()
    local[:, 2] -= (x0, y0)
    patch = cv2.warpAffine(picture, local, (int(x1 - x0), int(y1 - y0)), flags=cv2.INTER_LINEAR)
    keep = cv2.merge([255 - patch[..., 3]] * 3)
    region = frame[y0:y1, x0:x1]
    blended = cv2.multiply(np.ascontiguousarray(region), keep, scale=1 / 255)
    region[:] = cv2.add(blended, np.ascontiguousarray(patch[..., :3]))


# ------------------------------------------------------------------------------------------------ weather


@lru_cache(maxsize=2)
def _rain_tile(density: int) -> np.ndarray:
    """Streaks on a tile of 64x64, times density, that repeats: the same few drops, so that a small model can learn
    them."""
    tile = np.zeros((64 * 4, 64 * 4), np.uint8)
    for x, y in ((6, 4), (24, 30), (40, 12), (56, 44), (14, 52), (48, 60)):
        for ox in (-64, 0, 64):
            for oy in (-64, 0, 64):
                start = ((x + ox) * 4, (y + oy) * 4)
                cv2.line(tile, start, (start[0] - 12, start[1] + 44), 255, 6, cv2.LINE_AA)
    return cv2.resize(tile, (64 * density, 64 * density), interpolation=cv2.INTER_AREA)


@lru_cache(maxsize=2)
def _snow_tile(density: int) -> np.ndarray:
    tile = np.zeros((64 * 4, 64 * 4), np.uint8)
    for x, y, r in ((8, 10, 2.2), (30, 24, 1.8), (52, 8, 2.4), (18, 44, 2.0), (44, 50, 2.3), (60, 34, 1.7)):
        cv2.circle(tile, (int(x * 4), int(y * 4)), int(r * 4), 255, -1, cv2.LINE_AA)
    return cv2.resize(tile, (64 * density, 64 * density), interpolation=cv2.INTER_AREA)


def _scrolled(tile: np.ndarray, x: float, y: float, shape: tuple[int, ...], density: int) -> np.ndarray:
    rows = (np.arange(shape[0]) - int(y) * density) % tile.shape[0]
    cols = (np.arange(shape[1]) - int(x) * density) % tile.shape[1]
    return tile[np.ix_(rows, cols)]


def _rain(frame: np.ndarray, t_s: float, phase: float, density: int) -> None:
    drops = _scrolled(_rain_tile(density), -t_s * 48, t_s * 176 + phase * 64, frame.shape, density)
    cv2.addWeighted(frame, 0.82, np.full_like(frame, (112, 126, 150)), 0.18, 0, dst=frame)
    cv2.add(frame, cv2.merge([(drops * 0.55).astype(np.uint8)] * 3), dst=frame)


def _snow(frame: np.ndarray, t_s: float, phase: float, density: int) -> None:
    sway = 5 * np.sin(t_s * np.pi / 2)
    flakes = _scrolled(_snow_tile(density), sway, t_s * 32 + phase * 64, frame.shape, density)
    cv2.addWeighted(frame, 0.88, np.full_like(frame, (205, 212, 224)), 0.12, 0, dst=frame)
    cv2.max(frame, cv2.merge([flakes] * 3), dst=frame)


def _fog(frame: np.ndarray, t_s: float, phase: float, _density: int) -> None:
    rows = np.linspace(0, 1, frame.shape[0], dtype=np.float32)[:, None]
    cols = np.linspace(0, 2 * np.pi, frame.shape[1], dtype=np.float32)[None, :]
    thick = 0.5 + 0.1 * np.sin(cols + 0.8 * t_s + 2 * np.pi * phase + 3 * rows)
    blend = cv2.merge([thick] * 3)
    frame[:] = frame * (1 - blend) + np.array((206, 210, 216), np.float32) * blend


_WEATHER = {"rain": _rain, "snow": _snow, "fog": _fog}


# ------------------------------------------------------------------------------------------------ looks


def _plain(clip: np.ndarray, _density: int) -> np.ndarray:
    return clip


def _black_and_white(clip: np.ndarray, _density: int) -> np.ndarray:
    for frame in clip:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        frame[:] = cv2.merge([cv2.convertScaleAbs(grey, alpha=1.15, beta=-12)] * 3)
    return clip


def _pixel_art(clip: np.ndarray, density: int) -> np.ndarray:
    """Blocks of 4x4 px with six levels a channel."""
    height, width = clip.shape[1:3]
    blocks = (width // (4 * density), height // (4 * density))
    for frame in clip:
        small = cv2.resize(frame, blocks, interpolation=cv2.INTER_AREA)
        levels = np.rint(small.astype(np.float32) * (5 / 255)) * (255 / 5)
        frame[:] = cv2.resize(levels.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return clip


def _neon(clip: np.ndarray, density: int) -> np.ndarray:
    """Bright edges in the picture's own hues on a dark ground."""
    side = 2 * density + 1
    kernel = np.ones((side, side), np.uint8)
    for frame in clip:
        edges = cv2.morphologyEx(frame, cv2.MORPH_GRADIENT, kernel)
        strength = cv2.GaussianBlur(cv2.cvtColor(edges, cv2.COLOR_RGB2GRAY), (0, 0), 0.8 * density)
        hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = np.maximum(hsv[..., 1], 130)
        hsv[..., 2] = cv2.convertScaleAbs(strength, alpha=2.6)
        glow = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        cv2.addWeighted(frame, 0.16, glow, 1.0, 6, dst=frame)
    return clip


LOOK = {"plain": _plain, "black_and_white": _black_and_white, "pixel_art": _pixel_art, "neon": _neon}
