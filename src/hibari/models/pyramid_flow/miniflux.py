"""The miniFLUX transformer of Pyramid Flow: joint blocks, then blocks in which text and video are one sequence.

All positions are rotary: the frame's number in the clip, and row and column in the picture that is being made. A
smaller picture's tokens stand between the rows and columns that they cover.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from hibari.models.pyramid_flow.layers import (
    NO_HISTORY,
    PATCH,
    Condition,
    History,
    JointBlock,
    Modulation,
    PrefixAttention,
    modulate,
    rotary,
    stretched,
    tokens_a_frame,
    unpatchify,
)


@dataclass(frozen=True)
class MiniFluxConfig:
    """Sizes of the transformer.

    Attributes:
        latent_channels: C.
        joint_blocks: blocks with weights of their own for text and video.
        single_blocks: blocks after them, with one set of weights.
        heads: N.
        head_width: E, a multiple of 16; a quarter of it is for the frame, three eighths each for row and column.
        text_width: of the T5 features.
        pooled_width: of the CLIP vector.
    """

    latent_channels: int
    joint_blocks: int
    single_blocks: int
    heads: int
    head_width: int
    text_width: int
    pooled_width: int


class SingleAttention(nn.Module):
    """Queries, keys and values; the way out is the block's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.norm_q, self.norm_k = (nn.RMSNorm(width // heads, 1e-6) for _ in range(2))

    def forward(self, x_BSD: Tensor, attend: PrefixAttention) -> Tensor:
        """[B, S, D] to the same shape."""
        query, key, value = (
            layer(x_BSD).unflatten(-1, (self.heads, -1)) for layer in (self.to_q, self.to_k, self.to_v)
        )
        return attend(self.norm_q(query), self.norm_k(key), value)


class SingleBlock(nn.Module):
    """Attention and thought side by side (Dehghani et al. 2023, "Scaling vision transformers to 22 billion")."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = Modulation(width, 3)
        self.attn = SingleAttention(width, heads)
        self.proj_mlp = nn.Linear(width, 4 * width)
        self.proj_out = nn.Linear(5 * width, width)

    def forward(self, x_BSD: Tensor, condition_BD: Tensor, attend: PrefixAttention) -> Tensor:
        """[B, S, D] to the same shape."""
        shift, scale, gate = self.norm(condition_BD)
        h = modulate(x_BSD, shift, scale)
        thought = F.gelu(self.proj_mlp(h), approximate="tanh")
        return x_BSD + gate * self.proj_out(torch.cat([self.attn(h, attend), thought], -1))


class MiniFlux(nn.Module):
    """The network; its answer is the velocity of the last latents that it is given.

    Attributes:
        attention: makes what attends in a pass; `bench.pyramid` puts the plain way in its place.
    """

    attention: Callable[..., PrefixAttention] = PrefixAttention

    def __init__(self, config: MiniFluxConfig) -> None:
        super().__init__()
        self.config = config
        width, cells = config.heads * config.head_width, config.latent_channels * PATCH**2
        self.time_text_embed = Condition(config.pooled_width, width)
        self.context_embedder = nn.Linear(config.text_width, width)
        self.x_embedder = nn.Linear(cells, width)
        self.transformer_blocks = nn.ModuleList(
            JointBlock(width, config.heads, eps=1e-6) for _ in range(config.joint_blocks)
        )
        self.single_transformer_blocks = nn.ModuleList(
            SingleBlock(width, config.heads) for _ in range(config.single_blocks)
        )
        self.norm_out = Modulation(width, 2)
        self.proj_out = nn.Linear(width, cells)

    def forward(
        self,
        clips: Sequence[Tensor],
        timestep_B: Tensor,
        text_BLD: Tensor,
        pooled_BD: Tensor,
        past: History = NO_HISTORY,
        keep: int = 0,
    ) -> tuple[Tensor, History]:
        """The velocity of the last of `clips`, and what was kept.

        Args:
            clips: latents [B, C, F, H, W] in the order of time: those that are there, smaller the older they are, and
                the one in work. Sides are even.
            timestep_B: in (0, 1000], for all frames.
            text_BLD: features of the prompts without padding, so all of one length.
            pooled_BD: a vector for each prompt.
            past: goes before `clips`.
            keep: of past and `clips` together, how many frames to keep for another pass.
        """
        condition = self.time_text_embed(timestep_B, pooled_BD)
        text = self.context_embedder(text_BLD[:, :0] if past.frames else text_BLD)
        patches = [
            rearrange(clip, "b c f (h p) (w q) -> b (f h w) (p q c)", p=PATCH, q=PATCH) for clip in clips
        ]
        video = self.x_embedder(torch.cat(patches, 1))
        shapes = tuple(tuple(clip.shape[2:]) for clip in clips)
        turns = _turns(shapes, past.frames, text.shape[1], self.config.head_width)
        attend = self.attention(turns.to(video.device), text.shape[1], tokens_a_frame(clips), past, keep)
        for block in self.transformer_blocks:
            video, text = block(video, text, condition, attend)
        both = torch.cat([text, video], 1)
        for block in self.single_transformer_blocks:
            both = block(both, condition, attend)
        scale, shift = self.norm_out(condition)
        in_work = both[:, -patches[-1].shape[1] :]
        velocity = self.proj_out(modulate(in_work, shift, scale))
        return unpatchify(velocity, *clips[-1].shape[3:]), attend.history


@lru_cache(maxsize=8)  # the steps of a stage share it; with two prompts there are two of them
def _turns(shapes: tuple[tuple[int, ...], ...], first: int, text: int, head_width: int) -> Tensor:
    """Complex numbers [S, E / 2] for clips of the shapes [F, H, W] that begin at the frame `first`, and for the text,
    which stands at frame, row and column 0."""
    rows, cols = (side // PATCH for side in shapes[-1][1:])
    places = [torch.zeros(text, 3)]
    for frames, height, width in shapes:
        frame = torch.arange(first, first + frames).float()
        places.append(
            torch.cartesian_prod(frame, stretched(height // PATCH, rows), stretched(width // PATCH, cols))
        )
        first += frames
    frame, row, col = torch.cat(places).unbind(1)
    quarter, rest = head_width // 4, head_width * 3 // 8
    return torch.cat([rotary(frame, quarter), rotary(row, rest), rotary(col, rest)], 1)
