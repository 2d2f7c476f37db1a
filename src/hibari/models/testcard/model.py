"""The test card as a `Model`: an exact velocity for a network, a drawing for a decoder."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from textwrap import wrap

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hibari.contracts import GenerationRequest, ModelSpec
from hibari.diffusion.convention import per_frame
from hibari.models.plan import Plan, plan
from hibari.models.protocol import Conditioning, Footprint
from hibari.models.testcard.card import CHANNELS, card_latent, read_colours, read_letters

_LETTERS = 256
"""Bytes of a prompt that travel; more than these would be too small to read."""


class Testcard:
    """Honest where a model can be: what it paints comes out of the latent and out of nothing else.

    Every path leads straight to the prompt's card, so any sampler of any number of steps lands on it.
    Guidance does what it does to a network, too: it moves beyond the prompt's card, away from that of the
    negative prompt, and spoils the letters. With a `guidance_interval` that leaves the last step out,
    sampling ends on the card after all.
    """

    weights_sha256: str | None = None
    dtype = torch.float32

    def __init__(self, spec: ModelSpec, device: torch.device) -> None:
        if spec.latent_channels != CHANNELS:
            raise ValueError(
                f"{spec.name} has {spec.latent_channels} latent channels; a test card has {CHANNELS}"
            )
        self.spec = spec
        self.device = device
        self.rgb_from_latent = torch.zeros(CHANNELS + 1, 3, device=device)
        self.rgb_from_latent[:3] = torch.eye(3) / 2
        self.rgb_from_latent[-1] = 1 / 2

    def plan(
        self, request: GenerationRequest, given_F: tuple[bool, ...] = (), *, changes: bool = False
    ) -> Plan:
        """See the protocol."""
        return plan(self.spec, request, given_F, changes=changes)

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """`letters_BL` uint8, the first bytes of each prompt; `hash_B` int64, of the whole prompt."""
        letters = np.zeros((len(prompts), _LETTERS), np.uint8)
        for row, prompt in zip(letters, prompts, strict=True):
            text = prompt.encode()[:_LETTERS]
            row[: len(text)] = np.frombuffer(text, np.uint8)
        hashes = [zlib.crc32(prompt.encode()) for prompt in prompts]
        return {
            "letters_BL": torch.from_numpy(letters).to(self.device),
            "hash_B": torch.tensor(hashes, device=self.device),
        }

    def prepare(self, conditioning: Conditioning) -> Conditioning:
        """Nothing can be prepared."""
        return conditioning

    def velocity(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, conditioning: Conditioning, start_B: Tensor
    ) -> Tensor:
        """noise - x0 = (x - x0) / sigma with x0 the prompt's card; 0 in given frames."""
        x0 = card_latent(conditioning["letters_BL"], conditioning["hash_B"], start_B, *latent_BCFHW.shape[2:])
        sigma = per_frame(sigma_BF)
        return torch.where(sigma > 0, (latent_BCFHW - x0) / sigma, 0)

    def decode(
        self, latent_CFHW: Tensor, generator: torch.Generator | None = None, *, preset: str = ""
    ) -> Iterator[Tensor]:
        """One chunk a latent frame: its cells as squares of colour, its letters, and each frame's number."""
        number = 0
        for index, latent_CHW in enumerate(latent_CFHW.unbind(1)):
            card = _paint(read_colours(latent_CHW), read_letters(latent_CHW), self.spec.space_factor)
            frames = []
            for _ in range(self.spec.time_factor if index else 1):
                frames.append(_number(card, number, self.spec.space_factor))
                number += 1
            yield torch.from_numpy(np.stack(frames))

    def encode(self, frames_FHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Latent [4, F, H, W] of the colours: each cell the median of its pixels, which looks past what is
        written. The letters are not read back; the channel says that there are none."""
        cell = self.spec.space_factor
        first, rest = frames_FHWC[:1], frames_FHWC[1:]
        latents = []
        for chunk in [first, *(rest.split(self.spec.time_factor) if len(rest) else ())]:
            frames, height_px, width_px, _ = chunk.shape
            cells = chunk.view(frames, height_px // cell, cell, width_px // cell, cell, 3)
            colours_CHW = cells.permute(5, 1, 3, 0, 2, 4).flatten(3).median(dim=-1).values
            rgb = colours_CHW.to(self.device).float() / 255 * 2 - 1
            latents.append(torch.cat([rgb, torch.full_like(rgb[:1], -1)]))
        return torch.stack(latents, dim=1)

    def footprint(self, frames: int, height: int, width: int) -> Footprint:
        """A few copies of the latent, and of a chunk's pictures. There are no weights."""
        cells = height * width
        picture = 3 * cells * self.spec.space_factor**2
        return Footprint(
            0, 0, row=6 * 4 * CHANNELS * frames * cells, decode=4 * self.spec.time_factor * picture
        )

    def release_text_encoder(self) -> None:
        """There is none."""


def _paint(colours_HWC: Tensor, text: str, cell_px: int) -> Image.Image:
    """The bars, each cell a square, with the text from the top, as many lines as it takes."""
    cells = colours_HWC.cpu().numpy()
    card = Image.fromarray(cells.repeat(cell_px, axis=0).repeat(cell_px, axis=1))
    font = _font(card.height)
    columns = max(1, int(card.width / font.getlength("n")) - 1)
    _write(card, (card.width // 40, card.height // 40), "\n".join(wrap(text, columns)), "la")
    return card


def _number(card: Image.Image, number: int, cell_px: int) -> np.ndarray:
    """uint8 [height_px, width_px, 3]: the card with a frame's number at the right, just above the clock."""
    frame = card.copy()
    _write(frame, (frame.width - frame.width // 40, frame.height - cell_px - 3), str(number), "rs")
    return np.asarray(frame)


def _write(picture: Image.Image, at: tuple[int, int], text: str, anchor: str) -> None:
    ImageDraw.Draw(picture).text(
        at, text, "white", _font(picture.height), anchor, stroke_width=1, stroke_fill="black"
    )


@cache
def _font(height_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, a twelfth of the picture high and never too small to read."""
    return ImageFont.load_default(size=max(10, height_px // 12))
