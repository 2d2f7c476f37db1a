"""A small picture of a latent, for the price of one matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np
import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, ModelSpec


def preview_image(latent_CHW: Tensor, rgb_from_latent: Tensor) -> np.ndarray:
    """uint8 [H * p, W * p, 3], RGB, of one latent frame.

    `rgb_from_latent` is the linear map [C + 1, 3 * p * p] of `Model.rgb_from_latent`.
    """
    _, height, width = latent_CHW.shape
    side = isqrt(rgb_from_latent.shape[1] // 3)
    cells_HWC = latent_CHW.float().permute(1, 2, 0)
    cells_HWC = torch.cat([cells_HWC, cells_HWC.new_ones(height, width, 1)], dim=-1)
    rgb = cells_HWC @ rgb_from_latent.to(cells_HWC)
    # Each cell's own rows and columns go inside the rows and columns of cells.
    rgb = rgb.view(height, width, 3, side, side).permute(0, 3, 1, 4, 2)
    rgb = rgb.reshape(height * side, width * side, 3).clamp(0, 1)
    return (rgb * 255).round().to(torch.uint8).cpu().numpy()


def shown_frames(
    spec: ModelSpec, request: GenerationRequest, start: int, asked: Sequence[int]
) -> tuple[list[int], tuple[float, ...]]:
    """Which latent frames of a window a preview shows: the middle one of those that are being made; of a storyboard the
    middle one of each card, with the moments (s) at which they are shown.

    Args:
        spec: of the model.
        request: what is made.
        start: the window's first latent frame.
        asked: numbers within the window of those that are made and not given, at least one.
    """
    if len(request.cards) < 2:
        return [asked[len(asked) // 2]], ()
    moment_s = {index: max(0, start + index) * spec.time_factor / spec.fps for index in asked}
    ends = [*(card.at_s for card in request.cards[1:]), float("inf")]
    shown: list[int] = []
    for card, end_s in zip(request.cards, ends, strict=True):
        own = [index for index in asked if card.at_s <= moment_s[index] < end_s]
        if own:
            shown.append(own[len(own) // 2])
    shown = shown or [asked[len(asked) // 2]]
    return shown, tuple(moment_s[index] for index in shown)
