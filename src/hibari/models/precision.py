"""What networks compute in."""

from __future__ import annotations

import torch

from hibari.contracts import Precision
from hibari.settings import Settings


def dtype_for(device: torch.device, *, on_amx: Precision = "float32") -> torch.dtype:
    """What `HIBARI_PRECISION` says. If that is auto: bfloat16 on a GPU; float32 on a processor, where bfloat16 can be
    hundreds of times slower; but `on_amx` on one with Intel's matrix units for bfloat16."""
    said = Settings.from_environment().precision
    if said == "auto":
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch do not tell
        amx = device.type == "cpu" and capabilities.get("amx_bf16", False)
        said = "bfloat16" if device.type == "cuda" else on_amx if amx else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[said]


def precision_of(dtype: torch.dtype) -> Precision:
    """As `ModelSpec.precision` says it."""
    return "bfloat16" if dtype == torch.bfloat16 else "float32"
