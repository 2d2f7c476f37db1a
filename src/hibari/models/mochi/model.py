"""Mochi 1 as the engine sees it: its time is 1 - sigma, and its velocity ours with the other sign."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, InvalidRequest, ModelSpec, WeightsError
from hibari.diffusion.schedule import linear_quadratic
from hibari.models.checkpoint import Part
from hibari.models.folder import Checkpoint
from hibari.models.mochi.attention import Attention
from hibari.models.mochi.streaming import make_streaming, stream
from hibari.models.parallel import Tokens
from hibari.models.pixels import frames_of, pixels_of, preview_map
from hibari.models.plan import Plan, plan
from hibari.models.protocol import Conditioning, Footprint
from hibari.models.published import Published
from hibari.models.text_encoder import T5

TEXT_TOKENS = 256
CHUNK = 1  # latent frames that are decoded together: any number gives the same, one takes the least memory
ROW_WIDTHS = 24  # numbers a token that live at once in a block, in widths of the network; an estimate


class Mochi(Published):
    """`models.protocol.Model` of a folder with MochiPipeline."""

    _modulation = re.compile(r"transformer_blocks\.\d+\.norm1(_context)?\.linear")

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint, *, device: torch.device) -> None:
        """Check the checkpoint. See `load.load`."""
        self._open(spec, checkpoint.paths, device)
        self._transformer = Part(
            checkpoint.transformer,
            "MochiTransformer3DModel",
            device=device,
            dtype=self.dtype,
            fill=self._make_ready,
            quantise=spec.quantised,
            apart=self._is_apart,
        )
        self._attention = Attention(Tokens())
        self._autoencoder = Part(
            checkpoint.autoencoder, "AutoencoderKLMochi", device=device, dtype=self.dtype, fill=make_streaming
        )
        self._text = T5(checkpoint.text, device=device, dtype=self.dtype, quantise=spec.quantised)
        scheduler = checkpoint.scheduler
        for setting, wanted in (("shift", 1.0), ("use_dynamic_shifting", False)):
            if (said := scheduler.get(setting, wanted)) != wanted:
                raise WeightsError(f"the scheduler's {setting} is {said!r}; that of Mochi 1 is {wanted!r}")
        index = checkpoint.index
        self._zero_empty = bool(index.get("force_zeros_for_empty_prompt", False))

    def plan(
        self, request: GenerationRequest, given_F: tuple[bool, ...] = (), *, changes: bool = False
    ) -> Plan:
        """See the protocol.

        Raises:
            InvalidRequest: frames are given: its network knows one time for all of them.
        """
        if any(given_F):
            raise InvalidRequest("Mochi 1 makes videos of text alone; leave the picture out", field="image")
        return plan(self.spec, request, given_F, changes=changes, sigmas=linear_quadratic(request.steps))

    @property
    def heads(self) -> int:
        """See `SplitsTokens`."""
        return self._transformer.config.get("num_attention_heads", 24)

    def split(self, tokens: Tokens) -> None:
        """See `SplitsTokens`."""
        self._attention = Attention(tokens)
        self._transformer.release()

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """`text` [B, TEXT_TOKENS, D] and its `mask` [B, TEXT_TOKENS]; where the folder says so, an empty prompt has no
        token at all."""
        text, mask = self._text(prompts, TEXT_TOKENS, masked=True, zero_empty=self._zero_empty)
        return {"text": text, "mask": mask}

    def prepare(self, conditioning: Conditioning) -> Conditioning:
        """See the protocol: text and video go through the blocks together, so nothing can be prepared."""
        return conditioning

    @torch.inference_mode()
    def tables(self, conditioning: Conditioning, sigmas: Sequence[float]) -> Conditioning:
        """See `HasTables`: `modulation` [B, sigmas, widths of all layers], of each prompt at each level."""
        if self.plain:
            return {}
        embed = self._transformer.network.time_embed
        prompt_BD = embed.pooler(conditioning["text"], conditioning["mask"])
        level_SD = self._level(torch.tensor(sigmas, device=self.device))
        both = prompt_BD[:, None] + level_SD
        return {"modulation": self._modulated(both.flatten(0, 1)).unflatten(0, both.shape[:2])}

    def _level(self, sigma_S: Tensor) -> Tensor:
        """What the network is told of noise levels [S, D]."""
        embed = self._transformer.network.time_embed
        timestep_S = (1000 * (1 - sigma_S)).to(self.dtype)
        return embed.timestep_embedder(embed.time_proj(timestep_S).to(self.dtype))

    def velocity(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, conditioning: Conditioning, start_B: Tensor
    ) -> Tensor:
        """See the protocol."""
        network = self._transformer.network
        if not self.plain:
            self._attention.words = conditioning["mask"].sum(1).tolist()
            known = conditioning.get("modulation")
            if known is None:
                prompt_BD = network.time_embed.pooler(conditioning["text"], conditioning["mask"])
                known = self._modulated(prompt_BD + self._level(sigma_BF[:, 0]))
            self._tell(network, known)
        return -network(
            hidden_states=latent_BCFHW,
            encoder_hidden_states=conditioning["text"],
            timestep=(1000 * (1 - sigma_BF[:, 0])).to(latent_BCFHW.dtype),
            encoder_attention_mask=conditioning["mask"],
            return_dict=False,
        )[0]

    @torch.inference_mode()
    def decode(
        self, latent_CFHW: Tensor, generator: torch.Generator | None = None, *, preset: str = ""
    ) -> Iterator[Tensor]:
        """See the protocol; CHUNK latent frames at a time."""
        latent = self._shifted_back(latent_CFHW[None].to(self.device, self.dtype))
        for pixels in stream(self._autoencoder.network, latent, CHUNK):
            yield frames_of(pixels[0])

    @torch.inference_mode()
    def encode(self, frames_FHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the protocol."""
        autoencoder = self._autoencoder.network
        posterior = autoencoder.encode(pixels_of(frames_FHWC).to(self.device, self.dtype)).latent_dist
        latent = (posterior.mode() if generator is None else posterior.sample(generator)).float()
        mean, std = self._mean_and_std(latent)
        return ((latent - mean) * autoencoder.config.scaling_factor / std)[0]

    @cached_property
    def rgb_from_latent(self) -> Tensor:
        """See the protocol."""

        @torch.inference_mode()
        def decode(latent: Tensor) -> Tensor:
            return self._autoencoder.network.decode(self._shifted_back(latent)).sample

        return preview_map(decode, self.spec.latent_channels, device=self.device, dtype=self.dtype)

    def footprint(self, frames: int, height: int, width: int) -> Footprint:
        """See the protocol."""
        config = self._transformer.config
        token = config.get("num_attention_heads", 24) * config.get("attention_head_dim", 128)
        tokens = frames * height * width // config.get("patch_size", 2) ** 2 + TEXT_TOKENS
        fine = self._autoencoder.config.get("decoder_block_out_channels", (128,))[0]
        pixels = (CHUNK * self.spec.time_factor + 2) * height * width * self.spec.space_factor**2
        return self._footprint(row=tokens * token * ROW_WIDTHS, decode=4 * fine * pixels)

    @property
    def _text_encoders(self) -> tuple[T5, ...]:
        return (self._text,)

    def _make_ready(self, network: Any) -> None:
        if not self.plain:
            self._attention.install(network)
            self._set_apart(network)

    def _mean_and_std(self, like: Tensor) -> tuple[Tensor, Tensor]:
        config = self._autoencoder.network.config
        mean, std = (
            like.new_tensor(values)[:, None, None, None]
            for values in (config.latents_mean or [0.0], config.latents_std or [1.0])
        )
        return mean, std

    def _shifted_back(self, latent_BCFHW: Tensor) -> Tensor:
        """From the transformer's latents to the autoencoder's."""
        mean, std = self._mean_and_std(latent_BCFHW)
        return latent_BCFHW * std / self._autoencoder.network.config.scaling_factor + mean
