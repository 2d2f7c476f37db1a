"""A spec becomes pixels: backdrop through a moving window, subjects over it, weather, then the look."""

from __future__ import annotations

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


def render(spec: ClipSpec, *, width: int = 128, height: int = 128, frames: int = FRAMES) -> np.ndarray:
    """The clip of a spec: uint8 RGB [frames, height, width, 3] at FPS frames a second."""
    t_s = np.arange(frames) / FPS
    backdrop = backdrops.BY_NAME[spec.backdrop]
    scene = backdrops.scenery(spec.backdrop, spec.light, spec.variant)
    windows = _windows(spec, t_s, width, height)
    actors = [_actor(spec, figure, t_s, width, height, scene.tint) for figure in spec.figures]
    weather = _WEATHER.get(spec.weather)
    clip = np.empty((frames, height, width, 3), np.uint8)
    for index, window in enumerate(windows):
        frame = _view(scene, window, width, height)
        if backdrop.animate:
            backdrop.animate(frame, float(t_s[index]), spec.phase, window)
        if spec.mirrored:
            frame = np.ascontiguousarray(frame[:, ::-1])
        for picture, matrices in actors:
            _draw(frame, picture, matrices[index])
        if weather:
            weather(frame, float(t_s[index]), spec.phase)
        clip[index] = frame
    return LOOK[spec.look](clip)


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


def _view(scene: backdrops.Scenery, window: backdrops.Window, width: int, height: int) -> np.ndarray:
    """Both layers through the window: uint8 RGB [height, width, 3]."""
    centre_x = window.x0_px + width * window.scale / 2
    centre_y = window.y0_px + height * window.scale / 2
    far_x = (
        backdrops.CANVAS_W / 2 + FAR_SHARE * (centre_x - backdrops.CANVAS_W / 2) - width * window.scale / 2
    )
    far_y = (
        backdrops.CANVAS_H / 2 + FAR_SHARE * (centre_y - backdrops.CANVAS_H / 2) - height * window.scale / 2
    )
    far = _crop(scene.far, far_x, far_y, window.scale, width, height)
    near = _crop(scene.near, window.x0_px, window.y0_px, window.scale, width, height)
    keep = cv2.merge([255 - near[..., 3]] * 3)
    return cv2.add(cv2.multiply(far, keep, scale=1 / 255), np.ascontiguousarray(near[..., :3]))


def _crop(layer: np.ndarray, x: float, y: float, scale: float, width: int, height: int) -> np.ndarray:
    matrix = np.array([[scale, 0, x], [0, scale, y]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(layer, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


# ------------------------------------------------------------------------------------------------ subjects


def _actor(
    spec: ClipSpec, figure: Figure, t_s: np.ndarray, width: int, height: int, tint: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """A figure's picture (premultiplied RGBA [side, side, 4]) and where it is: matrices [frames, 2, 3] that map the
    picture's pixels to the frame's."""
    x, y, side_share, angle = spec.course(figure, t_s)
    x, y, side_px = x * width, y * height, side_share * min(width, height)
    # Shrunk once with area averaging to the largest size it will have, so that no frame shows aliasing.
    side = max(8, int(np.ceil(side_px.max())))
    picture = _picture(figure.subject, figure.colour, side, _is_flipped(spec, figure), tint)
    zoom = side_px / side
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
def _picture(
    subject: str, colour: str | None, side: int, flipped: bool, tint: tuple[float, float, float]
) -> np.ndarray:
    picture = sprite(subject, colour)
    alpha = picture[..., 3:].astype(np.float32) / 255
    light = np.array(tint, np.float32)
    premultiplied = np.dstack([picture[..., :3] * alpha * light, picture[..., 3]])
    interpolation = cv2.INTER_AREA if side < picture.shape[0] else cv2.INTER_LINEAR
    resized = cv2.resize(premultiplied, (side, side), interpolation=interpolation)
    if flipped:
        resized = resized[:, ::-1]
    return np.ascontiguousarray(np.clip(np.rint(resized), 0, 255).astype(np.uint8))


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


@lru_cache(maxsize=1)
def _rain_tile() -> np.ndarray:
    """Streaks on a tile of 64x64 that repeats: the same few drops, so that a small model can learn them."""
    tile = np.zeros((64 * 4, 64 * 4), np.uint8)
    for x, y in ((6, 4), (24, 30), (40, 12), (56, 44), (14, 52), (48, 60)):
        for ox in (-64, 0, 64):
            for oy in (-64, 0, 64):
                start = ((x + ox) * 4, (y + oy) * 4)
                cv2.line(tile, start, (start[0] - 12, start[1] + 44), 255, 6, cv2.LINE_AA)
    return cv2.resize(tile, (64, 64), interpolation=cv2.INTER_AREA)


@lru_cache(maxsize=1)
def _snow_tile() -> np.ndarray:
    tile = np.zeros((64 * 4, 64 * 4), np.uint8)
    for x, y, r in ((8, 10, 2.2), (30, 24, 1.8), (52, 8, 2.4), (18, 44, 2.0), (44, 50, 2.3), (60, 34, 1.7)):
        cv2.circle(tile, (int(x * 4), int(y * 4)), int(r * 4), 255, -1, cv2.LINE_AA)
    return cv2.resize(tile, (64, 64), interpolation=cv2.INTER_AREA)


def _scrolled(tile: np.ndarray, x: float, y: float, shape: tuple[int, ...]) -> np.ndarray:
    rows = (np.arange(shape[0]) - int(y)) % tile.shape[0]
    cols = (np.arange(shape[1]) - int(x)) % tile.shape[1]
    return tile[np.ix_(rows, cols)]


def _rain(frame: np.ndarray, t_s: float, phase: float) -> None:
    drops = _scrolled(_rain_tile(), -t_s * 48, t_s * 176 + phase * 64, frame.shape)
    cv2.addWeighted(frame, 0.82, np.full_like(frame, (112, 126, 150)), 0.18, 0, dst=frame)
    cv2.add(frame, cv2.merge([(drops * 0.55).astype(np.uint8)] * 3), dst=frame)


def _snow(frame: np.ndarray, t_s: float, phase: float) -> None:
    flakes = _scrolled(_snow_tile(), 5 * np.sin(t_s * np.pi / 2), t_s * 32 + phase * 64, frame.shape)
    cv2.addWeighted(frame, 0.88, np.full_like(frame, (205, 212, 224)), 0.12, 0, dst=frame)
    cv2.max(frame, cv2.merge([flakes] * 3), dst=frame)


def _fog(frame: np.ndarray, t_s: float, phase: float) -> None:
    rows = np.linspace(0, 1, frame.shape[0], dtype=np.float32)[:, None]
    cols = np.linspace(0, 2 * np.pi, frame.shape[1], dtype=np.float32)[None, :]
    thick = 0.5 + 0.1 * np.sin(cols + 0.8 * t_s + 2 * np.pi * phase + 3 * rows)
    blend = cv2.merge([thick] * 3)
    frame[:] = frame * (1 - blend) + np.array((206, 210, 216), np.float32) * blend


_WEATHER = {"rain": _rain, "snow": _snow, "fog": _fog}


# ------------------------------------------------------------------------------------------------ looks


def _plain(clip: np.ndarray) -> np.ndarray:
    return clip


def _black_and_white(clip: np.ndarray) -> np.ndarray:
    for frame in clip:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        frame[:] = cv2.merge([cv2.convertScaleAbs(grey, alpha=1.15, beta=-12)] * 3)
    return clip


def _pixel_art(clip: np.ndarray) -> np.ndarray:
    """Blocks of 4x4 px with six levels a channel."""
    height, width = clip.shape[1:3]
    for frame in clip:
        small = cv2.resize(frame, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
        levels = np.rint(small.astype(np.float32) * (5 / 255)) * (255 / 5)
        frame[:] = cv2.resize(levels.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return clip


def _neon(clip: np.ndarray) -> np.ndarray:
    """Bright edges in the picture's own hues on a dark ground."""
    kernel = np.ones((3, 3), np.uint8)
    for frame in clip:
        edges = cv2.morphologyEx(frame, cv2.MORPH_GRADIENT, kernel)
        strength = cv2.GaussianBlur(cv2.cvtColor(edges, cv2.COLOR_RGB2GRAY), (0, 0), 0.8)
        hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = np.maximum(hsv[..., 1], 130)
        hsv[..., 2] = cv2.convertScaleAbs(strength, alpha=2.6)
        glow = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        cv2.addWeighted(frame, 0.16, glow, 1.0, 6, dst=frame)
    return clip


LOOK = {"plain": _plain, "black_and_white": _black_and_white, "pixel_art": _pixel_art, "neon": _neon}
