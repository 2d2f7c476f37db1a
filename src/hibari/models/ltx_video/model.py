"""LTX-Video as the engine sees it. Its velocity and its noise levels are ours; only the layout differs.

The network is told a time a token, 1000 sigma, so that frames at sigma 0 are given frames: picture to video, extending
and connecting are all the same forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, InvalidRequest, ModelSpec
from hibari.diffusion.noise import draw, generator_at
from hibari.models.checkpoint import Part
from hibari.models.folder import Checkpoint, Source
from hibari.models.ltx_video import attention, layout
from hibari.models.ltx_video.plan import plan as staged
from hibari.models.ltx_video.plan import pressed
from hibari.models.ltx_video.presets import CONFIGURATIONS
from hibari.models.ltx_video.schedule import sigmas_of
from hibari.models.ltx_video.skipping import skipped
from hibari.models.ltx_video.streaming import stream
from hibari.models.parallel import Tokens
from hibari.models.pixels import frames_of, pixels_of, preview_map
from hibari.models.plan import Plan, Stage, plan
from hibari.models.protocol import Conditioning, Footprint
from hibari.models.published import Published
from hibari.models.text_encoder import T5

TEXT_TOKENS, LATER_TEXT_TOKENS = 128, 256
DECODE_TIMESTEP, DECODE_NOISE = 0.05, 0.025  # as published for the decoders that take them (0.9.1 and later)
CHUNK = 1  # latent frames that are decoded together: any number gives the same, one takes the least memory
HELD_FRAMES = 32  # at the finest level, that wait in the decoder for those after them; an estimate
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
            fill=self._make_ready,
            quantise=spec.quantised,
        )
        self._tokens = Tokens()
        self._autoencoder = Part(
            checkpoint.autoencoder, "AutoencoderKLLTXVideo", device=device, dtype=self.dtype
        )
        self._text = T5(checkpoint.text, device=device, dtype=self.dtype, quantise=spec.quantised)
        upsampler = layout.upsampler(checkpoint.text)
        self._upsampler = upsampler and Part(upsampler, _upsampler, device=device, dtype=self.dtype)
        self._scheduler = checkpoint.scheduler
        self._later = checkpoint.index["_class_name"] == "LTXConditionPipeline"
        # In diffusers' layout the pipeline's class says it.
        self._quadratic = checkpoint.index.get("quadratic", self._later)

    def plan(
        self, request: GenerationRequest, given_F: tuple[bool, ...] = (), *, changes: bool = False
    ) -> Plan:
        """See the protocol.

        Raises:
            InvalidRequest: the scheduler has no levels for so few steps, or see `plan.plan`.
        """
        cells = request.native_height * request.native_width // self.spec.space_factor**2
        frames = min(self.spec.latent_frames(request.native_frames), self.spec.window_frames)

        def levels(steps: int, cells: int) -> list[float]:
            return sigmas_of(self._scheduler, steps, frames * cells, quadratic=self._quadratic)

        if request.preset:
            stages = staged(
                self.spec,
                request,
                given_F,
                changes=changes,
                blocks=self._transformer.config.get("num_layers", 28),
                levels=levels,
                enlarge=self._enlarged,
            )
        else:
            sigmas = levels(request.steps, cells)
            stages = plan(self.spec, request, given_F, changes=changes, sigmas=sigmas)
        if request.given_noise:
            stages = tuple(_stirring(stage, given_F, request.given_noise) for stage in stages)
        if not all(isfinite(sigma) for stage in stages for sigma in stage.sigmas):
            raise InvalidRequest(
                f"steps is {request.steps}; this model's noise levels need at least 2", field="steps"
            )
        return stages

    def _make_ready(self, network: Any) -> None:
        """Our attention."""
        if not self.plain:
            attention.install(network, self._tokens)

    @property
    def heads(self) -> int:
        """See `SplitsTokens`."""
        return self._transformer.config.get("num_attention_heads", 32)

    def split(self, tokens: Tokens) -> None:
        """See `SplitsTokens`."""
        self._tokens = tokens
        self._transformer.release()

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
        moments_BF = self._moments(frames).expand(len(latent_BCFHW), -1)
        if "keyframes_BCKHW" in conditioning:  # frames of their own, each at its moment
            keyframes = conditioning["keyframes_BCKHW"]
            at_BK = conditioning["keyframes_at_BK"] - self.spec.time_factor * start_B[:, None]
            latent_BCFHW = torch.cat([keyframes, latent_BCFHW], 2)
            sigma_BF = torch.cat([sigma_BF.new_zeros(at_BK.shape), sigma_BF], 1)
            moments_BF = torch.cat([at_BK / self.spec.fps, moments_BF], 1)
        time_BF = 1000 * sigma_BF
        even = bool((sigma_BF == sigma_BF[:, :1]).all())
        # A time a token makes the modulation as large as the tokens; where there is one for all, it is kept small.
        time = time_BF[:, 0] if even else self._tokens.own(time_BF.repeat_interleave(height * width, dim=1))
        network = self._transformer.network
        with skipped(network, conditioning.get("skipped")):
            velocity_BSC = network(
                hidden_states=self._tokens.own(latent_BCFHW.flatten(2).transpose(1, 2)),
                encoder_hidden_states=conditioning["text"],
                timestep=time,
                encoder_attention_mask=conditioning["mask"],
                video_coords=self._tokens.own(self._places(moments_BF, height, width), 2),
                return_dict=False,
            )[0]
        velocity_BCFHW = self._tokens.whole(velocity_BSC).transpose(1, 2).unflatten(2, (-1, height, width))
        return velocity_BCFHW[:, :, -frames:]

    @torch.inference_mode()
    def decode(
        self, latent_CFHW: Tensor, generator: torch.Generator | None = None, *, preset: str = ""
    ) -> Iterator[Tensor]:
        """See the protocol; CHUNK latent frames at a time, each as soon as what comes after it is known, too."""
        generator = generator_at(None) if generator is None else generator
        latent = latent_CFHW[None].to(self.device, self.dtype)
        published = CONFIGURATIONS.get(preset)
        if published is None:
            latent = self._shifted_back(latent)
        if self._takes_noise:
            noise = draw(latent_CFHW.shape, self.spec.noise, generator).to(latent)
            latent = (1 - DECODE_NOISE) * latent + DECODE_NOISE * noise
        if published is not None:
            # The authors add the noise to the transformer's latent, diffusers to the autoencoder's.
            latent = self._shifted_back(pressed(latent, published.tone))
        for pixels in self._pixels(latent, generator):
            yield frames_of(pixels[0])

    @torch.inference_mode()
    def encode(self, frames_FHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the protocol."""
        autoencoder = self._autoencoder.network
        posterior = autoencoder.encode(pixels_of(frames_FHWC).to(self.device, self.dtype)).latent_dist
        latent = (posterior.mode() if generator is None else posterior.sample(generator)).float()
        return self._shifted(latent)[0]

    @cached_property
    def rgb_from_latent(self) -> Tensor:
        """See the protocol."""

        @torch.inference_mode()
        def decode(latent: Tensor) -> Tensor:
            return torch.cat(list(self._pixels(self._shifted_back(latent), generator_at(None))), dim=2)

        return preview_map(decode, self.spec.latent_channels, device=self.device, dtype=self.dtype)

    def footprint(self, frames: int, height: int, width: int) -> Footprint:
        """See the protocol."""
        config = self._transformer.config
        token = config.get("num_attention_heads", 32) * config.get("attention_head_dim", 64)
        tokens = frames * height * width
        autoencoder = self._autoencoder.config
        fine = autoencoder.get("decoder_block_out_channels", (128,))[0]
        held = HELD_FRAMES + CHUNK * self.spec.time_factor
        cells = held * height * width * (self.spec.space_factor // autoencoder.get("patch_size", 4)) ** 2
        return self._footprint(row=tokens * token * ROW_WIDTHS, decode=4 * fine * cells)

    @property
    def _text_encoders(self) -> tuple[T5, ...]:
        return (self._text,)

    def _moments(self, frames: int) -> Tensor:
        """When latent frames are [frames], in seconds. The later pipelines count a latent frame from the first of
        its pixel frames, of which the clip's first latent frame has only one; the earlier ones as if it had all."""
        seconds = self.spec.time_factor / self.spec.fps
        late = (self.spec.time_factor - 1) / self.spec.fps if self._later else 0.0
        return (torch.arange(frames, device=self.device) * seconds - late).clamp(min=0)

    def _places(self, moments_BF: Tensor, height: int, width: int) -> Tensor:
        """Where tokens are [B, 3, S], in seconds and px."""
        down, across = (
            torch.arange(side, device=self.device) * float(self.spec.space_factor) for side in (height, width)
        )
        shape = (*moments_BF.shape, height, width)
        places = (moments_BF[:, :, None, None], down[:, None], across)
        return torch.stack([place.expand(shape) for place in places], 1).flatten(2)

    @property
    def _takes_noise(self) -> bool:
        return bool(self._autoencoder.config.get("timestep_conditioning", False))

    def _enlarged(self, latent_BCFHW: Tensor) -> Tensor:
        """A latent [B, C, F, 2H, 2W] of the transformer's."""
        assert self._upsampler is not None
        small = self._shifted_back(latent_BCFHW.to(self.device, self.dtype))
        with torch.inference_mode():
            return self._shifted(self._upsampler.network(small).float())

    def _shifted(self, latent_BCFHW: Tensor) -> Tensor:
        """From the autoencoder's latents to the transformer's."""
        mean, std = self._mean_and_std(latent_BCFHW)
        return (latent_BCFHW - mean) / std

    def _shifted_back(self, latent_BCFHW: Tensor) -> Tensor:
        """From the transformer's latents to the autoencoder's."""
        mean, std = self._mean_and_std(latent_BCFHW)
        return latent_BCFHW * std + mean

    def _mean_and_std(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Of each channel of the autoencoder's latents."""
        autoencoder = self._autoencoder.network
        mean, std = (
            value[:, None, None, None].to(like)
            for value in (autoencoder.latents_mean, autoencoder.latents_std)
        )
        return mean, std / autoencoder.config.scaling_factor

    def _pixels(self, latent_BCFHW: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """Pixels [B, 3, frames, height, width] in [-1, 1] of the autoencoder's latents, part by part."""
        if any(self._autoencoder.config.get("decoder_inject_noise", ())):
            # The decoder of 0.9.1 draws from torch's global generator: ours decides where that would stand.
            generator = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=generator)))
        time_B = latent_BCFHW.new_full((len(latent_BCFHW),), DECODE_TIMESTEP) if self._takes_noise else None
        decoder = self._autoencoder.network.decoder
        return stream(decoder, latent_BCFHW, CHUNK, time_B=time_B, generator=generator)


def _stirring(stage: Stage, given_F: tuple[bool, ...], noise: float) -> Stage:
    """The stage with noise in what is given, where no stage before made any of that."""
    known = given_F or (False,) * stage.end
    made = [index for index, is_given in enumerate(stage.given, stage.start) if is_given and not known[index]]
    return stage if made else replace(stage, given_noise=noise)


def _upsampler(source: Source) -> Any:
    """The network that enlarges latents, on the meta device; diffusers has it in no list of classes."""
    kind = import_module("diffusers.pipelines.ltx.modeling_latent_upsampler").LTXLatentUpsamplerModel
    with torch.device("meta"):
        return kind.from_config(dict(source.config))
