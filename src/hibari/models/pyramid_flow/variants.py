"""The two published kinds of Pyramid Flow, and in what they differ besides the transformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

VIDEO = (-0.2343, 3.0986)  # shift and spread of all latent frames but the first


@dataclass(frozen=True)
class Variant:
    """What the authors' code knows of a kind of checkpoint, and no file of it says.

    Attributes:
        name: as they call it.
        picture: shift and spread of a clip's first latent frame, which is a picture's.
        clip_folders: text encoders whose pooled vectors stand in a row.
        projected: whether these vectors go through CLIP's projection.
        t5_folder: the text encoder whose features are read word by word.
    """

    name: str
    picture: tuple[float, float]
    clip_folders: tuple[str, ...]
    projected: bool
    t5_folder: str

    def scaled(self, latent_BCFHW: Tensor) -> Tensor:
        """The autoencoder's latents of a clip from its first frame on, as the transformer knows them."""
        shift_F, spread_F = self._levels(latent_BCFHW)
        return (latent_BCFHW - shift_F) / spread_F

    def unscaled(self, latent_BCFHW: Tensor) -> Tensor:
        """The way back."""
        shift_F, spread_F = self._levels(latent_BCFHW)
        return latent_BCFHW * spread_F + shift_F

    def _levels(self, latent_BCFHW: Tensor) -> Tensor:
        """Shifts and spreads [2, F, 1, 1]."""
        later = latent_BCFHW.shape[2] - 1
        return torch.tensor([self.picture, *[VIDEO] * later]).to(latent_BCFHW).T[:, :, None, None]


SD3 = Variant("sd3", (0.1490, 1.8415), ("text_encoder", "text_encoder_2"), True, "text_encoder_3")
MINIFLUX = Variant("miniflux", (-0.04, 1.8726), ("text_encoder",), False, "text_encoder_2")

VARIANTS: Mapping[str, Variant] = {"PyramidDiffusionMMDiT": SD3, "PyramidFluxTransformer": MINIFLUX}
"""By the transformer's class in its configuration."""
