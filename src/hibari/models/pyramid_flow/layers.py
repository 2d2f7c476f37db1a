"""What both transformers of Pyramid Flow are made of.

Tokens stand in the order text, frame 0, frame 1, ... Text and frame 0 see each other; every later frame sees the text,
the frames before it and itself. So attention is a plain attention for each frame over a prefix of the keys, without
a mask; and whatever a frame computes can be kept for the frames that will follow.

Submodules carry the names that the published checkpoints give them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

PATCH = 2  # a token is 2 x 2 latent cells
FOURIER = 256  # features of a timestep


class History(NamedTuple):
    """What a forward pass left of the text and of a clip's first frames, for a pass that goes on after them.

    It holds for the same prompt, timestep and picture size only.

    Attributes:
        frames: how many.
        keys_values: for each block in turn the keys, turned to their positions, and the values [B, N, S, E].
    """

    frames: int
    keys_values: Sequence[tuple[Tensor, Tensor]]


NO_HISTORY = History(0, ())


class PrefixAttention:
    """The attention of one forward pass, called by one block after the other."""

    def __init__(
        self, rotary_SE: Tensor, text: int, frame_tokens: Sequence[int], past: History, keep: int
    ) -> None:
        """For `text` tokens (none after a past) and frames of `frame_tokens` each.

        Args:
            rotary_SE: turns all of them to their positions, complex numbers [S, E / 2].
            past: what comes before them.
            keep: of past and pass together, the number of frames to keep.
        """
        self._rotary = rotary_SE[:, None]
        groups = frame_tokens if past.frames else [text + frame_tokens[0], *frame_tokens[1:]]
        self._ends = list(accumulate(groups, initial=0))
        self._past_blocks = iter(past.keys_values)
        self._past_frames = past.frames
        self._keep = keep
        self._kept: list[tuple[Tensor, Tensor]] = []

    def __call__(self, query_BSNE: Tensor, key_BSNE: Tensor, value_BSNE: Tensor) -> Tensor:
        """[B, S, N * E]."""
        query = rotate(query_BSNE, self._rotary).transpose(1, 2)
        key, value = rotate(key_BSNE, self._rotary).transpose(1, 2), value_BSNE.transpose(1, 2)
        before = 0
        if self._past_frames:
            past_key, past_value = next(self._past_blocks)
            before = past_key.shape[2]
            key, value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
        if self._keep:
            kept = before + self._ends[self._keep - self._past_frames]
            self._kept.append((key[:, :, :kept].clone(), value[:, :, :kept].clone()))
        seen = [
            F.scaled_dot_product_attention(
                query[:, :, start:end], key[:, :, : before + end], value[:, :, : before + end]
            )
            for start, end in pairwise(self._ends)
        ]
        return torch.cat(seen, 2).transpose(1, 2).flatten(2)

    @property
    def history(self) -> History:
        """What was kept, once all blocks have been here."""
        return History(self._keep, self._kept) if self._keep else NO_HISTORY


def rotate(x_BSNE: Tensor, rotary: Tensor) -> Tensor:
    """Turn neighbouring pairs of channels by the complex numbers of their token, in float32."""
    pairs = torch.view_as_complex(x_BSNE.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * rotary).flatten(-2).to(x_BSNE.dtype)


def rotary(position_S: Tensor, width: int) -> Tensor:
    """Complex numbers [S, width / 2] of length 1 that turn a token to its position (Su et al. 2021), base 10000."""
    frequency = 10000.0 ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = position_S.double()[:, None] * frequency
    return torch.complex(angle.cos().float(), angle.sin().float())


def stretched(length: int, over: int) -> Tensor:
    """Positions [length] of a smaller picture's rows in one of `over` rows: each stands in the middle of those that
    it covers."""
    if length == over:
        return torch.arange(over).float()
    return F.interpolate(torch.arange(over).float()[None, None], length, mode="linear")[0, 0]


def tokens_a_frame(clips: Sequence[Tensor]) -> list[int]:
    """How many tokens each frame of some latents [B, C, F, H, W] has."""
    return [clip.shape[3] * clip.shape[4] // PATCH**2 for clip in clips for _ in range(clip.shape[2])]


def unpatchify(token_BSD: Tensor, height: int, width: int) -> Tensor:
    """Latent [B, C, F, height, width] of its tokens."""
    return rearrange(
        token_BSD,
        "b (f h w) (p q c) -> b c f (h p) (w q)",
        h=height // PATCH, w=width // PATCH, p=PATCH, q=PATCH,
    )  # fmt: skip


class Feed(nn.Module):
    """Two linear layers with a smooth step between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([_Gelu(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x_BSD: Tensor) -> Tensor:
        """[B, S, D] to the same shape."""
        return self.net[2](self.net[0](x_BSD))


class _Gelu(nn.Module):
    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, out_width)

    def forward(self, x_BSD: Tensor) -> Tensor:
        return F.gelu(self.proj(x_BSD), approximate="tanh")


class Modulation(nn.Module):
    """`parts` vectors [B, 1, D] that depend on the timestep and on the prompt as a whole."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.linear = nn.Linear(width, parts * width)

    def forward(self, condition_BD: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        return self.linear(condition_BD)[:, None].chunk(self.parts, -1)


def modulate(x_BSD: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without parameters, then a scale and a shift."""
    return F.layer_norm(x_BSD, x_BSD.shape[-1:], eps=1e-6) * (1 + scale) + shift


class _TwoLayers(nn.Module):
    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, out_width)
        self.linear_2 = nn.Linear(out_width, out_width)

    def forward(self, x_BD: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x_BD)))


class Condition(nn.Module):
    """The timestep and the prompt's mean, in one vector."""

    def __init__(self, pooled_width: int, width: int) -> None:
        super().__init__()
        self.timestep_embedder = _TwoLayers(FOURIER, width)
        self.text_embedder = _TwoLayers(pooled_width, width)

    def forward(self, timestep_B: Tensor, pooled_BD: Tensor) -> Tensor:
        """[B, D] of timesteps in (0, 1000] and pooled prompts [B, pooled width]; a SiLU stands at its end, as every
        `Modulation` wants it."""
        half = torch.arange(FOURIER // 2, dtype=torch.float32, device=timestep_B.device)
        angle = timestep_B.float()[:, None] * (-math.log(10000) / (FOURIER // 2) * half).exp()
        waves = torch.cat([angle.cos(), angle.sin()], 1).to(pooled_BD.dtype)
        return F.silu(self.timestep_embedder(waves) + self.text_embedder(pooled_BD))


class JointAttention(nn.Module):
    """Attention over text and video with weights of its own for each."""

    def __init__(self, width: int, heads: int, *, eps: float, writes_text: bool) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.add_q_proj, self.add_k_proj, self.add_v_proj = (nn.Linear(width, width) for _ in range(3))
        self.norm_q, self.norm_k, self.norm_added_q, self.norm_added_k = (
            nn.RMSNorm(width // heads, eps) for _ in range(4)
        )
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.to_add_out = nn.Linear(width, width) if writes_text else None

    def forward(self, video_BSD: Tensor, text_BLD: Tensor, attend: PrefixAttention) -> tuple[Tensor, Tensor]:
        """What is read for the video and for the text (nothing of it where the text is not written)."""
        by_head = (self.heads, -1)
        query = torch.cat(
            [
                self.norm_added_q(self.add_q_proj(text_BLD).unflatten(-1, by_head)),
                self.norm_q(self.to_q(video_BSD).unflatten(-1, by_head)),
            ],
            1,
        )
        key = torch.cat(
            [
                self.norm_added_k(self.add_k_proj(text_BLD).unflatten(-1, by_head)),
                self.norm_k(self.to_k(video_BSD).unflatten(-1, by_head)),
            ],
            1,
        )
        value = torch.cat([self.add_v_proj(text_BLD), self.to_v(video_BSD)], 1).unflatten(-1, by_head)
        text, video = attend(query, key, value).split([text_BLD.shape[1], video_BSD.shape[1]], 1)
        return self.to_out[0](video), self.to_add_out(text) if self.to_add_out else text[:, :0]


class JointBlock(nn.Module):
    """Attention over text and video, then a thought for each token (Esser et al. 2024, figure 2b)."""

    def __init__(self, width: int, heads: int, *, eps: float, writes_text: bool = True) -> None:
        super().__init__()
        self.norm1 = Modulation(width, 6)
        self.norm1_context = Modulation(width, 6 if writes_text else 2)
        self.attn = JointAttention(width, heads, eps=eps, writes_text=writes_text)
        self.ff = Feed(width)
        self.ff_context = Feed(width) if writes_text else None

    def forward(
        self, video_BSD: Tensor, text_BLD: Tensor, condition_BD: Tensor, attend: PrefixAttention
    ) -> tuple[Tensor, Tensor]:
        """Both after the block; the text unchanged where it is not written."""
        shift, scale, gate, shift_ff, scale_ff, gate_ff = self.norm1(condition_BD)
        if self.ff_context is None:
            text_scale, text_shift = self.norm1_context(condition_BD)  # the other way round here
            seen, _ = self.attn(
                modulate(video_BSD, shift, scale), modulate(text_BLD, text_shift, text_scale), attend
            )
        else:
            text_shift, text_scale, text_gate, *text_ff = self.norm1_context(condition_BD)
            seen, seen_text = self.attn(
                modulate(video_BSD, shift, scale), modulate(text_BLD, text_shift, text_scale), attend
            )
            text_BLD = text_BLD + text_gate * seen_text
            text_BLD = text_BLD + text_ff[2] * self.ff_context(modulate(text_BLD, text_ff[0], text_ff[1]))
        video_BSD = video_BSD + gate * seen
        return video_BSD + gate_ff * self.ff(modulate(video_BSD, shift_ff, scale_ff)), text_BLD
