"""What Pyramid Flow's exact gains save: each beside the plain way, which gives the same to rounding.

No package has Pyramid Flow, so there is no reference to measure against; the plain ways are those of its authors' code,
written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from hibari.bench.compare import Ratio, machine
from hibari.bench.measure import timed
from hibari.bench.random import randomised
from hibari.engine.runtime import prepare_torch
from hibari.models.pyramid_flow import pyramid
from hibari.models.pyramid_flow.layers import NO_HISTORY, History, PrefixAttention, rotate
from hibari.models.pyramid_flow.miniflux import MiniFlux, MiniFluxConfig
from hibari.models.pyramid_flow.text import T5_TOKENS
from hibari.settings import Settings

WORDS = 20  # tokens of the prompt; the plain way has T5_TOKENS
CHANNELS = 16


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is measured.

    Attributes:
        network: sizes of a random miniFLUX.
        cells: height and width of the latent.
        frames: latent frames; the last of them is made.
    """

    network: MiniFluxConfig
    cells: tuple[int, int]
    frames: int


def _sizes(heads: int, width: int, joint: int, single: int, cells: tuple[int, int], frames: int) -> Sizes:
    network = MiniFluxConfig(CHANNELS, joint, single, heads, width, text_width=256, pooled_width=64)
    return Sizes(network, cells, frames)


SIZES: Mapping[str, Sizes] = MappingProxyType(
    {
        # 175 million parameters, 640x384 px, 121 frames: 2,940 tokens in the last stage.
        "pyramid_flow": _sizes(16, 64, 2, 6, (48, 80), 16),
        "pyramid_flow-tiny": _sizes(2, 16, 1, 1, (8, 8), 4),  # for tests
    }
)


@dataclass(frozen=True, slots=True)
class Gain:
    """Seconds of both ways, run in turn, and the largest difference of what they give."""

    name: str
    ours_s: Sequence[float]
    plain_s: Sequence[float]
    difference: float

    @property
    def ratio(self) -> Ratio:
        """Plain to ours, of the pairs."""
        return Ratio.of(zip(self.ours_s, self.plain_s, strict=True))


@dataclass(frozen=True, slots=True)
class Gains:
    """What came out."""

    said: str
    gains: Sequence[Gain]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "said": self.said,
            "gains": [asdict(gain) | {"ratio": asdict(gain.ratio)} for gain in self.gains],
        }

    def markdown(self) -> str:
        """A table, and under it what belongs to it."""
        lines = ["|  | ours | plain | ratio (least to most) | differ by |", "| --- | --- | --- | --- | --- |"]
        lines += [
            f"| {gain.name} | {median(gain.ours_s):.3g} s | {median(gain.plain_s):.3g} s | {gain.ratio} | "
            f"{gain.difference:.1e} |"
            for gain in self.gains
        ]
        return "\n".join(lines) + f"\n\n{self.said}"


@torch.inference_mode()
def measure(name: str, *, repeat: int, told: Callable[[str], None] = lambda _: None) -> Gains:
    """Each gain, both ways in turn, `repeat` times after one that is not measured.

    Args:
        name: of SIZES.
        told: is told what is going on.
    """
    sizes, device = SIZES[name], prepare_torch(Settings.from_environment())
    told(f"making a random {name}")
    with torch.device(device):
        network = MiniFlux(sizes.network)
    randomised(network, 0)
    # Both ways: ours and the plain one.
    ways: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]] = {}
    shape = (1, CHANNELS, 1, *sizes.cells)
    ways["noise between two stages"] = (
        lambda: pyramid.block_noise(shape, torch.Generator().manual_seed(0)),
        lambda: noise_block_by_block(shape, torch.Generator().manual_seed(0)),
    )
    one = _Pass(network, sizes, device)
    ways["a pass, no padding and no mask"] = partial(one.velocity, 2), partial(one.velocity, 2, masked=True)
    for stage, called in enumerate(("smallest", "middle")):
        past = one.history(stage)
        ways[f"a pass of the {called} stage, earlier frames kept"] = (
            partial(one.velocity, stage, past),
            partial(one.velocity, stage),
        )
    gains: list[Gain] = []
    for what, both in ways.items():
        told(f"measuring {what}")
        ours, plain = (way() for way in both)
        times = [tuple(timed(way, device) for way in both) for _ in range(repeat)]
        ours_s, plain_s = zip(*times, strict=True)
        gains.append(Gain(what, ours_s, plain_s, float((ours - plain).abs().max())))
    height, width = (8 * side for side in sizes.cells)
    parameters = sum(tensor.numel() for tensor in network.parameters())
    return Gains(
        f"A random miniFLUX of {parameters / 1e6:.0f} million parameters, latent frame {sizes.frames} at {width}x"
        f"{height} px, a prompt of {WORDS} tokens; medians of {repeat}; {machine()}.",
        gains,
    )


class _Pass:
    """A forward pass for the last frame of a clip of noise."""

    def __init__(self, network: MiniFlux, sizes: Sizes, device: torch.device) -> None:
        self._network = network
        draw = partial(torch.randn, generator=torch.Generator().manual_seed(1))
        self._made = pyramid.Frames()
        for _ in range(sizes.frames - 1):
            self._made.append(draw(1, CHANNELS, 1, *sizes.cells).to(device))
        self._in_work = [
            draw(1, CHANNELS, 1, *(side // stage.shrink for side in sizes.cells)).to(device)
            for stage in pyramid.STAGES
        ]
        self._text = draw(1, T5_TOKENS, sizes.network.text_width).to(device)
        self._pooled = draw(1, sizes.network.pooled_width).to(device)

    def velocity(self, stage: int, past: History = NO_HISTORY, *, masked: bool = False) -> Tensor:
        """Of the frame in work; `masked`: with all of the padded prompt under a mask."""
        clips = [*self._made.before(stage, past.frames), self._in_work[stage]]
        if not masked:
            return self._run(stage, clips, self._text[:, :WORDS], past)[0]
        self._network.attention = MaskedAttention
        try:
            return self._run(stage, clips, self._text, past)[0]
        finally:
            del self._network.attention

    def history(self, stage: int) -> History:
        """What the pass for the frame before leaves: all that had their smallest size then."""
        clips = self._made.before(stage)
        kept = pyramid.settled(len(clips) - 1, stage)
        return self._run(stage, clips, self._text[:, :WORDS], NO_HISTORY, kept)[1]

    def _run(
        self, stage: int, clips: Sequence[Tensor], text_BLD: Tensor, past: History, keep: int = 0
    ) -> tuple[Tensor, History]:
        timestep_B = torch.full((1,), pyramid.STAGES[stage].timestep(0.5), device=text_BLD.device)
        return self._network(clips, timestep_B, text_BLD, self._pooled, past=past, keep=keep)


class MaskedAttention(PrefixAttention):
    """The plain way: all tokens at once, padding among them, under a mask of which sees which. Keeps nothing."""

    def __init__(
        self, rotary_SE: Tensor, text: int, frame_tokens: Sequence[int], past: History, keep: int
    ) -> None:
        """As `PrefixAttention`, without a past; the text is padded from WORDS tokens on."""
        super().__init__(rotary_SE, text, frame_tokens, past, keep)
        frame = torch.arange(len(frame_tokens)).repeat_interleave(torch.tensor(frame_tokens))
        frame_S = torch.cat([torch.zeros(text, dtype=frame.dtype), frame]).to(rotary_SE.device)
        self._mask_SS = frame_S[:, None] >= frame_S
        self._mask_SS[:, WORDS:text] = False

    def __call__(self, query_BSNE: Tensor, key_BSNE: Tensor, value_BSNE: Tensor) -> Tensor:
        """[B, S, N * E]."""
        query, key = (rotate(x, self._rotary).transpose(1, 2) for x in (query_BSNE, key_BSNE))
        seen = F.scaled_dot_product_attention(query, key, value_BSNE.transpose(1, 2), attn_mask=self._mask_SS)
        return seen.transpose(1, 2).flatten(2)


def noise_block_by_block(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """`pyramid.block_noise` the plain way: a draw of four correlated numbers for each block of 2 x 2 cells."""
    batch, channels, frames, height, width = shape
    rows, cols = height // 2, width // 2
    corners = torch.tensor(pyramid.CORNERS)
    blocks = [
        corners @ torch.empty(4).normal_(generator=generator)
        for _ in range(batch * channels * frames * rows * cols)
    ]
    return rearrange(
        torch.stack(blocks),
        "(b c f h w) (p q) -> b c f (h p) (w q)",
        b=batch, c=channels, f=frames, h=rows, w=cols, p=2, q=2,
    )  # fmt: skip
