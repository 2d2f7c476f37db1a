"""What a folder of Mochi 1 says of itself; read without torch."""

from __future__ import annotations

from math import prod
from pathlib import Path

from hibari.contracts import ModelSpec
from hibari.models.mochi import layout

FPS = 30
WINDOW_FRAMES = 28  # latent frames: 163 pixel frames, what it was trained on


def read(folder: Path, name: str) -> ModelSpec:
    """The spec of the model in a folder.

    Raises:
        WeightsError: a configuration is missing.
    """
    checkpoint = layout.read(folder)
    transformer, vae = checkpoint.transformer.config, checkpoint.autoencoder.config
    space = prod(vae.get("spatial_expansions", (2, 2, 2)))
    time = prod(vae.get("temporal_expansions", (1, 2, 3)))
    most_s = (1 + time * (WINDOW_FRAMES - 1)) / FPS
    return ModelSpec(
        name=name,
        summary=f"Mochi 1 from {folder.name}: text to video",
        sizes=((848, 480), (480, 848)),
        fps=FPS,
        time_factor=time,
        space_factor=space,
        latent_channels=transformer.get("in_channels", 12),
        window_frames=WINDOW_FRAMES,
        window_overlap=0,
        max_seconds=most_s,
        default_seconds=most_s,
        default_steps=64,
        default_guidance=4.5,
        guidance_interval=(0.0, 1.0),
        sigma_shift=1.0,
        licence="as published with the folder",
        weights=folder.name,
        size_step=space * transformer.get("patch_size", 2),
        noise="channels-first",
        kinds=("prompt", "storyboard", "remix", "edit", "blend"),
        software=("diffusers", "transformers"),
    )
