"""The causal video autoencoder of hibari-mini: 4x smaller in time, 16x in space.

A clip of 1 + 4k frames becomes 1 + k latent frames. The first frame stands alone (repeated four times, it fills the
first block), every other latent frame holds four frames. Time inside a block lies in the channels, so all
convolutions are of pictures; the decoder sees the latent frame before and none after, hence decoding can stream with
one latent frame of memory a residual block.

The encoder is linear: principal components of blocks of 4x16x16 px, fitted once in seconds, so the transformer need
not wait for it. All that is not linear is the decoder's: a convolutional network beside the linear way back, which
sees neighbouring blocks, removes their borders and draws the detail that the components leave out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from hibari.models.layers import ChannelNorm


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of the autoencoder.

    Attributes:
        latent_channels: C, principal components that are kept.
        widths: the decoder's channels at 1/4, 1/8 and 1/16 of the picture's side.
        blocks: residual blocks at each.
        out_width: channels at half of the picture's side, in the decoder's last layer.
    """

    latent_channels: int
    widths: tuple[int, int, int]
    blocks: tuple[int, int, int]
    out_width: int


TIME_FACTOR = 4
SPACE_FACTOR = 16

Cache = list[Tensor]
"""What streaming remembers: for each block in turn, its input of the latent frame before, [B, C, H, W]."""


def pixels_from_frames(frames_BTHWC: Tensor) -> Tensor:
    """Pixels in [-1, 1], float32 [B, 3, T, H, W], of uint8 frames [B, T, H, W, 3]."""
    return rearrange(frames_BTHWC, "b t h w c -> b c t h w").float().div_(127.5).sub_(1)


def frames_from_pixels(pixels_BCTHW: Tensor) -> Tensor:
    """uint8 frames [B, T, H, W, 3] of pixels in [-1, 1]; what lies outside is clipped."""
    rounded = pixels_BCTHW.add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    return rearrange(rounded, "b c t h w -> b t h w c").contiguous()


class Block(nn.Module):
    """Residual block: two 3x3 convolutions, with the previous latent frame mixed in between norm and convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.previous = nn.Conv2d(width, width, 1, bias=False)
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x_BFCHW: Tensor, cache: Iterator[Tensor] | None, keep: Cache) -> Tensor:
        """[B, F, C, H, W] to the same; takes the frame before from `cache` and leaves its own last in `keep`."""
        batch, frames = x_BFCHW.shape[:2]
        x = x_BFCHW.flatten(0, 1)
        h = self.norm(x)
        h_BF = h.unflatten(0, (batch, frames))
        before = next(cache) if cache else torch.zeros_like(h_BF[:, 0])
        keep.append(h_BF[:, -1])
        shifted = torch.cat([before[:, None], h_BF[:, :-1]], 1).flatten(0, 1)
        h = F.silu(self.conv_in(F.silu(h + self.previous(shifted))))
        return (x + self.conv_out(h)).unflatten(0, (batch, frames))


def _frames(layer: nn.Module, x_BFCHW: Tensor) -> Tensor:
    """Apply a picture layer to every frame."""
    return layer(x_BFCHW.flatten(0, 1)).unflatten(0, x_BFCHW.shape[:2])


class Decoder(nn.Module):
    """Latents to blocks of pixels."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        w1, w2, w3 = config.widths
        n1, n2, n3 = config.blocks
        self.stem = nn.Conv2d(config.latent_channels, w3, 3, padding=1)
        self.stage_3 = nn.ModuleList(Block(w3) for _ in range(n3))
        self.up_2 = nn.Conv2d(w3, w2 * 4, 1)
        self.stage_2 = nn.ModuleList(Block(w2) for _ in range(n2))
        self.up_1 = nn.Conv2d(w2, w1 * 4, 1)
        self.stage_1 = nn.ModuleList(Block(w1) for _ in range(n1))
        self.norm = ChannelNorm(w1)
        self.up_0 = nn.Conv2d(w1, config.out_width * 4, 3, padding=1)
        # 3x3 at half size, so that neighbouring patches share their borders and none shows.
        self.head = nn.Conv2d(config.out_width, 3 * TIME_FACTOR * 4, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, latent_BFCHW: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Folded pixels [B, F, 12, 16 H, 16 W] of whitened latents [B, F, C, H, W], and what the next chunk needs."""
        keep: Cache = []
        past = iter(cache) if cache else None
        h = _frames(self.stem, latent_BFCHW)
        for block in self.stage_3:
            h = block(h, past, keep)
        h = F.pixel_shuffle(_frames(self.up_2, h), 2)
        for block in self.stage_2:
            h = block(h, past, keep)
        h = F.pixel_shuffle(_frames(self.up_1, h), 2)
        for block in self.stage_1:
            h = block(h, past, keep)
        h = F.silu(F.pixel_shuffle(_frames(self.up_0, _frames(self.norm, h)), 2))
        return F.pixel_shuffle(_frames(self.head, h), 2), keep


class Autoencoder(nn.Module):
    """`encode` and `decode` between pixels in [-1, 1] and latents.

    A latent channel's variance is in proportion to the standard deviation that its component has in pixels, 1 in the
    mean: half-way between whitened (a transformer would spend itself on detail that hardly shows) and not (it would
    see little but brightness).
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder = Decoder(config)
        block = 3 * TIME_FACTOR * SPACE_FACTOR**2
        self.mean: Tensor
        self.basis: Tensor
        self.component_std: Tensor
        self.register_buffer("mean", torch.zeros(block))
        self.register_buffer("basis", torch.zeros(block, config.latent_channels))
        self.register_buffer("component_std", torch.ones(config.latent_channels))

    @property
    def latent_std(self) -> Tensor:
        """Standard deviation of each latent channel, [C]."""
        return (self.component_std / self.component_std.mean()).sqrt()

    def encode(self, pixels_BCTHW: Tensor) -> Tensor:
        """Latent [B, C, F, H/16, W/16] of pixels [B, 3, 1 + 4k, H, W] in [-1, 1]."""
        blocks = F.pixel_unshuffle(_fold_clip(pixels_BCTHW), SPACE_FACTOR) - self.mean[:, None, None]
        return torch.einsum("bfdhw,dc->bcfhw", blocks, self.basis * (self.latent_std / self.component_std))

    def decode_blocks(self, latent_BCFHW: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Pixels [B, 3, 4F, H, W], four frames for each latent frame, and what the next chunk has to know."""
        white = latent_BCFHW.transpose(1, 2) / self.latent_std[:, None, None]
        linear = (
            torch.einsum("bfchw,dc->bfdhw", white, self.basis * self.component_std) + self.mean[:, None, None]
        )
        residual, keep = self.decoder(white, cache)
        return _unfold(F.pixel_shuffle(linear, SPACE_FACTOR) + residual), keep

    def decode(self, latent_BCFHW: Tensor) -> Tensor:
        """Pixels [B, 3, 1 + 4k, H, W] of latents that begin with a clip's first latent frame."""
        pixels, _ = self.decode_blocks(latent_BCFHW, None)
        return pixels[:, :, TIME_FACTOR - 1 :]

    def stream(self, latent_BCFHW: Tensor, chunk: int) -> Iterator[Tensor]:
        """The same frames as `decode`, `chunk` latent frames at a time, in memory that does not grow."""
        cache: Cache | None = None
        for start in range(0, latent_BCFHW.shape[2], chunk):
            pixels, cache = self.decode_blocks(latent_BCFHW[:, :, start : start + chunk], cache)
            yield pixels[:, :, TIME_FACTOR - 1 :] if start == 0 else pixels


def _fold_clip(pixels_BCTHW: Tensor) -> Tensor:
    """[B, 3, 1 + 4k, H, W] -> [B, 1 + k, 12, H, W]: time inside a block goes into the channels."""
    if pixels_BCTHW.shape[2] % TIME_FACTOR != 1:
        raise ValueError(f"a clip to encode has 1 + 4k frames, this one has {pixels_BCTHW.shape[2]}")
    first = pixels_BCTHW[:, :, :1].expand(-1, -1, TIME_FACTOR - 1, -1, -1)
    return fold(torch.cat([first, pixels_BCTHW], 2))


def fold(pixels_BCTHW: Tensor) -> Tensor:
    """[B, 3, 4F, H, W] -> [B, F, 12, H, W]."""
    return rearrange(pixels_BCTHW, "b c (f t) h w -> b f (c t) h w", t=TIME_FACTOR)


def _unfold(folded_BFCHW: Tensor) -> Tensor:
    return rearrange(folded_BFCHW, "b f (c t) h w -> b c (f t) h w", t=TIME_FACTOR)
