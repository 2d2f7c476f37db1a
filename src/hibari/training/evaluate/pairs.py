"""Says from the pixels which two subjects are in a clip, in which colours, and how they stand to each other.

The evaluator's networks were fitted on one figure, and serve for two: FrameNet's blob lies over both, so it is longer
across where they stand side by side and longer down where one is above the other, and each half of it leads to one of
them. It leads a little too far towards the other, since one place was wanted of it; a few numbers, fitted by least
squares on held-out real renders of two figures, put that right. FigureNet then looks at each in turn, and its features
are told apart by a layer that was fitted on the same renders: of two, each is small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hibari.training.evaluate.lessons import CLASSES, DETAIL_FRAMES, UNKNOWN, looked_at, worn
from hibari.training.evaluate.network import FIGURE_WIDTH, Evaluator, as_network, cut_out, middles, triples
from hibari.training.world.render import FPS, render
from hibari.training.world.spec import SIZES, ClipSpec, Figure, draw

PAIR_SEEDS = 3_600_000_000  # of the real renders that it is fitted on
LESSONS = 600
PLACE_ERROR = 0.03  # in shares of the frame; what is found errs by 0.028 (median)
HELD = 0.1  # of the layer's squared distance from where it began
STEPS = 60  # of the layer's fitting, over all lessons at once
HINTS = 6  # numbers from which a figure's place follows: what the blob's two halves say, and 1
PARTS = ("two_subjects", "their_colours", "relation", "all_parts")
"""What is counted of a clip of two figures: both are there, wherever; the colours that were told are where they should
be; the first stands to the second as told, where each is taken for the one it looks more like; and all of it at once,
each figure the likeliest of all subjects at its place."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Two figures a clip; the left or upper one is first.

    Attributes:
        is_down: whether one is above the other, and not beside it: bool [clips].
        subjects: log shares of the subjects, [clips, 2, subjects]; of a truth, 0 and minus infinity.
        colours: class of each, or UNKNOWN where none was told or none is seen, int64 [clips, 2].
    """

    is_down: np.ndarray
    subjects: np.ndarray
    colours: np.ndarray


def true_pairs(specs: Sequence[ClipSpec]) -> Pairs:
    """The truth of clips of two figures with a relation."""
    subjects = np.full((len(specs), 2, len(CLASSES["subject"])), -np.inf)
    colours = np.full((len(specs), 2), UNKNOWN)
    for row, spec in enumerate(specs):
        for place, figure in enumerate(_in_order(spec)):
            subjects[row, place, CLASSES["subject"].index(figure.subject)] = 0
            if figure.colour and spec.look != "black_and_white":
                colours[row, place] = CLASSES["colour"].index(figure.colour)
    return Pairs(np.array([_is_down(spec) for spec in specs]), subjects, colours)


def parts_right(said: Pairs, true: Pairs) -> dict[str, np.ndarray]:
    """Which parts of each case each clip shows: of each of PARTS bool [clips, cases]."""
    likeliest, wanted = said.subjects.argmax(-1)[:, None], true.subjects.argmax(-1)[None]
    in_place = (likeliest == wanted).all(-1)
    told = true.colours[None] != UNKNOWN
    colours = ((said.colours[:, None] == true.colours[None]) | ~told).all(-1)
    along = said.is_down[:, None] == true.is_down[None]
    first, second = said.subjects[:, 0], said.subjects[:, 1]
    left, right = wanted[0, :, 0], wanted[0, :, 1]
    in_order = first[:, left] + second[:, right] > first[:, right] + second[:, left]
    return {
        "two_subjects": in_place | (likeliest == wanted[..., ::-1]).all(-1),
        "their_colours": colours,
        "relation": along & in_order,
        "all_parts": in_place & colours & along,
    }


class PairJudge(nn.Module):
    """What two figures need beside the evaluator: `place`, x and y from HINTS, for each direction and each figure, and
    `subject`, from FigureNet's features. Weights: `weights.load_pairs`."""

    place: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("place", torch.zeros(2, 2, HINTS, 2))
        self.subject = nn.Linear(FIGURE_WIDTH, len(CLASSES["subject"]))

    @torch.inference_mode()
    def answer(self, evaluator: Evaluator, clips: Iterable[np.ndarray], *, batch: int = 8) -> Pairs:
        """What is in the clips.

        Args:
            evaluator: in evaluation mode, as `weights.load` gives it.
            clips: one or more, uint8 [FRAMES, CLIP_PX, CLIP_PX, 3] each; only `batch` of them are held at a time.

        Raises:
            ValueError: for a clip of another shape or type.
        """
        stream = iter(clips)
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        while group := list(islice(stream, batch)):
            parts.append(self._answer(evaluator, group))
        is_down, subjects, colours = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        return Pairs(is_down, subjects, colours)

    def _answer(self, evaluator: Evaluator, clips: Sequence[np.ndarray]) -> tuple[Tensor, Tensor, Tensor]:
        hints, is_down_B, detail = hints_of(evaluator, clips)
        down_B = is_down_B.long()
        place = torch.einsum("bnkh,bkhp->bnkp", hints[torch.arange(len(clips)), down_B], self.place[down_B])
        figures = evaluator.figure(_figures(detail, place))
        figures = figures.unflatten(0, (len(clips), len(DETAIL_FRAMES), 2))
        # The mean of the shares and not of their logarithms: a figure that turns is seen well in some views only.
        subjects = self.subject(figures).softmax(-1).mean(1).log()
        colours = evaluator.figure.colour(figures).softmax(-1).mean(1).argmax(-1)
        return is_down_B, subjects, colours


def hints_of(evaluator: Evaluator, clips: Sequence[np.ndarray]) -> tuple[Tensor, Tensor, Tensor]:
    """What FrameNet's blob says of two figures: hints [B, 2, N, 2, HINTS] of the left and the right, and of the upper
    and the lower half in the N detailed frames; whether it is longer down than across, bool [B]; and those frames
    [B, N, 3, CLIP_PX, CLIP_PX]."""
    seen = [looked_at(clip) for clip in clips]
    small, detail = (as_network(np.stack(part)) for part in zip(*seen, strict=True))
    views = triples(small)[:, list(DETAIL_FRAMES)]
    heat = evaluator.frame.blob(views.flatten(0, 1))[0]  # [B * N, 1, cells, cells]
    grid = middles(heat.shape[-1])  # [cells * cells, 2], x and y
    share = heat.flatten(2).softmax(-1)
    middle = share @ grid
    spread = (share @ grid.square() - middle.square())[:, 0].unflatten(0, (len(clips), -1)).mean(1)
    hints = []
    for axis in (0, 1):
        is_first = grid[:, axis] < 0.5
        mask = torch.stack([is_first, ~is_first])
        weight = (heat.flatten(2).masked_fill(~mask, -torch.inf)).softmax(-1)  # [B * N, 2, cells * cells]
        own = weight @ grid
        mass = (share * mask).sum(-1, keepdim=True)
        hints.append(torch.cat([own, own.flip(1), mass, torch.ones_like(mass)], -1))
    stacked = torch.stack(hints, 1).unflatten(0, (len(clips), -1)).transpose(1, 2)
    return stacked, spread[:, 1] > spread[:, 0], detail


@dataclass(frozen=True, slots=True, eq=False)
class PairLessons:
    """What the judge is fitted on, of L real renders with N detailed frames each.

    Attributes:
        is_down: bool [L].
        hints, places: of the figures, [L, N, 2, HINTS] and [L, N, 2, x and y].
        features: FigureNet's, of each figure as it is and worn, [L, 2, N, 2, FIGURE_WIDTH].
        subjects: int64 [L, 2].
    """

    is_down: Tensor
    hints: Tensor
    places: Tensor
    features: Tensor
    subjects: Tensor


@torch.inference_mode()
def pair_lessons(
    evaluator: Evaluator, count: int, on_progress: Callable[[int, int], None] | None = None
) -> PairLessons:
    """The first `count` lessons: a tenth of a second each."""
    parts: list[tuple[Tensor, ...]] = []
    at_s = np.array(DETAIL_FRAMES) / FPS
    for index in range(count):
        spec = draw(PAIR_SEEDS + index, "held_out", group="relation")
        generator = torch.Generator().manual_seed(index)
        hints, _, detail = hints_of(evaluator, [render(spec)])
        courses = np.array([spec.course(figure, at_s)[:2] for figure in _in_order(spec)])
        place = torch.from_numpy(courses).permute(2, 0, 1).float()  # [N, 2, x and y]
        found = place + PLACE_ERROR / 2**0.5 * torch.randn(2, *place.shape, generator=generator)
        crops = _figures(detail.expand(2, -1, -1, -1, -1), found).chunk(2)
        features = evaluator.figure(torch.cat([crops[0], worn(crops[1], generator)]))
        subjects = [CLASSES["subject"].index(figure.subject) for figure in _in_order(spec)]
        parts.append(
            (
                torch.tensor(_is_down(spec)),
                hints[0, int(_is_down(spec))],
                place,
                features.unflatten(0, (2, len(DETAIL_FRAMES), 2)),
                torch.tensor(subjects),
            )
        )
        if on_progress:
            on_progress(index + 1, count)
    return PairLessons(*(torch.stack(part) for part in zip(*parts, strict=True)))


def fit_pairs(evaluator: Evaluator, lessons: PairLessons) -> PairJudge:
    """The judge of these lessons, always the same one. `weights.save` writes it."""
    judge = PairJudge()
    for down in (0, 1):
        known, wanted = (part[lessons.is_down == bool(down)] for part in (lessons.hints, lessons.places))
        for figure in (0, 1):
            solved = torch.linalg.lstsq(known[:, :, figure].flatten(0, 1), wanted[:, :, figure].flatten(0, 1))
            judge.place[down, figure] = solved.solution
    features, views = lessons.features.clone(), lessons.features.shape[1:3]
    subjects = lessons.subjects[:, None, None].expand(-1, *views, -1)
    # It begins as the layer that was fitted on one figure, and is held near to it: a subject has only a few lessons.
    judge.subject.load_state_dict(evaluator.figure.subject.state_dict())
    start = judge.subject.weight.detach().clone()
    optimizer = torch.optim.Adam(judge.subject.parameters(), lr=0.01)
    for _ in range(STEPS):
        shares = judge.subject(features).flatten(0, -2)
        loss = F.cross_entropy(shares, subjects.flatten(), label_smoothing=0.05)
        (loss + HELD * (judge.subject.weight - start).square().sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return judge.eval().requires_grad_(False)


def _figures(detail: Tensor, place: Tensor) -> Tensor:
    """Both figures cut out of each frame: [B, N, 3, H, W] and [B, N, 2, x and y] -> [B * N * 2, 3, ...]."""
    side = torch.full_like(place[..., :1], float(np.log(SIZES["small"])))  # of two, each is small
    both = detail[:, :, None].expand(-1, -1, 2, -1, -1, -1)
    return cut_out(both.flatten(0, 2), torch.cat([place, side], -1).flatten(0, 2))


def _is_down(spec: ClipSpec) -> bool:
    return spec.relation in ("above", "below")


def _in_order(spec: ClipSpec) -> tuple[Figure, ...]:
    """The left or upper figure, then the other."""
    return spec.figures if spec.relation in ("left_of", "above") else spec.figures[::-1]
