"""The causal video autoencoder of Pyramid Flow: 8x smaller in time, height and width.

A clip of 1 + 8k frames becomes 1 + k latent frames. Convolutions see two frames back and none ahead, everything else
works on single frames, so a clip can come in chunks of any length: what a convolution has to know of the frames before
lies in a `Memory` that the caller owns. Encoding and decoding in chunks give what the whole clip gives at once.

Submodules carry the names that the published checkpoint gives them, so its keys are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from hibari.models.layers import conv3d

TIME_FACTOR = 8
SPACE_FACTOR = 8
_HALVINGS = (
    3  # the first levels of the encoder, the first ones of the decoder: each halves or doubles all three axes
)


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of the autoencoder. The first three levels of each side change the resolution, the others do not.

    Attributes:
        latent_channels: C.
        encoder_widths: channels of the encoder's levels, from pixels to latents.
        encoder_blocks: residual blocks in each.
        encoder_groups: of its group norms.
        decoder_widths: channels of the decoder's levels, from pixels to latents too.
        decoder_blocks: residual blocks in each, from latents to pixels.
        decoder_groups: of its group norms.
    """

    latent_channels: int
    encoder_widths: tuple[int, ...]
    encoder_blocks: tuple[int, ...]
    encoder_groups: int
    decoder_widths: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    decoder_groups: int


Memory = dict[nn.Module, Tensor]
"""What streaming remembers: for each convolution, the last frames of its input that the next chunk's first outputs
need. Empty before a clip's first chunk."""


def pixels_from_frames(frames_BTHWC: Tensor) -> Tensor:
    """Pixels in [-1, 1], float32 [B, 3, T, H, W], of uint8 frames [B, T, H, W, 3]."""
    return rearrange(frames_BTHWC, "b t h w c -> b c t h w").float().div_(127.5).sub_(1)


def frames_from_pixels(pixels_BCTHW: Tensor) -> Tensor:
    """uint8 frames [B, T, H, W, 3] of pixels in [-1, 1]; cut off, not rounded, as the authors do."""
    frames = pixels_BCTHW.mul(127.5).add_(127.5).clamp_(0, 255).to(torch.uint8)
    return rearrange(frames, "b c t h w -> b t h w c").contiguous()


class CausalConv(nn.Module):
    """A convolution of [B, C, T, H, W] that sees the present and the past; before the first frame there are zeros."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int = 3, stride: tuple[int, int, int] = (1, 1, 1)
    ):
        super().__init__()
        edge = kernel // 2
        self.conv = nn.Conv3d(channels, out_channels, kernel, stride, padding=(0, edge, edge))
        self.before = kernel - 1  # frames of zeros in front of a clip
        self.overlap = kernel - stride[0]  # input frames that two chunks share

    def forward(self, x_BCTHW: Tensor, memory: Memory) -> Tensor:
        """Outputs of all inputs that have come; a strided convolution takes 1 + 2k frames first and 2k after."""
        if self.before:
            past = memory.get(self)
            if past is None:
                past = x_BCTHW.new_zeros(1).expand(*x_BCTHW.shape[:2], self.before, *x_BCTHW.shape[3:])
            x_BCTHW = torch.cat([past, x_BCTHW], 2)
            memory[self] = x_BCTHW[:, :, -self.overlap :].clone()  # a view would keep the whole chunk alive
        return conv3d(self.conv, x_BCTHW)


class FrameNorm(nn.GroupNorm):
    """Group norm of each frame by itself."""

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__(groups, channels, eps=1e-6)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the base class's name for it)
        """[B, C, T, H, W] to the same shape."""
        frames = super().forward(rearrange(input, "b c t h w -> (b t) c h w"))
        return rearrange(frames, "(b t) c h w -> b c t h w", t=input.shape[2])


class ResBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = FrameNorm(groups, channels)
        self.conv1 = CausalConv(channels, out_channels)
        self.norm2 = FrameNorm(groups, out_channels)
        self.conv2 = CausalConv(out_channels, out_channels)
        self.conv_shortcut = CausalConv(channels, out_channels, 1) if channels != out_channels else None

    def forward(self, x_BCTHW: Tensor, memory: Memory) -> Tensor:
        """[B, C, T, H, W] to [B, out_channels, T, H, W]."""
        h = self.conv1(F.silu(self.norm1(x_BCTHW)), memory)
        h = self.conv2(F.silu(self.norm2(h)), memory)
        return h + (self.conv_shortcut(x_BCTHW, memory) if self.conv_shortcut else x_BCTHW)


class FrameAttention(nn.Module):
    """Attention with one head among the places of each frame."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = FrameNorm(groups, channels)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """[B, C, T, H, W] to the same shape."""
        places = rearrange(self.group_norm(x_BCTHW), "b c t h w -> b t (h w) c")
        seen = F.scaled_dot_product_attention(self.to_q(places), self.to_k(places), self.to_v(places))
        return x_BCTHW + rearrange(self.to_out[0](seen), "b t (h w) c -> b c t h w", h=x_BCTHW.shape[3])


class Middle(nn.Module):
    """At the lowest resolution: block, attention, block."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResBlock(channels, channels, groups) for _ in range(2))
        self.attentions = nn.ModuleList([FrameAttention(channels, groups)])

    def forward(self, x_BCTHW: Tensor, memory: Memory) -> Tensor:
        """[B, C, T, H, W] to the same shape."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x_BCTHW, memory)), memory)


class Downsample(nn.Module):
    """Half the height and width, or half the time, by a strided convolution."""

    def __init__(self, channels: int, stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv = CausalConv(channels, channels, stride=stride)

    def forward(self, x_BCTHW: Tensor, memory: Memory) -> Tensor:
        """[B, C, T, H, W] to T / 2 (rounded up in a first chunk), or H / 2 and W / 2."""
        return self.conv(x_BCTHW, memory)


class SpaceUpsample(nn.Module):
    """Twice the height and width: a convolution makes four cells of each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = CausalConv(channels, channels * 4)

    def forward(self, x_BCTHW: Tensor, memory: Memory) -> Tensor:
        """[B, C, T, H, W] to [B, C, T, 2H, 2W]."""
        return rearrange(self.conv(x_BCTHW, memory), "b (c p q) t h w -> b c t (h p) (w q)", p=2, q=2)


class TimeUpsample(nn.Module):
    """Twice the frames; a clip's first one, which stands for a single picture, stays one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = CausalConv(channels, channels * 2)

    def forward(self, x_BCTHW: Tensor, memory: Memory) -> Tensor:
        """[B, C, T, H, W] to [B, C, 2T, H, W], one frame less in a first chunk."""
        first = self.conv not in memory
        frames = rearrange(self.conv(x_BCTHW, memory), "b (c p) t h w -> b c (t p) h w", p=2)
        return frames[:, :, 1:] if first else frames


class Level(nn.Module):
    """Residual blocks, and a change of resolution after them where there is one."""

    def __init__(
        self, channels: int, out_channels: int, blocks: int, groups: int, resample: Mapping[str, nn.Module]
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResBlock(channels if k == 0 else out_channels, out_channels, groups) for k in range(blocks)
        )
        for name, layer in resample.items():
            self.add_module(name, nn.ModuleList([layer]))

    def forward(self, x_BCTHW: Tensor, memory: Memory) -> Tensor:
        """[B, C, T, H, W] to [B, out_channels, ...]."""
        for layers in self.children():
            for layer in layers.children():
                x_BCTHW = layer(x_BCTHW, memory)
        return x_BCTHW


class Encoder(nn.Module):
    """Pixels to the mean and the log variance of latents."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, groups = config.encoder_widths, config.encoder_groups
        self.conv_in = CausalConv(3, widths[0])
        self.down_blocks = nn.ModuleList()
        for index, (width, blocks) in enumerate(zip(widths, config.encoder_blocks, strict=True)):
            halve = {
                "downsamplers": Downsample(width, (1, 2, 2)),
                "temporal_downsamplers": Downsample(width, (2, 1, 1)),
            }
            before = widths[max(index - 1, 0)]
            self.down_blocks.append(Level(before, width, blocks, groups, halve if index < _HALVINGS else {}))
        self.mid_block = Middle(widths[-1], groups)
        self.conv_norm_out = FrameNorm(groups, widths[-1])
        self.conv_out = CausalConv(widths[-1], 2 * config.latent_channels)

    def forward(self, pixels_BCTHW: Tensor, memory: Memory) -> Tensor:
        """[B, 3, 1 + 8k, H, W] (8k after the first chunk) to [B, 2C, 1 + k, H/8, W/8]."""
        h = self.conv_in(pixels_BCTHW, memory)
        for level in self.down_blocks:
            h = level(h, memory)
        h = self.mid_block(h, memory)
        return self.conv_out(F.silu(self.conv_norm_out(h)), memory)


class Decoder(nn.Module):
    """Latents to pixels."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, groups = config.decoder_widths[::-1], config.decoder_groups
        self.conv_in = CausalConv(config.latent_channels, widths[0])
        self.mid_block = Middle(widths[0], groups)
        self.up_blocks = nn.ModuleList()
        for index, (width, blocks) in enumerate(zip(widths, config.decoder_blocks, strict=True)):
            double = {"upsamplers": SpaceUpsample(width), "temporal_upsamplers": TimeUpsample(width)}
            before = widths[max(index - 1, 0)]
            self.up_blocks.append(Level(before, width, blocks, groups, double if index < _HALVINGS else {}))
        self.conv_norm_out = FrameNorm(groups, widths[-1])
        self.conv_out = CausalConv(widths[-1], 3)

    def forward(self, latent_BCFHW: Tensor, memory: Memory) -> Tensor:
        """[B, C, F, H, W] to [B, 3, 8F, 8H, 8W], 7 frames less in a first chunk."""
        h = self.mid_block(self.conv_in(latent_BCFHW, memory), memory)
        for level in self.up_blocks:
            h = level(h, memory)
        return self.conv_out(F.silu(self.conv_norm_out(h)), memory)


class Moments(NamedTuple):
    """The normal distribution that a clip's latent has, both [B, C, F, H, W]."""

    mean: Tensor
    std: Tensor


class Autoencoder(nn.Module):
    """`encode` and `decode` between pixels in [-1, 1] and the autoencoder's own, unscaled latents."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = CausalConv(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.post_quant_conv = CausalConv(config.latent_channels, config.latent_channels, 1)

    def encode(self, pixels_BCTHW: Tensor, chunk: int = 1) -> Moments:
        """The latent's distribution [B, C, 1 + k, H/8, W/8] for pixels [B, 3, 1 + 8k, H, W].

        `chunk` latent frames are made at a time, after the first, which is made alone; memory does not grow.

        Raises:
            ValueError: another number of frames, or a side that 8 does not divide.
        """
        frames, height, width = pixels_BCTHW.shape[2:]
        if frames % TIME_FACTOR != 1 or height % SPACE_FACTOR or width % SPACE_FACTOR:
            raise ValueError(
                f"a clip to encode has 1 + 8k frames and sides that 8 divides; this one is {frames} x {height} x "
                f"{width}"
            )
        memory: Memory = {}
        first, later = pixels_BCTHW.split([1, frames - 1], 2)
        parts = [first, *(later.split(chunk * TIME_FACTOR, 2) if frames > 1 else [])]
        moments = torch.cat([self.quant_conv(self.encoder(part, memory), memory) for part in parts], 2)
        mean, log_variance = moments.chunk(2, 1)
        return Moments(mean, (log_variance.clamp(-30, 20) / 2).exp())

    def stream(self, latent_BCFHW: Tensor, chunk: int = 1) -> Iterator[Tensor]:
        """Pixels of `chunk` latent frames at a time, in memory that does not grow: [B, 3, 8 chunk, 8H, 8W], 7 frames
        less at first. Together they are what `decode` gives."""
        memory: Memory = {}
        for part in latent_BCFHW.split(chunk, 2):
            yield self.decoder(self.post_quant_conv(part, memory), memory)

    def decode(self, latent_BCFHW: Tensor) -> Tensor:
        """Pixels [B, 3, 1 + 8(F - 1), 8H, 8W] of latents that begin with a clip's first latent frame."""
        return next(self.stream(latent_BCFHW, chunk=latent_BCFHW.shape[2]))
