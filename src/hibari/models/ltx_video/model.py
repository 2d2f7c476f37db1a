"""LTX-Video as the engine sees it. Its velocity and its noise levels are ours; only the layout differs.

The network is told a time a token, 1000 sigma, so that frames at sigma 0 are given frames: picture to video, extending
and connecting are all the same forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from math import isfinite

import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, InvalidRequest, ModelSpec
from hibari.diffusion.noise import draw, generator_at
from hibari.models.checkpoint import Part
from hibari.models.folder import Checkpoint
from hibari.models.ltx_video.schedule import sigmas_of
from hibari.models.pixels import chunks_of, pixels_of, preview_map
from hibari.models.plan import Plan, plan
from hibari.models.protocol import Conditioning, Footprint
from hibari.models.published import Published
from hibari.models.text_encoder import T5

TEXT_TOKENS, LATER_TEXT_TOKENS = 128, 256
DECODE_TIMESTEP, DECODE_NOISE = 0.05, 0.025  # as published for the decoders that take them (0.9.1 and later)
ROW_WIDTHS = 20  # numbers a token that live at once in a block, in widths of the network; an estimate


class LtxVideo(Published):
    """`models.protocol.Model` of a folder with LTXPipeline, LTXImageToVideoPipeline or LTXConditionPipeline."""

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint, *, device: torch.device) -> None:
        """Check the checkpoint. See `load.load`."""
        self._open(spec, checkpoint.paths, device)
        self._transformer = Part(
            checkpoint.transformer,
            "LTXVideoTransformer3DModel",
            device=device,
            dtype=self.dtype,
            quantise=spec.quantised,
        )
        self._autoencoder = Part(
            checkpoint.autoencoder, "AutoencoderKLLTXVideo", device=device, dtype=self.dtype
        )
        self._text = T5(checkpoint.text, device=device, dtype=self.dtype)
        self._scheduler = checkpoint.scheduler
        self._later = checkpoint.index["_class_name"] == "LTXConditionPipeline"
        self._quadratic = checkpoint.index.get(
            "quadratic", self._later
        )  # diffusers has it by the class alone

    def plan(
        self, request: GenerationRequest, given_F: tuple[bool, ...] = (), *, changes: bool = False
    ) -> Plan:
        """See the protocol.

        Raises:
            InvalidRequest: the scheduler has no levels for so few steps.
        """
        cells = request.native_height * request.native_width // self.spec.space_factor**2
        frames = min(self.spec.latent_frames(request.native_frames), self.spec.window_frames)
        sigmas = sigmas_of(self._scheduler, request.steps, frames * cells, quadratic=self._quadratic)
        if not all(map(isfinite, sigmas)):
            raise InvalidRequest(
                f"steps is {request.steps}; this model's noise levels need at least 2", field="steps"
            )
        return plan(self.spec, request, given_F, changes=changes, sigmas=sigmas)

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """`text` [B, L, D] and its `mask` [B, L]. The later pipelines tell T5 the mask, too."""
        tokens = LATER_TEXT_TOKENS if self._later else TEXT_TOKENS
        text, mask = self._text(prompts, tokens, masked=self._later)
        return {"text": text, "mask": mask}

    def prepare(self, conditioning: Conditioning) -> Conditioning:
        """See the protocol: nothing that would be worth its memory can be prepared."""
        return conditioning

    def velocity(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, conditioning: Conditioning, start_B: Tensor
    ) -> Tensor:
        """See the protocol."""
        _, _, frames, height, width = latent_BCFHW.shape
        time_BF = 1000 * sigma_BF
        even = bool((sigma_BF == sigma_BF[:, :1]).all())
        # A time a token makes the modulation as large as the tokens; where there is one for all, it is kept small.
        time = time_BF[:, 0] if even else time_BF.repeat_interleave(height * width, dim=1)
        velocity_BSC = self._transformer.network(
            hidden_states=latent_BCFHW.flatten(2).transpose(1, 2),
            encoder_hidden_states=conditioning["text"],
            timestep=time,
            encoder_attention_mask=conditioning["mask"],
            num_frames=frames,
            height=height,
            width=width,
            **self._places(len(latent_BCFHW), frames, height, width),
            return_dict=False,
        )[0]
        return velocity_BSC.transpose(1, 2).unflatten(2, (frames, height, width))

    @torch.inference_mode()
    def decode(self, latent_CFHW: Tensor, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """See the protocol. The decoder looks ahead in time, so the whole clip is decoded at once."""
        generator = generator_at(None) if generator is None else generator
        latent = self._shifted_back(latent_CFHW[None].to(self.device, self.dtype))
        if self._takes_noise:
            noise = draw(latent_CFHW.shape, self.spec.noise, generator).to(latent)
            latent = (1 - DECODE_NOISE) * latent + DECODE_NOISE * noise
        yield from chunks_of(self._pixels(latent, generator)[0])

    @torch.inference_mode()
    def encode(self, frames_FHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the protocol."""
        autoencoder = self._autoencoder.network
        posterior = autoencoder.encode(pixels_of(frames_FHWC).to(self.device, self.dtype)).latent_dist
        latent = (posterior.mode() if generator is None else posterior.sample(generator)).float()
        mean, std = (
            value.float()[:, None, None, None]
            for value in (autoencoder.latents_mean, autoencoder.latents_std)
        )
        return ((latent - mean) / std)[0]

    @cached_property
    def rgb_from_latent(self) -> Tensor:
        """See the protocol."""

        @torch.inference_mode()
        def decode(latent: Tensor) -> Tensor:
            return self._pixels(self._shifted_back(latent), generator_at(None))

        return preview_map(decode, self.spec.latent_channels, device=self.device, dtype=self.dtype)

    def footprint(self, frames: int, height: int, width: int) -> Footprint:
        """See the protocol."""
        config = self._transformer.config
        token = config.get("num_attention_heads", 32) * config.get("attention_head_dim", 64)
        tokens = frames * height * width
        autoencoder = self._autoencoder.config
        fine = autoencoder.get("decoder_block_out_channels", (128,))[0]
        cells = (
            tokens * self.spec.time_factor * (self.spec.space_factor // autoencoder.get("patch_size", 4)) ** 2
        )
        return self._footprint(row=tokens * token * ROW_WIDTHS, decode=4 * fine * cells)

    @property
    def _text_encoders(self) -> tuple[T5, ...]:
        return (self._text,)

    def _places(self, batch: int, frames: int, height: int, width: int) -> dict[str, object]:
        """Where tokens are, in seconds and px. The later pipelines count a latent frame's time from the first of its
        pixel frames, of which the clip's first latent frame has only one; the earlier ones as if it had all."""
        seconds, cell_px = self.spec.time_factor / self.spec.fps, self.spec.space_factor
        if not self._later:
            return {"rope_interpolation_scale": (seconds, cell_px, cell_px)}
        late = (self.spec.time_factor - 1) / self.spec.fps
        time = (torch.arange(frames, device=self.device) * seconds - late).clamp(min=0)
        across = (torch.arange(side, device=self.device) * float(cell_px) for side in (height, width))
        places_3S = torch.stack(torch.meshgrid(time, *across, indexing="ij")).flatten(1)
        return {"video_coords": places_3S.expand(batch, -1, -1)}

    @property
    def _takes_noise(self) -> bool:
        return bool(self._autoencoder.config.get("timestep_conditioning", False))

    def _shifted_back(self, latent_BCFHW: Tensor) -> Tensor:
        """From the transformer's latents to the autoencoder's."""
        autoencoder = self._autoencoder.network
        mean, std = (
            value[:, None, None, None].to(latent_BCFHW)
            for value in (autoencoder.latents_mean, autoencoder.latents_std)
        )
        return latent_BCFHW * std / autoencoder.config.scaling_factor + mean

    def _pixels(self, latent_BCFHW: Tensor, generator: torch.Generator) -> Tensor:
        time = latent_BCFHW.new_full((len(latent_BCFHW),), DECODE_TIMESTEP) if self._takes_noise else None
        decode = self._autoencoder.network.decode
        if not any(self._autoencoder.config.get("decoder_inject_noise", ())):
            return decode(latent_BCFHW, time, return_dict=False)[0]
        # The decoder of 0.9.1 adds noise out of torch's global generator: ours decides on it, and nobody else notices.
        with torch.random.fork_rng():
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            return decode(latent_BCFHW, time, return_dict=False)[0]
