"""The transformer of Pyramid Flow that began as Stable Diffusion 3: joint blocks from end to end.

The place in the picture is a table that is added to the tokens, cut out of the middle of a large square and shrunk for
smaller pictures; the frame's number in the clip is rotary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    tokens_a_frame,
    unpatchify,
)


@dataclass(frozen=True)
class Sd3Config:
    """Sizes of the transformer.

    Attributes:
        latent_channels: C.
        blocks: how many.
        heads: N.
        head_width: E.
        text_width: of the T5 features.
        pooled_width: of the two CLIP vectors together.
        table_side: tokens along a side of the table of places, the largest picture's side.
    """

    latent_channels: int
    blocks: int
    heads: int
    head_width: int
    text_width: int
    pooled_width: int
    table_side: int


class Patches(nn.Module):
    """Latent cells to tokens that know their place in the picture."""

    def __init__(self, channels: int, width: int, table_side: int) -> None:
        super().__init__()
        self.table_side = table_side
        self.proj = nn.Conv2d(channels, width, PATCH, PATCH)
        self.pos_embed: Tensor
        self.register_buffer("pos_embed", torch.zeros(1, table_side**2, width))

    def forward(self, clip_BCFHW: Tensor, rows: int, cols: int) -> Tensor:
        """[B, S, D] of latents that belong to a picture of `rows` x `cols` tokens.

        Raises:
            ValueError: the picture is larger than the table.
        """
        if max(rows, cols) > self.table_side:
            raise ValueError(
                f"a picture of {rows} x {cols} tokens is too large: positions are known for {self.table_side} a side"
            )
        top, left = (self.table_side - rows) // 2, (self.table_side - cols) // 2
        table = self.pos_embed.unflatten(1, (self.table_side, self.table_side))
        places = table[:, top : top + rows, left : left + cols].movedim(3, 1)
        token = self.proj(rearrange(clip_BCFHW, "b c f h w -> (b f) c h w"))
        if token.shape[2:] != (rows, cols):
            places = F.interpolate(places, token.shape[2:], mode="bilinear")
        return rearrange(token + places, "(b f) d h w -> b (f h w) d", b=len(clip_BCFHW)).to(token.dtype)


class Sd3(nn.Module):
    """The network; its answer is the velocity of the last latents that it is given.

    Attributes:
        attention: makes what attends in a pass; `bench.pyramid` puts the plain way in its place.
    """

    attention: Callable[..., PrefixAttention] = PrefixAttention

    def __init__(self, config: Sd3Config) -> None:
        super().__init__()
        self.config = config
        width = config.heads * config.head_width
        self.pos_embed = Patches(config.latent_channels, width, config.table_side)
        self.time_text_embed = Condition(config.pooled_width, width)
        self.context_embedder = nn.Linear(config.text_width, width)
        self.transformer_blocks = nn.ModuleList(
            JointBlock(width, config.heads, eps=1e-5, writes_text=index < config.blocks - 1)
            for index in range(config.blocks)
        )
        self.norm_out = Modulation(width, 2)
        self.proj_out = nn.Linear(width, config.latent_channels * PATCH**2)

    def forward(
        self,
        clips: Sequence[Tensor],
        timestep_B: Tensor,
        text_BLD: Tensor,
        pooled_BD: Tensor,
        past: History = NO_HISTORY,
        keep: int = 0,
    ) -> tuple[Tensor, History]:
        """As `MiniFlux.forward`."""
        rows, cols = (side // PATCH for side in clips[-1].shape[3:])
        condition = self.time_text_embed(timestep_B, pooled_BD)
        text = self.context_embedder(text_BLD[:, :0] if past.frames else text_BLD)
        video = torch.cat([self.pos_embed(clip, rows, cols) for clip in clips], 1)
        frame_tokens = tokens_a_frame(clips)
        frame = torch.arange(past.frames, past.frames + len(frame_tokens))
        frame = torch.cat([torch.zeros(text.shape[1]), frame.repeat_interleave(torch.tensor(frame_tokens))])
        positions = rotary(frame, self.config.head_width).to(video.device)
        attend = self.attention(positions, text.shape[1], frame_tokens, past, keep)
        for block in self.transformer_blocks:
            video, text = block(video, text, condition, attend)
        scale, shift = self.norm_out(condition)
        velocity = self.proj_out(modulate(video[:, -rows * cols * clips[-1].shape[2] :], shift, scale))
        return unpatchify(velocity, *clips[-1].shape[3:]), attend.history
