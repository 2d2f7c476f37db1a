"""The open models as diffusers runs them: what ours are measured against."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, InvalidRequest
from hibari.models.checkpoint import diffusers_class, silence
from hibari.models.folder import read_json
from hibari.models.precision import dtype_for

PIPELINES = ("LTXPipeline", "CogVideoXPipeline", "MochiPipeline")


class Reference:
    """A pipeline of diffusers, as it is used: everything in memory."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Load it.

        Raises:
            InvalidRequest: it is none of PIPELINES.
        """
        check(str(folder))
        silence("diffusers", "transformers")
        name = read_json(folder / "model_index.json")["_class_name"]
        self._name, self._device = name, device
        self._pipeline = diffusers_class(name).from_pretrained(
            folder, dtype=dtype_for(device), local_files_only=True
        )
        self._pipeline.to(device)
        self._pipeline.transformer.requires_grad_(False)  # what counts work stumbles over it
        self._pipeline.set_progress_bar_config(disable=True)

    def sample(
        self,
        request: GenerationRequest,
        on_step: Callable[[], None],
        first_pass: Callable[[Callable[[], None]], object],
    ) -> Tensor:
        """The latent as the pipeline leaves it.

        Args:
            first_pass: is handed the first step's forward pass (with guidance one of two rows), and must call it.
        """
        transformer = self._pipeline.transformer
        forward = transformer.forward

        def first(*args: Any, **kwargs: Any) -> Any:
            del transformer.forward
            kept: list[Any] = []
            first_pass(lambda: kept.append(forward(*args, **kwargs)))
            return kept[0]

        transformer.forward = first

        def ended(_pipeline: object, _step: int, _time: object, kept: dict[str, Any]) -> dict[str, Any]:
            on_step()
            return kept

        extra = {"frame_rate": 25} if self._name == "LTXPipeline" else {}
        return self._pipeline(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            width=request.native_width,
            height=request.native_height,
            num_frames=request.native_frames,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator().manual_seed(request.seed),
            output_type="latent",
            callback_on_step_end=ended,
            **extra,
        ).frames

    def latent(self, sampled: Tensor, request: GenerationRequest) -> Tensor:
        """What `sample` gave as [C, F, H, W]."""
        if self._name != "LTXPipeline":
            one = sampled[0].float().cpu()
            return one.transpose(0, 1) if self._name == "CogVideoXPipeline" else one
        return self._unpacked(sampled, request)[0].float().cpu()

    def decode(self, sampled: Tensor, request: GenerationRequest) -> np.ndarray:
        """uint8 frames [F, H, W, 3] of what `sample` gave, as the pipeline makes frames."""
        vae, pipeline = self._pipeline.vae, self._pipeline
        if self._name == "CogVideoXPipeline":
            pixels = pipeline.decode_latents(sampled)
        elif self._name == "LTXPipeline":
            latents = pipeline._denormalize_latents(
                self._unpacked(sampled, request), vae.latents_mean, vae.latents_std, vae.config.scaling_factor
            )
            time = latents.new_full((1,), 0.05) if vae.config.timestep_conditioning else None
            pixels = vae.decode(latents.to(vae.dtype), time, return_dict=False)[0]
        else:
            mean, std = (
                sampled.new_tensor(values).view(-1, 1, 1, 1)
                for values in (vae.config.latents_mean or [0.0], vae.config.latents_std or [1.0])
            )
            pixels = vae.decode(sampled * std / vae.config.scaling_factor + mean, return_dict=False)[0]
        frames = pipeline.video_processor.postprocess_video(pixels, output_type="np")[0]
        return (frames * 255).round().astype(np.uint8)

    def _unpacked(self, sampled: Tensor, request: GenerationRequest) -> Tensor:
        vae = self._pipeline.vae
        space, time = vae.spatial_compression_ratio, vae.temporal_compression_ratio
        return self._pipeline._unpack_latents(
            sampled,
            1 + (request.native_frames - 1) // time,
            request.native_height // space,
            request.native_width // space,
        )


def check(model: str) -> None:
    """That diffusers can run the model.

    Raises:
        InvalidRequest: it cannot, or not as it is measured here.
    """
    index = Path(model) / "model_index.json"
    said = read_json(index).get("_class_name") if index.exists() else None
    if said not in PIPELINES:
        raise InvalidRequest(
            f"there is nothing to measure {model} against: it has no model_index.json that names one of "
            f"{', '.join(PIPELINES)}",
            field="against",
        )
