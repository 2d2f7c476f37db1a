"""How well the creative tools keep what they promise, on held-out renders of the world.

Pictures and clips that are given are real renders, so that what a tool spoils is told from what the model cannot draw.
Seams are frame differences across a join over the mean difference inside the clips: 1 is a join that cannot be seen.
What an edit changed and what it kept is said by the evaluator. With --pictures, a row of frames for each tool.

    .venv/bin/python benchmarks/tools.py [--model mini] [--count 8] [--json] [--markdown FILE] [--pictures FILE.png]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hibari import catalog, media, tools
from hibari.contracts import Clip
from hibari.engine import TextCache
from hibari.engine.runtime import prepare_torch
from hibari.models.protocol import Model
from hibari.settings import Settings
from hibari.tools.sources import encode
from hibari.training.evaluate import Case, cases, weights
from hibari.training.evaluate.lessons import CLASSES
from hibari.training.evaluate.metrics import psnr
from hibari.training.world.backdrops import BACKDROPS
from hibari.training.world.captions import caption
from hibari.training.world.render import render

LONG_S = 60
TOGETHER = 8  # wishes that are computed in shared forward passes
SHOWN = 7  # frames of a row


@dataclass(frozen=True)
class Bench:
    """The model, the cases, and what has been found so far."""

    model: Model
    asked: Sequence[Case]
    real: Sequence[np.ndarray]
    figures: dict[str, dict[str, float]]
    rows: list[tuple[str, Sequence[np.ndarray]]]
    cache: TextCache

    def make(self, wishes: Sequence[tools.Wish]) -> list[Clip]:
        """Clips of the wishes, with seeds of their own."""
        clips: list[Clip] = []
        for start in range(0, len(wishes), TOGETHER):
            jobs = [
                tools.plan_job(self.model, replace(wish, options={"seed": start + index, **wish.options}))
                for index, wish in enumerate(wishes[start : start + TOGETHER])
            ]
            for made in tools.make(self.model, jobs, text_cache=self.cache):
                frames = np.stack(list(made.stream.frames))
                clips.append(Clip(frames, made.stream.fps, made.stream.recipe, made.latent_CFHW))
        return clips

    def show(self, name: str, clip: Clip) -> None:
        """A row of the picture: frames from the first to the last."""
        chosen = np.linspace(0, len(clip.frames) - 1, SHOWN).round().astype(int)
        self.rows.append((name, [clip.frames[index] for index in chosen]))


def change(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference of two frames."""
    return float(np.abs(one.astype(np.float64) - other).mean())


def seam(frames: np.ndarray, join: int) -> float:
    """Difference from frame `join` - 1 to `join`, over the mean difference everywhere else."""
    changes = [change(frames[index], frames[index + 1]) for index in range(len(frames) - 1)]
    across = changes.pop(join - 1)
    return across / max(float(np.mean(changes)), 1e-9)


def pictures_given(bench: Bench) -> None:
    """First, first and last, and a card in the middle."""
    first = [
        tools.Wish(case.prompt, image=clip[0]) for case, clip in zip(bench.asked, bench.real, strict=True)
    ]
    made = bench.make(first)
    pairs = list(zip(made, bench.real, strict=True))
    bench.figures["image to video"] = {
        "first frame, PSNR dB": mean(psnr(clip.frames[0], real[0]) for clip, real in pairs),
        "the same through the autoencoder alone, PSNR dB": mean(
            psnr(through(bench.model, real[:1])[0], real[0]) for real in bench.real
        ),
        "seam after the given frame": mean(seam(clip.frames, 1) for clip in made),
    }
    bench.show("image: the first frame is given", made[0])

    both = [replace(wish, last_image=real[-1]) for wish, real in zip(first, bench.real, strict=True)]
    made = bench.make(both)
    bench.figures["first and last frame"] = {
        "last frame, PSNR dB": mean(
            psnr(clip.frames[-1], real[-1]) for clip, real in zip(made, bench.real, strict=True)
        )
    }
    bench.show("image and last image: both ends are given", made[0])


def joins(bench: Bench) -> None:
    """Extend both ways, connect, loop."""
    one, other = bench.real, [*bench.real[1:], bench.real[0]]
    prompts = [case.prompt for case in bench.asked]
    options = {"seconds": 2}
    made = bench.make(
        [tools.Wish(prompt, extend=clip, options=options) for prompt, clip in zip(prompts, one, strict=True)]
    )
    length = len(one[0])
    factor = bench.model.spec.time_factor
    middle = factor * (length // (2 * factor)) + 1  # between two latent frames, as a seam is
    bench.figures["extend"] = {
        "seam": mean(seam(clip.frames, length) for clip in made),
        "the middle of a real clip that went through the autoencoder": mean(
            seam(through(bench.model, clip), middle) for clip in one
        ),
        "the middle of a real clip": mean(seam(clip, middle) for clip in one),
    }
    bench.show("extend: two seconds more", made[0])
    made = bench.make(
        [
            tools.Wish(prompt, extend_back=clip, options=options)
            for prompt, clip in zip(prompts, one, strict=True)
        ]
    )
    bench.figures["extend back"] = {
        "seam": mean(seam(clip.frames, len(clip.frames) - length) for clip in made)
    }
    bench.show("extend back: two seconds before", made[0])
    made = bench.make(
        [tools.Wish(prompt, connect=pair) for prompt, *pair in zip(prompts, one, other, strict=True)]  # pyright: ignore[reportArgumentType]
    )
    bench.figures["connect"] = {
        "first seam": mean(seam(clip.frames, length) for clip in made),
        "second seam": mean(seam(clip.frames, len(clip.frames) - length) for clip in made),
        "largest change between them, over the mean": mean(
            largest(clip.frames, length, len(clip.frames) - length) for clip in made
        ),
    }
    bench.show("connect: one second leads from one clip to another", made[0])
    made = bench.make([tools.Wish(prompt, loop=clip) for prompt, clip in zip(prompts, one, strict=True)])
    bench.figures["loop"] = {
        "seam from the last frame to the first": mean(closing(clip.frames) for clip in made),
        "the same of the clip as it was": mean(closing(clip) for clip in one),
    }
    bench.show("loop: the end leads back to the beginning", made[0])


def changes(bench: Bench) -> None:
    """Edit of real renders to another place, by strength; blend."""
    judge = weights.load()
    places = [backdrop.name for backdrop in BACKDROPS]
    wanted = [
        replace(
            case.spec,
            backdrop=places[(places.index(case.spec.backdrop) + 7) % len(places)],
            light=BACKDROPS[(places.index(case.spec.backdrop) + 7) % len(places)].lights[0],
            weather="clear",
        )
        for case in bench.asked
    ]
    before = judge.answer(bench.real).classes
    for strength in ("subtle", "mild", "strong"):
        made = bench.make(
            [
                tools.Wish(caption(spec, spec.seed), edit=clip, strength=strength)
                for spec, clip in zip(wanted, bench.real, strict=True)
            ]
        )
        said = judge.answer([clip.frames for clip in made]).classes
        asked = np.array([CLASSES["background"].index(spec.backdrop) for spec in wanted])
        bench.figures[f"edit, {strength}"] = {
            "place is the asked one": float((said["background"] == asked).mean()),
            **{
                f"{attribute} kept": float((said[attribute] == before[attribute]).mean())
                for attribute in ("subject", "motion", "look")
            },
        }
        bench.show(f"edit, {strength}: {caption(wanted[0], wanted[0].seed)}", made[0])
    other = [*bench.real[1:], bench.real[0]]
    prompts = [case.prompt for case in bench.asked]
    made = bench.make(
        [
            tools.Wish(
                blend=(given(bench.model, one, prompt), given(bench.model, two, next_)), strength="subtle"
            )
            for one, two, prompt, next_ in zip(
                bench.real, other, prompts, [*prompts[1:], prompts[0]], strict=True
            )
        ]
    )
    bench.figures["blend, subtle"] = {
        "first frame to the one's, PSNR dB": mean(
            psnr(clip.frames[0], real[0]) for clip, real in zip(made, bench.real, strict=True)
        ),
        "last frame to the other's, PSNR dB": mean(
            psnr(clip.frames[-1], real[-1]) for clip, real in zip(made, other, strict=True)
        ),
    }
    bench.show("blend: one clip turns into another", made[0])


def stories(bench: Bench) -> None:
    """Two cards of four seconds: the right place in the right half."""
    judge = weights.load()
    pairs = list(zip(bench.asked, [*bench.asked[1:], bench.asked[0]], strict=True))
    wishes = [
        tools.Wish(
            cards=[tools.StoryCard(0, one.prompt), tools.StoryCard(4.125, two.prompt)],
            options={"seconds": 8.25},
        )
        for one, two in pairs
    ]
    made = bench.make(wishes)
    halves = {0: [clip.frames[:33] for clip in made], 1: [clip.frames[-33:] for clip in made]}
    right = {
        half: float(
            np.mean(
                judge.answer(clips).classes["background"]
                == [CLASSES["background"].index(pair[half].spec.backdrop) for pair in pairs]
            )
        )
        for half, clips in halves.items()
    }
    bench.figures["storyboard"] = {
        "first card's place in the first half": right[0],
        "second card's place in the second half": right[1],
    }
    bench.show(f"storyboard: {pairs[0][0].prompt} | {pairs[0][1].prompt}", made[0])


def long_clips(bench: Bench) -> None:
    """What a minute does to the picture."""
    wishes = [tools.Wish(case.prompt, options={"seconds": LONG_S}) for case in bench.asked[:3]]
    made = bench.make(wishes)
    rate = made[0].fps
    colours = [clip.frames.reshape(LONG_S, rate, -1, 3).mean((1, 2)) for clip in made]
    contrasts = [clip.frames.reshape(LONG_S, rate, -1).astype(np.float32).std(-1).mean(-1) for clip in made]
    bench.figures[f"{LONG_S} s"] = {
        "mean colour, last second from the first, levels of 255": mean(
            float(np.abs(colour[-1] - colour[0]).mean()) for colour in colours
        ),
        "the furthest of any second": mean(
            float(np.abs(colour - colour[0]).mean(-1).max()) for colour in colours
        ),
        "contrast, last second over the first": mean(
            float(contrast[-1] / contrast[0]) for contrast in contrasts
        ),
    }
    bench.show(f"{LONG_S} s: {bench.asked[0].prompt}", made[0])


MEASURES: dict[str, Callable[[Bench], None]] = {
    "pictures": pictures_given,
    "joins": joins,
    "changes": changes,
    "stories": stories,
    "long": long_clips,
}


def mean(values: Any) -> float:
    """Of any numbers."""
    return float(np.mean(list(values)))


def largest(frames: np.ndarray, start: int, end: int) -> float:
    """The largest change between two frames, over the mean change of the rest."""
    changes_ = np.array([change(frames[index], frames[index + 1]) for index in range(len(frames) - 1)])
    inside = np.zeros(len(changes_), bool)
    inside[start - 1 : end] = True
    return float(changes_[inside].max() / max(changes_[~inside].mean(), 1e-9))


def closing(frames: np.ndarray) -> float:
    """The seam where a clip that is played again begins anew."""
    return seam(np.concatenate([frames, frames[:1]]), len(frames))


def through(model: Model, frames: np.ndarray) -> np.ndarray:
    """Frames after the autoencoder."""
    latent = encode(model, frames)
    return np.concatenate([chunk.cpu().numpy() for chunk in model.decode(latent.to(model.dtype))])


def given(model: Model, frames: np.ndarray, prompt: str) -> Clip:
    """Pixels as a clip of ours, so that it brings a prompt."""
    from hibari.contracts import GenerationRequest, Recipe

    height, width = frames.shape[1:3]
    request = GenerationRequest.resolve(model.spec, prompt, size=(width, height), seed=0)
    return Clip(frames, model.spec.fps, Recipe(request, None, {}))


def markdown(figures: dict[str, dict[str, float]]) -> str:
    """A table for the docs."""
    lines = ["| tool | figure | measured |", "|---|---|---:|"]
    lines += [
        f"| {tool} | {name} | {value:.2f} |"
        for tool, found in figures.items()
        for name, value in found.items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and say it."""
    parser = argparse.ArgumentParser(description="How well the creative tools keep what they promise.")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--count", type=int, default=8, help="held-out clips for each figure")
    parser.add_argument("--only", choices=tuple(MEASURES), action="append", help="some of it; by default all")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table")
    parser.add_argument("--pictures", type=Path, metavar="FILE.png", help="also draw a row of frames a tool")
    options = parser.parse_args()
    asked = cases(count=options.count)
    bench = Bench(
        model=catalog.load(options.model, device=prepare_torch(Settings.from_environment())),
        asked=asked,
        real=[render(case.spec) for case in asked],
        figures={},
        rows=[],
        cache=TextCache(),
    )
    for name in options.only or MEASURES:
        MEASURES[name](bench)
    table = markdown(bench.figures)
    if options.markdown:
        options.markdown.write_text(table + "\n")
    if options.pictures:
        Image.fromarray(media.sheet(bench.rows, columns=1)).save(options.pictures, optimize=True)
    print(json.dumps(bench.figures) if options.json else table)


if __name__ == "__main__":
    main()
