"""What a folder of CogVideoX says of itself; read without torch."""

from __future__ import annotations

from pathlib import Path

from hibari.contracts import ModelSpec, Preset
from hibari.models import folder as folders

DYNAMIC = "dynamic-guidance"


def read(folder: Path, name: str) -> ModelSpec:
    """The spec of the model in a folder: 2B and 5B, 1.5 (whose tokens are two latent frames deep), and those that are
    shown a picture (whose network takes twice the channels).

    Raises:
        WeightsError: a configuration is missing.
    """
    checkpoint = folders.read(folder)
    transformer, vae = checkpoint.transformer.config, checkpoint.autoencoder.config
    scheduler = checkpoint.scheduler
    channels = transformer.get("out_channels") or 16
    pictured = transformer.get("in_channels", 16) == 2 * channels
    later = transformer.get("patch_size_t") is not None
    space = 2 ** (len(vae.get("block_out_channels", (128, 256, 256, 512))) - 1)
    time = round(vae.get("temporal_compression_ratio", 4))
    width, height = transformer.get("sample_width", 90) * space, transformer.get("sample_height", 60) * space
    fps = 16 if later else 8
    frames = 1 + (max(161, transformer.get("sample_frames", 81)) if later else 48) // time
    fixed = bool(transformer.get("use_learned_positional_embeddings", False))
    return ModelSpec(
        name=name,
        summary=f"CogVideoX from {folder.name}: {'text and a picture' if pictured else 'text'} to video",
        sizes=((width, height),) if fixed else ((width, height), (height, width)),
        fps=fps,
        time_factor=time,
        space_factor=space,
        latent_channels=channels,
        window_frames=frames + later,
        window_overlap=0,
        max_seconds=(1 + time * (frames - 1)) / fps,
        default_seconds=(1 + time * (min(frames, 21) - 1)) / fps,
        default_steps=50,
        default_guidance=6.0,
        guidance_interval=(0.0, 1.0),
        sigma_shift=1.0,
        licence="as published with the folder",
        weights=folder.name,
        size_step=0 if fixed else space * transformer.get("patch_size", 2),
        noise="frames-first",
        software=("diffusers", "transformers"),
        default_sampler="dpm" if scheduler.get("_class_name") == "CogVideoXDPMScheduler" else "euler",
        given="beside" if pictured else "clean",
        presets=(
            Preset(
                DYNAMIC,
                "a guidance scale that moves between 1 and 1 + the one asked for from step to step",
                steps=50,
                guidance_scale=6.0,
                fixed=False,
            ),
        ),
        kinds=("picture", "storyboard") if pictured else ("prompt", "storyboard", "remix", "edit", "blend"),
        latent_step=2,  # the autoencoder decodes two latent frames at a time, and the first with them
        lead_frames=int(later),
    )
