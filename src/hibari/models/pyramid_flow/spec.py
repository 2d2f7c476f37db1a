"""What a folder of Pyramid Flow says of itself; read without torch.

The folder is that of a transformer, `diffusion_transformer_384p` or another; autoencoder and text encoders lie beside
it, as published.
"""

from __future__ import annotations

from pathlib import Path

from hibari.contracts import ModelSpec
from hibari.models.folder import read_json

AUTOENCODER = "causal_video_vae"
FPS = 24
MOST_FRAMES = 31  # latent frames: 241 pixel frames, ten seconds


def read(folder: Path, name: str) -> ModelSpec:
    """The spec of the model in a folder.

    Raises:
        WeightsError: a configuration is missing.
    """
    autoencoder = read_json(folder.parent / AUTOENCODER / "config.json")
    return ModelSpec(
        name=name,
        summary=f"Pyramid Flow from {folder.parent.name}/{folder.name}: text, picture and clip to video",
        sizes=((640, 384), (384, 640), (1280, 768), (768, 1280)),
        fps=FPS,
        time_factor=8,
        space_factor=8,
        latent_channels=autoencoder.get("encoder_out_channels", 16),
        window_frames=1,
        window_overlap=0,
        max_seconds=8 * (MOST_FRAMES - 1) / FPS,
        default_seconds=5,
        default_steps=20,
        default_guidance=7.0,
        guidance_interval=(0.0, 1.0),
        sigma_shift=1.0,
        licence="as published with the folder",
        weights=folder.name,
        size_step=64,
        noise="channels-first",
        kinds=("prompt", "picture", "storyboard", "extend"),
        noise_first=True,
        noise_moves=True,
        software=("transformers",),
    )
