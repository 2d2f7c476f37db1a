"""What a folder of LTX-Video says of itself; read without torch."""

from __future__ import annotations

from pathlib import Path

from hibari.contracts import ModelSpec, WeightsError
from hibari.models.ltx_video import layout
from hibari.models.ltx_video.presets import presets

FPS = 25
GIVEN_NOISE = 0.15  # `image_cond_noise_scale` of the authors' and of diffusers' LTXConditionPipeline
KEYFRAMES = 2  # `num_prefix_latent_frames` of diffusers' LTXConditionPipeline
WINDOW_FRAMES = 33  # latent frames: 257 pixel frames, the most it was trained on


def read(path: Path, name: str) -> ModelSpec:
    """The spec of the model in a folder or a file.

    Raises:
        WeightsError: a configuration is missing, or of a network that this family does not have.
    """
    checkpoint = layout.read(path)
    transformer, vae = checkpoint.transformer.config, checkpoint.autoencoder.config
    for setting in ("patch_size", "patch_size_t"):
        if (value := transformer.get(setting, 1)) != 1:
            raise WeightsError(
                f"{checkpoint.transformer.where} has {setting} {value}; the transformers of LTX-Video have 1"
            )
    halvings = sum(vae.get("spatio_temporal_scaling", (True, True, True, False)))
    space = vae.get("spatial_compression_ratio") or vae.get("patch_size", 4) * 2**halvings
    time = vae.get("temporal_compression_ratio") or vae.get("patch_size_t", 1) * 2**halvings
    later = checkpoint.index["_class_name"] == "LTXConditionPipeline"
    most = 1 + time * (WINDOW_FRAMES - 1)
    return ModelSpec(
        name=name,
        summary=f"LTX-Video from {path.name}: text, picture and clip to video",
        sizes=((704, 512), (512, 704), (512, 512), (1216, 704), (704, 1216)),
        fps=FPS,
        time_factor=time,
        space_factor=space,
        latent_channels=transformer.get("in_channels", 128),
        window_frames=WINDOW_FRAMES,
        window_overlap=WINDOW_FRAMES // 3,
        max_seconds=most / FPS,
        default_seconds=(1 + time * 20) / FPS,
        default_steps=50,
        default_guidance=3.0,
        guidance_interval=(0.0, 1.0),
        sigma_shift=1.0,
        licence="as published with the folder",
        weights=path.name,
        size_step=space,
        noise="channels-first",
        default_sampler="lcm" if checkpoint.scheduler.get("stochastic_sampling") else "euler",
        given_noise=GIVEN_NOISE if later else None,
        keyframes=KEYFRAMES if later else 0,
        noise_first=later,
        presets=presets(
            transformer.get("num_layers", 28), enlarges=layout.upsampler(checkpoint.text) is not None
        ),
        software=("diffusers", "transformers"),
    )
