"""The diffusion transformer of hibari-mini.

Shaped like a U: convolutions over the cells of the latent, a transformer over tokens of 2x2 cells, and convolutions
over cells again, which also see what the first ones saw (Hoogeboom et al., "Simple diffusion", 2023). So no token has
to carry detail, and no border between tokens shows. At last a small U of convolutions over fields of 4x4 px, and over
2x2 of those, refines the answer: what a latent says of a thing depends on where in its cell of 16x16 px the thing lies;
fields hardly do.

Each of the transformer's blocks attends over all tokens of the clip, then to the words of the prompt, then thinks token
by token; noise level (per latent frame) and the prompt's mean modulate it. Positions are rotary in (frame, row,
column); a learned map of the place in the picture and a learned vector for each moment of the clip say what relative
positions cannot: "rises" is a place that depends on the time.

Inside, the network says what the clean latent is, and the velocity follows: (x - x0) / sigma. A token holds as many
numbers as the network is wide, so answering with the velocity itself would fill the width with noise to be carried
through and leave none to think in (Li & He, "Back to basics: let denoising generative models denoise", 2025).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from hibari.models.mini.layers import Convolution, gathered, spread

PATCH = 2
FOURIER = 64  # features of a noise level
FIELDS = 4  # fields a cell, in each direction
LATENT_FRAMES = 9  # of a training clip; what comes later in a longer one counts as the last of them
MIN_SIGMA = 0.05  # below it the velocity is damped: an error of x0 must not be divided by next to nothing


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of the transformer.

    Attributes:
        latent_channels: C of the autoencoder.
        text_width: width of the text encoder's outputs.
        width: D.
        heads: N; D / N is the head width, a multiple of 8.
        blocks: how many.
        mlp_ratio: hidden width of the MLP over D.
        cell_width: R, channels of the convolutions over cells.
        cell_blocks: how many residual blocks of them stand before and after the transformer.
        field_width: Q, channels of the convolutions over fields.
        field_blocks: how many residual blocks of them refine the answer.
        middle_width: channels of the convolutions over 2x2 fields between them.
        middle_blocks: how many residual blocks of those.
    """

    latent_channels: int
    text_width: int
    width: int
    heads: int
    blocks: int
    mlp_ratio: int
    cell_width: int
    cell_blocks: tuple[int, int]
    field_width: int
    field_blocks: int
    middle_width: int
    middle_blocks: int


def norm(x: Tensor) -> Tensor:
    """Layer norm of the last axis without parameters (on a CPU twice as fast as a root-mean-square norm, which torch
    composes of several passes)."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Norm, then a scale and a shift that depend on the noise level."""
    return torch.addcmul(shift, norm(x), 1 + scale)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a cached table must serve training too
def rotary_table(frames: int, rows: int, cols: int, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [S, head_width / 2]: a quarter of the pairs for the frame, the rest for row and column."""
    pairs = head_width // 2
    per_frame = pairs // 4
    per_row = (pairs - per_frame) // 2
    counts = (per_frame, per_row, pairs - per_frame - per_row)
    places = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float32) for n in (frames, rows, cols)), indexing="ij"
    )
    angles = []
    for place, count in zip(places, counts, strict=True):
        # Wavelengths from 4 tokens up: a clip is nine frames of 4x4 tokens, so text models' 10,000 would be idle.
        frequency = torch.pi / 2 * 32.0 ** (-torch.arange(count, dtype=torch.float32) / count)
        angles.append(place.flatten()[:, None] * frequency)
    angle = torch.cat(angles, 1)
    return angle.cos(), angle.sin()


def rotate(x_BNSE: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair of features by its token's angles."""
    cos, sin = table
    a, b = x_BNSE.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of [B, N, S, E]. Under autocast on a CPU it stays in float32: torch's backward of
    it is twice as slow in bfloat16, where the matrix products around it are twice as fast."""
    if torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(query.float(), key.float(), value.float(), attn_mask=mask)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


class SelfAttention(nn.Module):
    """Over all tokens of the clip, with normalised and rotated queries and keys."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gain = nn.Parameter(torch.ones(width // config.heads))
        nn.init.zeros_(self.out.weight)

    def forward(self, x_BSD: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """[B, S, D] to the same."""
        query, key, value = rearrange(
            self.query_key_value(x_BSD), "b s (three n e) -> three b n s e", three=3, n=self.heads
        )
        query, key = rotate(norm(query) * self.gain, rotary), rotate(norm(key), rotary)
        return self.out(rearrange(attend(query, key, value), "b n s e -> b s (n e)"))


class CrossAttention(nn.Module):
    """From tokens to words. Keys and values depend on the words alone."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gain = nn.Parameter(torch.ones(width // config.heads))
        nn.init.zeros_(self.out.weight)

    def keys_values(self, words_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, N, L, E]."""
        key, value = rearrange(self.key_value(words_BLD), "b l (two n e) -> two b n l e", two=2, n=self.heads)
        return norm(key), value

    def forward(self, x_BSD: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """[B, S, D] from tokens [B, S, D] to words with keys and values [B, N, L, E]."""
        query = norm(rearrange(self.query(x_BSD), "b s (n e) -> b n s e", n=self.heads)) * self.gain
        mixed = attend(query, key, value, mask)
        return self.out(rearrange(mixed, "b n s e -> b s (n e)"))


class Block(nn.Module):
    """Self-attention, cross-attention to the words, MLP."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.attention = SelfAttention(config)
        self.words = CrossAttention(config)
        self.mlp_in = nn.Linear(width, config.mlp_ratio * width)
        self.mlp_out = nn.Linear(config.mlp_ratio * width, width)
        self.table = nn.Parameter(torch.zeros(6, width))  # added to the shared modulation
        nn.init.zeros_(self.mlp_out.weight)
        nn.init.zeros_(self.mlp_out.bias)

    def forward(
        self,
        x_BFPD: Tensor,
        modulation_BF6D: Tensor,
        rotary: tuple[Tensor, Tensor],
        words: tuple[Tensor, Tensor],
        words_mask: Tensor,
    ) -> Tensor:
        """P is the tokens of a latent frame: what modulates is given a frame, and broadcast over them."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (modulation_BF6D + self.table)[
            :, :, None
        ].unbind(3)  # each [B, F, 1, D]
        frames = x_BFPD.shape[1:3]
        attended = self.attention(modulate(x_BFPD, shift_a, scale_a).flatten(1, 2), rotary)
        x_BFPD = torch.addcmul(x_BFPD, 1 + gate_a, attended.unflatten(1, frames))
        said = self.words(norm(x_BFPD).flatten(1, 2), *words, words_mask)
        x_BFPD = x_BFPD + said.unflatten(1, frames)
        h = F.gelu(self.mlp_in(modulate(x_BFPD, shift_m, scale_m)))
        return torch.addcmul(x_BFPD, 1 + gate_m, self.mlp_out(h))


class CellBlock(nn.Module):
    """Residual block over cells: two 3x3 convolutions, with the frames before and after mixed in between, if it sees
    them; the noise level and the prompt modulate it."""

    def __init__(self, width: int, level_width: int, *, sees_neighbours: bool = True) -> None:
        super().__init__()
        self.modulation = nn.Linear(level_width, 2 * width)
        self.conv_in = Convolution(width, width)
        self.neighbours = nn.Linear(2 * width, width, bias=False) if sees_neighbours else None
        self.conv_out = Convolution(width, width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        if self.neighbours:
            nn.init.zeros_(self.neighbours.weight)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x_BFHWR: Tensor, level_BFD: Tensor) -> Tensor:
        """[B, F, H, W, R] to the same."""
        shift, scale = self.modulation(level_BFD)[:, :, None, None].chunk(2, -1)
        h = F.silu(self.conv_in(F.silu(modulate(x_BFHWR, shift, scale))))
        if self.neighbours and h.shape[1] > 1:
            none = torch.zeros_like(h[:, :1])
            before, after = torch.cat([none, h[:, :-1]], 1), torch.cat([h[:, 1:], none], 1)
            h = h + self.neighbours(torch.cat([before, after], -1))
        return x_BFHWR + self.conv_out(h)


class Refiner(nn.Module):
    """Convolutions over fields of the picture, which correct the predicted x0, frame by frame.

    `up` takes latent cells apart into FIELDS x FIELDS fields, and `down` puts them together. Both begin as what the
    autoencoder's components mean for each field (`training.transformer.fit_fields`), so that the same thing looks the
    same wherever in a cell it lies. Most of the work is done in the middle, over 2x2 fields: wide enough to hold what
    things look like, and it sees a figure whole. The last convolution begins with zeros: the answer as it came.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, fields = config.field_width, FIELDS**2
        self.up = nn.Linear(2 * config.latent_channels + config.cell_width, fields * 2 * width)
        self.conv_in = Convolution(2 * width, width)
        self.blocks = nn.ModuleList(
            CellBlock(width, config.width, sees_neighbours=False) for _ in range(config.field_blocks)
        )
        self.middle_in = nn.Linear(4 * width, config.middle_width)
        self.middle = nn.ModuleList(
            CellBlock(config.middle_width, config.width, sees_neighbours=False)
            for _ in range(config.middle_blocks)
        )
        self.middle_out = nn.Linear(config.middle_width, 4 * width, bias=False)
        self.conv_out = Convolution(width, width)
        self.down = nn.Linear(fields * width, config.latent_channels, bias=False)
        nn.init.zeros_(self.middle_out.weight)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x0: Tensor, noisy: Tensor, cells: Tensor, level_BFD: Tensor) -> Tensor:
        """x0, corrected: [B, F, H, W, C] of that, the noisy latent, and what is known of each cell [B, F, H, W, R]."""
        h = self.up(torch.cat([x0, noisy, cells], -1))
        h = self.conv_in(spread(h, FIELDS))
        for block in self.blocks:
            h = block(h, level_BFD)
        middle = self.middle_in(gathered(h, 2))
        for block in self.middle:
            middle = block(middle, level_BFD)
        h = h + spread(self.middle_out(F.silu(norm(middle))), 2)
        h = self.conv_out(F.silu(norm(h)))
        return x0 + self.down(gathered(h, FIELDS))


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """A batch of prompts as the transformer has read them.

    Attributes:
        pooled_BD: their mean, for the modulation.
        mask_B11L: True for tokens that are there; the first is the null token.
        keys_values: for each block, keys and values [B, N, L, E] of its cross-attention.
    """

    pooled_BD: Tensor
    mask_B11L: Tensor
    keys_values: Sequence[tuple[Tensor, Tensor]]


class Transformer(nn.Module):
    """Velocity from noisy latents, their noise levels and the words."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.width, config.cell_width * PATCH**2
        self.latent_in = Convolution(config.latent_channels, config.cell_width)
        self.cells_in = nn.ModuleList(
            CellBlock(config.cell_width, width) for _ in range(config.cell_blocks[0])
        )
        self.patch_in = nn.Linear(patch, width)
        self.place = nn.Sequential(nn.Linear(8, width), nn.SiLU(), nn.Linear(width, width))
        self.time = nn.Parameter(torch.zeros(LATENT_FRAMES, 2 * width))
        self.text_in = nn.Linear(config.text_width, width)
        self.text_null = nn.Parameter(torch.randn(width) * 0.02)
        self.sigma_in = nn.Sequential(nn.Linear(FOURIER, width), nn.SiLU(), nn.Linear(width, width))
        self.pooled_in = nn.Linear(config.text_width, width)
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.final_modulation = nn.Linear(width, 2 * width)
        self.patch_out = nn.Linear(width, patch)
        self.cells_out = nn.ModuleList(
            CellBlock(config.cell_width, width) for _ in range(config.cell_blocks[1])
        )
        self.latent_out = Convolution(config.cell_width, config.latent_channels)
        self.refiner = Refiner(config)
        for layer in (self.modulation, self.final_modulation, self.latent_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, text_BLD: Tensor, mask_BL: Tensor, start_B: Tensor
    ) -> Tensor:
        """Velocity of the latent's shape.

        Args:
            latent_BCFHW: noisy latents; H and W even.
            sigma_BF: noise levels in [0, 1], 0 for given frames.
            text_BLD: the text encoder's outputs; a row of an empty mask is the empty prompt.
            mask_BL: True for real tokens.
            start_B: position of the window's first latent frame in its clip.
        """
        return self.velocity(latent_BCFHW, sigma_BF, self.read(text_BLD, mask_BL), start_B)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in; the latents that it is given, and its answers, may be of another."""
        return self.text_null.dtype

    def read(self, text_BLD: Tensor, mask_BL: Tensor) -> Words:
        """What depends on the prompt alone, and so is the same at every step."""
        text_BLD = text_BLD.to(self.dtype)
        said_B1 = mask_BL.any(1, keepdim=True)
        pooled = (text_BLD * mask_BL[..., None]).sum(1) / mask_BL.sum(1, keepdim=True).clamp(min=1)
        pooled = torch.where(said_B1, self.pooled_in(pooled), self.text_null)
        # The null token is always there, so that attention over an empty prompt has something to attend to.
        null = self.text_null.expand(len(text_BLD), 1, -1)
        words_BLD = norm(torch.cat([null, self.text_in(text_BLD)], 1))
        mask = F.pad(mask_BL, (1, 0), value=True)[:, None, None]
        blocks = [cast("Block", block) for block in self.blocks]
        return Words(pooled, mask, [block.words.keys_values(words_BLD) for block in blocks])

    def velocity(self, latent_BCFHW: Tensor, sigma_BF: Tensor, words: Words, start_B: Tensor) -> Tensor:
        """As `forward`, with a prompt that has been read."""
        _, _, frames, height, width = latent_BCFHW.shape
        rows, cols = height // PATCH, width // PATCH
        frame_BF = (start_B[:, None] + torch.arange(frames, device=start_B.device)).clamp(
            max=LATENT_FRAMES - 1
        )
        time_BFD, when_BFD = self.time[frame_BF].chunk(2, -1)
        level_BFD = self.sigma_in(fourier(sigma_BF).to(self.dtype)) + words.pooled_BD[:, None] + when_BFD
        level_BFD = F.silu(level_BFD)
        noisy = rearrange(latent_BCFHW, "b c f h w -> b f h w c").to(self.dtype)
        cells = self.latent_in(noisy)
        for block in self.cells_in:
            cells = block(cells, level_BFD)

        x = self.patch_in(gathered(norm(cells), PATCH).flatten(2, 3))
        x = x + self.place(places(rows, cols).to(x)) + time_BFD[:, :, None]
        modulation = self.modulation(level_BFD).unflatten(-1, (6, -1))
        cos, sin = rotary_table(frames, rows, cols, self.config.width // self.config.heads)
        for block, keys_values in zip(self.blocks, words.keys_values, strict=True):
            x = block(x, modulation, (cos.to(x), sin.to(x)), keys_values, words.mask_B11L)

        shift, scale = self.final_modulation(level_BFD)[:, :, None].chunk(2, -1)
        x = self.patch_out(modulate(x, shift, scale))
        cells = cells + spread(x.unflatten(2, (rows, cols)), PATCH)
        for block in self.cells_out:
            cells = block(cells, level_BFD)
        cells = F.silu(norm(cells))
        x0 = self.refiner(self.latent_out(cells), noisy, cells, level_BFD)
        x0_BCFHW = rearrange(x0, "b f h w c -> b c f h w").to(latent_BCFHW.dtype)
        return (latent_BCFHW - x0_BCFHW) / sigma_BF.clamp(min=MIN_SIGMA)[:, None, :, None, None]


def fourier(sigma: Tensor) -> Tensor:
    """Features [..., FOURIER] of noise levels in [0, 1]: waves of half a turn to 32 turns over the range."""
    frequency = torch.pi * 64.0 ** (torch.arange(FOURIER // 2, device=sigma.device) / (FOURIER // 2 - 1))
    angle = sigma[..., None].float() * frequency
    return torch.cat([angle.cos(), angle.sin()], -1)


def places(rows: int, cols: int) -> Tensor:
    """[rows * cols, 8]: where a token's middle lies in the picture, in [-1, 1], with two waves, and the shape."""
    y, x = torch.meshgrid(
        (torch.arange(rows) * 2 + 1) / rows - 1, (torch.arange(cols) * 2 + 1) / cols - 1, indexing="ij"
    )
    shape = torch.tensor(cols / rows).log()
    waves = [
        torch.sin(torch.pi * x),
        torch.cos(torch.pi * x),
        torch.sin(torch.pi * y),
        torch.cos(torch.pi * y),
    ]
    return torch.stack([x, y, *waves, x * y, shape.expand_as(x)], -1).flatten(0, 1)
