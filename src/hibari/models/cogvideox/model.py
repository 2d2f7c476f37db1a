"""CogVideoX as the engine sees it: a variance-preserving path in our convention, and given pictures beside the clip."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, InvalidRequest, ModelSpec
from hibari.models.checkpoint import Part
from hibari.models.cogvideox import attention
from hibari.models.cogvideox.decoder import Decoder
from hibari.models.cogvideox.positions import rotary
from hibari.models.cogvideox.schedule import Levels, norm
from hibari.models.cogvideox.spec import DYNAMIC
from hibari.models.folder import Checkpoint
from hibari.models.parallel import Tokens
from hibari.models.pixels import frames_of, pixels_of, preview_map
from hibari.models.plan import Plan, plan
from hibari.models.protocol import Conditioning, Footprint
from hibari.models.published import Published
from hibari.models.text_encoder import T5

CHUNK = 2  # latent frames that are decoded together: the group norms mix them, so it belongs to the result
OFFSET = 2.0  # what the networks of 1.5 that are shown a picture are told besides the timestep
ROW_WIDTHS = 24  # numbers a token that live at once in a block, in widths of the network; an estimate


class CogVideoX(Published):
    """`models.protocol.Model` of a folder with CogVideoXPipeline, CogVideoXVideoToVideoPipeline or
    CogVideoXImageToVideoPipeline."""

    _modulation = re.compile(r"transformer_blocks\.\d+\.norm[12]\.linear")

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint, *, device: torch.device) -> None:
        """Check the checkpoint. See `load.load`."""
        self._open(spec, checkpoint.paths, device)
        self._transformer = Part(
            checkpoint.transformer,
            "CogVideoXTransformer3DModel",
            device=device,
            dtype=self.dtype,
            fill=self._make_ready,
            quantise=spec.quantised,
            apart=self._is_apart,
        )
        self._autoencoder = Part(
            checkpoint.autoencoder, "AutoencoderKLCogVideoX", device=device, dtype=self.dtype
        )
        self._text = T5(checkpoint.text, device=device, dtype=self.dtype, quantise=spec.quantised)
        self._tokens = Tokens()
        self._levels = Levels(checkpoint.scheduler)
        self._rotary: tuple[tuple[int, ...], tuple[Tensor, Tensor]] | None = None

    def plan(
        self, request: GenerationRequest, given_F: tuple[bool, ...] = (), *, changes: bool = False
    ) -> Plan:
        """See the protocol.

        Raises:
            InvalidRequest: no picture is given where one is wanted, frames are given that these weights have no place
                for, or the size is larger than the positions that the network knows.
        """
        if self.spec.given == "beside" and (not given_F or not given_F[0] or any(given_F[1:])):
            raise InvalidRequest(
                "these weights make videos of a picture: give one, as the first frame, and no other",
                field="image",
            )
        if self.spec.given == "clean" and any(given_F):
            raise InvalidRequest(
                "these weights of CogVideoX know no given frames; take those that are made for a picture (I2V)",
                field="image",
            )
        width, height = self.spec.sizes[0]
        if self.spec.lead_frames and (request.native_width > width or request.native_height > height):
            raise InvalidRequest(
                f"the size is {request.native_width}x{request.native_height}; this model makes at most "
                f"{width}x{height}",
                field="size",
            )
        stages = plan(self.spec, request, given_F, changes=changes, sigmas=self._levels.sigmas(request.steps))
        if request.sampler in ("euler", "dpm"):  # the reference's own
            landing = self._levels.landing(stages[0].sampler, request.steps)
            stages = tuple(replace(stage, sampler=landing) for stage in stages)
        if request.preset != DYNAMIC:
            return stages
        return tuple(self._levels.dynamic(stage, request) for stage in stages)

    @property
    def heads(self) -> int:
        """See `SplitsTokens`."""
        return self._transformer.config.get("num_attention_heads", 30)

    def split(self, tokens: Tokens) -> None:
        """See `SplitsTokens`."""
        self._tokens = tokens
        self._transformer.release()

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """`text` [B, L, D]. Padding counts like words: neither T5 nor the network is told the mask."""
        tokens = self._transformer.config.get("max_text_seq_length", 226)
        return {"text": self._text(prompts, tokens, masked=False)[0]}

    def prepare(self, conditioning: Conditioning) -> Conditioning:
        """See the protocol: text and video go through the blocks together, so nothing can be prepared."""
        return conditioning

    @torch.inference_mode()
    def tables(self, conditioning: Conditioning, sigmas: Sequence[float]) -> Conditioning:
        """See `HasTables`: `modulation` [B, sigmas, widths of all layers], the same for each prompt."""
        if self.plain:
            return {}
        table = self._modulated(self._level(torch.tensor(sigmas, device=self.device)))
        return {"modulation": table.expand(len(conditioning["text"]), -1, -1)}

    def _level(self, sigma_S: Tensor) -> Tensor:
        """What the network is told of noise levels [S, D]."""
        network = self._transformer.network
        level_SD = network.time_embedding(network.time_proj(self._levels.timesteps(sigma_S)).to(self.dtype))
        if network.ofs_embedding is not None:
            offset = torch.full((1,), OFFSET, dtype=self.dtype, device=self.device)
            level_SD = level_SD + network.ofs_embedding(network.ofs_proj(offset).to(self.dtype))
        return level_SD

    def velocity(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, conditioning: Conditioning, start_B: Tensor
    ) -> Tensor:
        """See the protocol."""
        sigma_B = sigma_BF[:, 0]  # one level for all frames: none can be given
        alpha, noise, scale = (
            value[:, None, None, None, None] for value in (1 - sigma_B, sigma_B, norm(sigma_B))
        )
        x_BCFHW = latent_BCFHW / scale.to(latent_BCFHW)
        shown = [x_BCFHW, conditioning["given_BCFHW"]] if "given_BCFHW" in conditioning else [x_BCFHW]
        extra: dict[str, Any] = {}
        if self._transformer.config.get("ofs_embed_dim") is not None:
            extra["ofs"] = x_BCFHW.new_full((1,), OFFSET)
        network = self._transformer.network
        if not self.plain:
            known = conditioning.get("modulation")
            self._tell(network, self._modulated(self._level(sigma_B)) if known is None else known)
        predicted_BCFHW = network(
            hidden_states=torch.cat(shown, dim=1).movedim(1, 2),
            encoder_hidden_states=conditioning["text"],
            timestep=self._levels.timesteps(sigma_B),
            image_rotary_emb=self._places(*latent_BCFHW.shape[2:]),
            return_dict=False,
            **extra,
        )[0].movedim(2, 1)
        return (predicted_BCFHW + (noise - alpha) * x_BCFHW) / scale

    @torch.inference_mode()
    def decode(
        self, latent_CFHW: Tensor, generator: torch.Generator | None = None, *, preset: str = ""
    ) -> Iterator[Tensor]:
        """See the protocol; CHUNK latent frames at a time, the first one with the first of them."""
        latent = latent_CFHW[None, :, self.spec.lead_frames :].to(self.device, self.dtype)
        for pixels in self._pixels(latent):
            yield frames_of(pixels[0])

    def _pixels(self, latent: Tensor) -> Iterator[Tensor]:
        """Pixels [B, 3, frames, height, width] in [-1, 1] of a latent without leading frames, chunk by chunk."""
        autoencoder = self._autoencoder.network
        latent = latent / autoencoder.config.scaling_factor
        decoder = Decoder(autoencoder.decoder)
        frames, start = latent.shape[2], 0
        while start < frames:
            end = start + CHUNK + (start == 0)
            chunk = latent[:, :, start:end]
            if autoencoder.post_quant_conv is not None:
                chunk = autoencoder.post_quant_conv(chunk)
            yield decoder(chunk)
            start = end

    @torch.inference_mode()
    def encode(self, frames_FHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the protocol."""
        autoencoder = self._autoencoder.network
        posterior = autoencoder.encode(pixels_of(frames_FHWC).to(self.device, self.dtype)).latent_dist
        latent = (posterior.mode() if generator is None else posterior.sample(generator)).float()
        scale = autoencoder.config.scaling_factor
        # The networks of 1.5 that are shown a picture were trained on latents that were scaled the wrong way round.
        inverted = self.spec.given == "beside" and autoencoder.config.invert_scale_latents
        return (latent / scale if inverted else latent * scale)[0]

    @cached_property
    def rgb_from_latent(self) -> Tensor:
        """See the protocol."""

        @torch.inference_mode()
        def decode(latent: Tensor) -> Tensor:
            return torch.cat(list(self._pixels(latent)), dim=2)

        return preview_map(decode, self.spec.latent_channels, device=self.device, dtype=self.dtype)

    def footprint(self, frames: int, height: int, width: int) -> Footprint:
        """See the protocol."""
        config = self._transformer.config
        token = config.get("num_attention_heads", 30) * config.get("attention_head_dim", 64)
        depth = config.get("patch_size_t") or 1
        tokens = frames // depth * height * width // config.get("patch_size", 2) ** 2
        fine = self._autoencoder.config.get("block_out_channels", (128,))[0]
        pixels = (CHUNK + 1) * self.spec.time_factor * height * width * self.spec.space_factor**2
        tokens += config.get("max_text_seq_length", 226)
        return self._footprint(row=tokens * token * ROW_WIDTHS, decode=4 * fine * pixels)

    @property
    def _text_encoders(self) -> tuple[T5, ...]:
        return (self._text,)

    def _make_ready(self, network: Any) -> None:
        """The sinusoids that 2B adds are in no file; and our attention."""
        embed = network.patch_embed
        places = getattr(embed, "pos_embedding", None)
        if places is not None and places.is_meta:
            embed.pos_embedding = embed._get_positional_embeddings(
                embed.sample_height, embed.sample_width, embed.sample_frames
            )
        if not self.plain:
            attention.install(network, self._tokens)
            self._set_apart(network)

    def _places(self, *shape: int) -> tuple[Tensor, Tensor] | None:
        """Rotary tables of a latent's F, H and W, kept for the next step; None for networks that add positions."""
        config = self._transformer.network.config
        if not config["use_rotary_positional_embeddings"]:
            return None
        if self._rotary is None or self._rotary[0] != shape:
            frames, height, width = shape
            self._rotary = shape, rotary(config, frames, height, width, self.device)
        cos, sin = self._rotary[1]
        return self._tokens.own(cos, 0), self._tokens.own(sin, 0)
