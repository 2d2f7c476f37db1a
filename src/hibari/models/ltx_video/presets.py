"""How LTX-Video's versions are run by their authors, after the configuration files that they publish with the code
(`configs/*.yaml` of Lightricks/LTX-Video), whose names these presets have. Read without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hibari.contracts import Preset, SamplerName

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Pass:
    """One way from noise to data.

    Attributes:
        sigmas: noise levels, without the last one, 0. Empty: those of the folder's scheduler for `steps`, without the
            first `leave_first` and the last `leave_last` of them.
        floors: where the tuples below have several values, the k-th counts from this noise level up, as far as the
            one before does not; the last one counts for all lower ones, too.
        guidance: guidance scales.
        skip_scale, skip_blocks: of the guidance by skipped blocks; a scale of 0 is none.
        rescale: how far its outcome is brought back to the conditional prediction's spread.
        projects: see `diffusion.guidance.projected`.
    """

    sigmas: tuple[float, ...] = ()
    steps: int = 0
    leave_first: int = 0
    leave_last: int = 0
    floors: tuple[float, ...] = (0.0,)
    guidance: tuple[float, ...] = (1.0,)
    skip_scale: tuple[float, ...] = (0.0,)
    skip_blocks: tuple[tuple[int, ...], ...] = ((),)
    rescale: tuple[float, ...] = (0.0,)
    projects: bool = False

    @property
    def updates(self) -> int:
        """How many steps it takes."""
        return len(self.sigmas) or self.steps - self.leave_first - self.leave_last

    def at(self, values: Sequence[Value], sigma: float) -> Value:
        """Which of the values counts at a noise level."""
        lowest = len(self.floors) - 1
        row = next((index for index, floor in enumerate(self.floors) if floor <= sigma), lowest)
        return values[row] if len(values) > 1 else values[0]


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration.

    Attributes:
        passes: one, or a small one and one at twice its size.
        first_pass: sides of the small one by those that were asked for; 0 where there is one pass.
        sampler: None for the request's.
        tone: how strongly large values of the latent are pressed together before it is decoded, 0 to 1.
    """

    passes: tuple[Pass, ...]
    first_pass: float = 0.0
    sampler: SamplerName | None = None
    tone: float = 0.0


DOWNSCALE = 0.6666666
_BASE = Configuration(
    (Pass(steps=40, guidance=(3.0,), skip_scale=(1.0,), skip_blocks=((19,),), rescale=(0.7,)),),
)
# A rescaling of 1 means none in these files, of 0.7 seven tenths.
_DEV = Configuration(
    (
        Pass(
            steps=30,
            leave_last=3,
            floors=(1.0, 0.996, 0.9933, 0.9850, 0.9767, 0.9008, 0.6180),
            guidance=(1.0, 1.0, 6.0, 8.0, 6.0, 1.0, 1.0),
            skip_scale=(0.0, 0.0, 4.0, 4.0, 4.0, 2.0, 1.0),
            skip_blocks=((), (11, 25, 35, 39), (22, 35, 39), (28,), (28,), (28,), (28,)),
            rescale=(0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0),
            projects=True,
        ),
        Pass(steps=30, leave_first=17, skip_scale=(1.0,), skip_blocks=((27,),), projects=True),
    ),
    first_pass=DOWNSCALE,
)
_FIRST = Pass(sigmas=(1.0, 0.9937, 0.9875, 0.9812, 0.9750, 0.9094, 0.7250))
_SECOND = Pass(sigmas=(0.9094, 0.7250, 0.4219))

CONFIGURATIONS: Mapping[str, Configuration] = {
    "ltxv-2b-0.9": _BASE,
    "ltxv-2b-0.9.1": _BASE,
    "ltxv-2b-0.9.5": _BASE,
    "ltxv-2b-0.9.6-dev": _BASE,
    "ltxv-2b-0.9.6-distilled": Configuration((Pass(steps=8),), sampler="lcm"),
    "ltxv-2b-0.9.8-distilled": Configuration((_FIRST, _SECOND), first_pass=DOWNSCALE),
    "ltxv-13b-0.9.8-dev": _DEV,
    "ltxv-13b-0.9.8-distilled": Configuration((_FIRST, _SECOND), first_pass=DOWNSCALE, tone=0.6),
}


def presets(blocks: int, *, enlarges: bool) -> tuple[Preset, ...]:
    """All of them, as a model's spec has them.

    Args:
        blocks: of its network.
        enlarges: whether the latent upsampler lies beside it.
    """
    return tuple(
        Preset(
            name=name,
            summary=_summary(published),
            steps=sum(one.updates for one in published.passes),
            guidance_scale=max(scale for one in published.passes for scale in one.guidance),
            sampler=published.sampler,
            skips=any(any(one.skip_scale) for one in published.passes),
            first_pass=published.first_pass,
            missing=_missing(published, blocks, enlarges=enlarges),
        )
        for name, published in CONFIGURATIONS.items()
    )


def _summary(published: Configuration) -> str:
    line = ", enlarged to twice the size, ".join(_said(one) for one in published.passes)
    line += f" of the sampler {published.sampler}" if published.sampler else ""
    return line + (", large values pressed" if published.tone else "")


def _said(one: Pass) -> str:
    parts = [f"{one.updates} steps"]
    for what, values, none in (("guidance", one.guidance, 1), ("rescaling", one.rescale, 0)):
        if max(values) > none:
            parts.append(f"{what} {'up to ' if len(set(values)) > 1 else ''}{max(values):g}")
    if any(one.skip_scale):
        parts.append("skipped blocks")
    return " with ".join((parts[0], " and ".join(parts[1:]))) if parts[1:] else parts[0]


def _missing(published: Configuration, blocks: int, *, enlarges: bool) -> str:
    """Why a network cannot be run so, or ""."""
    deepest = max(block for one in published.passes for each in one.skip_blocks for block in (*each, 0))
    if deepest >= blocks:
        return f"it skips block {deepest}, and the network has {blocks}"
    if published.first_pass and not enlarges:
        return (
            "it makes a clip twice, and what enlarges the first one is not there; put latent_upsampler into the "
            "model's folder, or ltxv-spatial-upscaler-*.safetensors, as published beside the model"
        )
    return ""
