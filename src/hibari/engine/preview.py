"""A small picture of a latent, for the price of one matrix product."""

from __future__ import annotations

from math import isqrt

import numpy as np
import torch
from torch import Tensor


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
