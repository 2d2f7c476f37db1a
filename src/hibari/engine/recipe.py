"""What a clip's recipe says of how it was made."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata

import numpy as np
import torch

from hibari.contracts import GenerationRequest, Recipe
from hibari.models.protocol import Model


def recipe_of(
    request: GenerationRequest, model: Model, extra: Mapping[str, object], upscaled: int = 1
) -> Recipe:
    """The recipe of a clip that `model` made of `request` and enlarged `upscaled` times."""
    spec = model.spec
    how = {"quantised": spec.quantised} if spec.quantised else {}
    if spec.precision != "float32":
        how["precision"] = spec.precision
    return Recipe(
        request=request,
        weights_sha256=model.weights_sha256,
        versions={**versions(), **{name: metadata.version(name) for name in spec.software}},
        extra={**extra, **how},
        postprocess=_said(request, upscaled),
    )


def _said(request: GenerationRequest, upscaled: int) -> tuple[str, ...]:
    if upscaled == 1:
        return ()
    width, height = request.native_width, request.native_height
    larger = f"{width * upscaled}x{height * upscaled}"
    return (f"upscaled from {width}x{height} to {larger} px by the model's own network",)


def versions() -> dict[str, str]:
    """The software whose change could change the pixels: numpy draws the noise."""
    try:
        hibari = metadata.version("hibari")
    except metadata.PackageNotFoundError:  # run from a source tree
        hibari = "source"
    return {
        "hibari": hibari,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
