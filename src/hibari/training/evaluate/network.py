"""The evaluator: four small convolutional networks that say from the pixels what is in a clip.

`FrameNet` looks at every frame with its two neighbours, small: where the subject is, how large, which
backdrop and which look. `FigureNet` looks at the subject cut out of a few frames in full detail: which
subject, which colour. `CameraNet` looks at nine grey frames at once: how the camera moves. `MotionNet`
decides the motion from the track and from FrameNet's features at the subject. Both reach it minus their mean
over the clip: where a subject stands and which way it looks say nothing there, only what changes does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from hibari.training.evaluate.lessons import CLASSES, DETAIL_FRAMES, looked_at

CROP_PX = 48
CROP_MARGIN = 1.15  # side of the cut-out, in sides of the subject's sprite
CAMERA_EVERY = 4  # frames
FEATURES = 48  # of a clip, for distances between sets of clips
FIGURE_WIDTH, SCENE_WIDTH, POINT_WIDTH, MOTION_WIDTH = 128, 80, 48, 96
LOG_SIDE = -0.8  # a usual log side, so that the head need only learn the difference


def as_network(frames: np.ndarray) -> Tensor:
    """Float32 [..., 3, H, W] in [-1, 1] of uint8 [..., H, W, 3]."""
    return torch.from_numpy(frames).movedim(-1, -3).float().div_(127.5).sub_(1)


def _conv(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """x + conv(x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Any [B, width, H, W]."""
        return x + self.conv(x)


class FrameNet(nn.Module):
    """A frame and its two neighbours -> the subject's place, and the scene."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(_conv(9, 24, stride=2), _conv(24, 40, stride=2), Residual(40))
        self.coarse = nn.Sequential(_conv(40, SCENE_WIDTH, stride=2), Residual(SCENE_WIDTH))
        self.up = nn.Conv2d(SCENE_WIDTH, POINT_WIDTH, 1)
        self.skip = nn.Conv2d(40, POINT_WIDTH, 1)
        self.heat = nn.Conv2d(POINT_WIDTH, 1, 1)
        self.side = nn.Sequential(nn.Linear(POINT_WIDTH, 32), nn.ReLU(), nn.Linear(32, 1))
        self.background = nn.Linear(SCENE_WIDTH, len(CLASSES["background"]))
        self.look = nn.Linear(SCENE_WIDTH, len(CLASSES["look"]))
        self.hint = nn.Linear(POINT_WIDTH, len(CLASSES["motion"]))  # only trains the features at the subject

    def blob(self, triple: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, 9, SMALL_PX, SMALL_PX], the frames before, now and after -> where figures are, to be taken as exponents
        [B, 1, cells, cells], features of the cells [B, POINT_WIDTH, cells, cells] and of the scene [B, SCENE_WIDTH]."""
        fine = self.fine(triple)
        coarse = self.coarse(fine)
        up = F.interpolate(self.up(coarse), scale_factor=2, mode="bilinear")
        points = F.relu(self.skip(fine) + up)
        return self.heat(points), points, coarse.mean((2, 3))

    def forward(self, triple: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `blob` -> place [B, 3] as in `lessons.true_track`, features at the subject [B, POINT_WIDTH], features of
        the scene [B, SCENE_WIDTH]."""
        heat, points, scene = self.blob(triple)
        weight = heat.flatten(2).softmax(-1)  # [B, 1, cells * cells], over the subject
        place = weight[:, 0] @ middles(points.shape[-1])
        point = (weight * points.flatten(2)).sum(-1)
        return torch.cat([place, self.side(point) + LOG_SIDE], 1), point, scene


class FigureNet(nn.Module):
    """A cut-out of the subject -> which one, which colour."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(3, 32, stride=2), _conv(32, 64, stride=2), Residual(64),
            _conv(64, FIGURE_WIDTH, stride=2), Residual(FIGURE_WIDTH), Residual(FIGURE_WIDTH),
        )  # fmt: skip
        self.subject = nn.Linear(FIGURE_WIDTH, len(CLASSES["subject"]))
        self.colour = nn.Linear(FIGURE_WIDTH, len(CLASSES["colour"]))

    def forward(self, crop: Tensor) -> Tensor:
        """[B, 3, CROP_PX, CROP_PX] -> features [B, FIGURE_WIDTH]."""
        body = self.body(crop)
        return (body.mean((2, 3)) + body.amax((2, 3))) / 2


class CameraNet(nn.Module):
    """Grey frames over the whole clip, at once -> how the camera moves."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(frames, 48, kernel=5, stride=2), _conv(48, 64, stride=2), Residual(64),
            _conv(64, 96, stride=2), Residual(96), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        )  # fmt: skip
        self.camera = nn.Linear(96 * 16, len(CLASSES["camera"]))

    def forward(self, grey: Tensor) -> Tensor:
        """[B, frames, SMALL_PX, SMALL_PX] -> logits [B, cameras]."""
        return self.camera(self.body(grey))


class MotionNet(nn.Module):
    """A track with features -> the motion."""

    def __init__(self) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        width = 3 + POINT_WIDTH
        for dilation in (1, 2, 4):
            conv = nn.Conv1d(width, MOTION_WIDTH, 5, padding=2 * dilation, dilation=dilation)
            steps += [conv, nn.ReLU()]
            width = MOTION_WIDTH
        self.body = nn.Sequential(*steps)
        self.motion = nn.Linear(2 * MOTION_WIDTH, len(CLASSES["motion"]))

    def forward(self, track: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """[B, frames, 3] and [B, frames, POINT_WIDTH] -> logits [B, motions], features [B, MOTION_WIDTH]."""
        scale = torch.tensor([8.0, 8.0, 4.0])  # to about the features' spread
        joined = torch.cat([track * scale, points], -1)
        body = self.body((joined - joined.mean(1, keepdim=True)).mT)
        mean = body.mean(-1)
        return self.motion(torch.cat([mean, body.amax(-1)], 1)), mean


def middles(cells: int) -> Tensor:
    """x and y of the middles of cells x cells cells, row by row: [cells * cells, 2], in 0 to 1."""
    middle = (torch.arange(cells) + 0.5) / cells
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)


def triples(frames: Tensor) -> Tensor:
    """Each frame with its neighbours, the ends repeated: [B, F, 3, H, W] -> [B, F, 9, H, W]."""
    before = torch.cat([frames[:, :1], frames[:, :-1]], 1)
    after = torch.cat([frames[:, 1:], frames[:, -1:]], 1)
    return torch.cat([before, frames, after], 2)


def levelled(grey: Tensor) -> Tensor:
    """Grey clips [B, frames, H, W], each brought to mean 0 and deviation 1."""
    return (grey - grey.mean((1, 2, 3), keepdim=True)) / (grey.std((1, 2, 3), keepdim=True) + 0.05)


def cut_out(detail: Tensor, place: Tensor) -> Tensor:
    """The subject, scaled to one size: [B, 3, H, W] and places [B, 3] -> [B, 3, CROP_PX, CROP_PX].

    Sampled twice as finely and averaged, so that large subjects show no aliasing.
    """
    side = place[:, 2].exp().clamp(0.1, 1.2) * CROP_MARGIN
    matrix = torch.zeros(len(place), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = side
    matrix[:, :, 2] = 2 * place[:, :2] - 1
    grid = F.affine_grid(matrix, [len(place), 3, 2 * CROP_PX, 2 * CROP_PX], align_corners=False)
    return F.avg_pool2d(F.grid_sample(detail, grid, padding_mode="border", align_corners=False), 2)


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What the evaluator says of clips.

    Attributes:
        classes: attribute -> int64 [clips], the likeliest class.
        track: float32 [clips, FRAMES, 3], as `lessons.true_track`.
        features: float32 [clips, FEATURES].
    """

    classes: dict[str, np.ndarray]
    track: np.ndarray
    features: np.ndarray


class Evaluator(nn.Module):
    """The four networks together. Weights: `weights.load`."""

    feature_mean: Tensor
    feature_basis: Tensor

    def __init__(self, camera_frames: int = 9) -> None:
        super().__init__()
        self.frame = FrameNet()
        self.figure = FigureNet()
        self.camera = CameraNet(camera_frames)
        self.motion = MotionNet()
        raw = SCENE_WIDTH + FIGURE_WIDTH + MOTION_WIDTH
        self.register_buffer("feature_mean", torch.zeros(raw))
        self.register_buffer("feature_basis", torch.zeros(raw, FEATURES))

    def walk(self, small: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """FrameNet over all frames: [B, F, 3, SMALL_PX, SMALL_PX] -> track [B, F, 3], features at the subject
        [B, F, POINT_WIDTH] and of the scene [B, F, SCENE_WIDTH]."""
        batch = len(small)
        flat = rearrange(triples(small), "b f c h w -> (b f) c h w")
        place, point, scene = (part.unflatten(0, (batch, -1)) for part in self.frame(flat))
        return place, point, scene

    @torch.inference_mode()
    def answer(self, clips: Iterable[np.ndarray], *, batch: int = 8) -> Answers:
        """What is in the clips.

        Args:
            clips: one or more, uint8 [FRAMES, CLIP_PX, CLIP_PX, 3] each; only `batch` of them are held at a
                time.
            batch: clips looked at together.

        Raises:
            ValueError: for a clip of another shape or type.
        """
        self.eval()
        stream = iter(clips)
        parts = []
        while group := list(islice(stream, batch)):
            parts.append(self._answer(group))
        return Answers(
            classes={a: np.concatenate([part.classes[a] for part in parts]) for a in CLASSES},
            track=np.concatenate([part.track for part in parts]),
            features=np.concatenate([part.features for part in parts]),
        )

    def _answer(self, clips: Sequence[np.ndarray]) -> Answers:
        seen = [looked_at(clip) for clip in clips]
        small, detail = (np.stack(part) for part in zip(*seen, strict=True))
        logits, track, raw = self.examine(small, detail)
        classes = {attribute: values.argmax(1).numpy() for attribute, values in logits.items()}
        return Answers(classes, track.numpy(), ((raw - self.feature_mean) @ self.feature_basis).numpy())

    def examine(self, small: np.ndarray, detail: np.ndarray) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Of what `lessons.looked_at` gives, stacked: log shares of the classes by attribute [B, classes],
        track
        [B, F, 3], and all features [B, raw]."""
        frames = as_network(small)
        track, point, scene = self.walk(frames)
        figure = self.figure_features(as_network(detail), track)
        motion, motion_features = self.motion(track, point)
        logits = {
            "subject": _agreed(self.figure.subject(figure)),
            "colour": _agreed(self.figure.colour(figure)),
            "motion": motion.log_softmax(-1),
            "background": _agreed(self.frame.background(scene)),
            "camera": self.camera(levelled(frames[:, ::CAMERA_EVERY].mean(2))).log_softmax(-1),
            "look": _agreed(self.frame.look(scene)),
        }
        return logits, track, torch.cat([scene.mean(1), figure.mean(1), motion_features], 1)

    def figure_features(self, detail: Tensor, track: Tensor) -> Tensor:
        """FigureNet over the detailed frames, cut out along the track: [B, N, 3, H, W] and [B, F, 3] ->
        features
        [B, N, FIGURE_WIDTH]."""
        places = track[:, list(DETAIL_FRAMES)]
        crops = cut_out(detail.flatten(0, 1), places.flatten(0, 1))
        return self.figure(crops).unflatten(0, (len(detail), -1))


def _agreed(logits: Tensor) -> Tensor:
    """Several views of one clip, taken as independent: [B, views, classes] -> [B, classes]."""
    return logits.log_softmax(-1).mean(1)
