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

from hibari.models.mini.layers import ChannelNorm, Convolution, Pointwise


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
"""What streaming remembers: for each block in turn, its input of the latent frame before, [B, H, W, C]."""


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
        self.previous = Pointwise(width, width, bias=False)
        self.conv_in = Convolution(width, width)
        self.conv_out = Convolution(width, width)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x_BFHWC: Tensor, cache: Iterator[Tensor] | None, keep: Cache) -> Tensor:
        """[B, F, H, W, C] to the same; takes the frame before from `cache` and leaves its own last in `keep`."""
        h = self.norm(x_BFHWC)
        before = next(cache) if cache else torch.zeros_like(h[:, 0])
        keep.append(h[:, -1])
        shifted = torch.cat([before[:, None], h[:, :-1]], 1)
        h = F.silu(self.conv_in(F.silu(h + self.previous(shifted))))
        return x_BFHWC + self.conv_out(h)


class Decoder(nn.Module):
    """Latents to blocks of pixels."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        w1, w2, w3 = config.widths
        n1, n2, n3 = config.blocks
        self.stem = Convolution(config.latent_channels, w3)
        self.stage_3 = nn.ModuleList(Block(w3) for _ in range(n3))
        self.up_2 = Pointwise(w3, w2 * 4)
        self.stage_2 = nn.ModuleList(Block(w2) for _ in range(n2))
        self.up_1 = Pointwise(w2, w1 * 4)
        self.stage_1 = nn.ModuleList(Block(w1) for _ in range(n1))
        self.norm = ChannelNorm(w1)
        self.up_0 = Convolution(w1, config.out_width * 4)
        # 3x3 at half size, so that neighbouring patches share their borders and none shows.
        self.head = Convolution(config.out_width, 3 * TIME_FACTOR * 4)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, latent_BFHWC: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Folded pixels [B, F, 8 H, 8 W, 3 * 4 * 2 * 2] of whitened latents [B, F, H, W, C], and what the next chunk
        needs."""
        keep: Cache = []
        past = iter(cache) if cache else None
        h = self.stem(latent_BFHWC)
        for block in self.stage_3:
            h = block(h, past, keep)
        h = _shuffled(self.up_2(h))
        for block in self.stage_2:
            h = block(h, past, keep)
        h = _shuffled(self.up_1(h))
        for block in self.stage_1:
            h = block(h, past, keep)
        h = F.silu(_shuffled(self.up_0(self.norm(h))))
        return self.head(h), keep


def _shuffled(x_BFHWC: Tensor) -> Tensor:
    """[B, F, H, W, 4 C] to [B, F, 2 H, 2 W, C], in the order of torch's `pixel_shuffle`."""
    return rearrange(x_BFHWC, "b f h w (c p q) -> b f (h p) (w q) c", p=2, q=2)


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
        """Pixels [B, 3, 4F, H, W], four frames for each latent frame, and what the next chunk has to know. The decoder
        may compute in another precision than the linear way back."""
        white = rearrange(latent_BCFHW, "b c f h w -> b f h w c") / self.latent_std
        folded, keep = self.decoder(white.to(self.decoder.head.weight.dtype), cache)
        pixels = _unfold(white @ (self.basis * self.component_std).T + self.mean, SPACE_FACTOR)
        pixels += _unfold(folded, 2)
        return pixels, keep

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


def _unfold(folded_BFHWC: Tensor, side: int) -> Tensor:
    """[B, F, H, W, 3 * 4 * side * side] -> [B, 3, 4F, side H, side W]."""
    return rearrange(
        folded_BFHWC, "b f h w (c t p q) -> b c (f t) (h p) (w q)", c=3, t=TIME_FACTOR, p=side, q=side
    )
