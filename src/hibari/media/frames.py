"""The type of a frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]
"""uint8 [height_px, width_px, 3], RGB (sRGB / BT.709 primaries)."""
