"""Defends: LTX-Video's streaming decoder gives the frames of the whole decoder, however the clip is cut, and never
holds much of it."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import pytest
import torch
from open_models import randomised

from hibari.models.checkpoint import diffusers_class
from hibari.models.ltx_video.streaming import stream

CHANNELS = 4
VARIANTS: dict[str, dict[str, Any]] = {
    "0.9.0": {"decoder_block_out_channels": (6, 6, 8, 8)},
    "0.9.1 and later": {
        "timestep_conditioning": True, "decoder_inject_noise": (True, False, True, True),
        "upsample_residual": (True, True, True), "upsample_factor": (2, 2, 2),
        "decoder_block_out_channels": (8, 16, 32), "decoder_spatio_temporal_scaling": (True, True, True),
        "decoder_layers_per_block": (1, 2, 1, 2),
    },
    "causal": {"decoder_causal": True},
}  # fmt: skip


def decoder_of(variant: str) -> Any:
    autoencoder = diffusers_class("AutoencoderKLLTXVideo")(**{
        "latent_channels": CHANNELS, "block_out_channels": (4, 4, 4, 4), "decoder_block_out_channels": (8, 8, 8, 8),
        "layers_per_block": (1, 1, 1, 1, 1), "decoder_layers_per_block": (1, 2, 1, 1, 2),
        "spatio_temporal_scaling": (True, True, False, False),
        "decoder_spatio_temporal_scaling": (True, True, False, False), "patch_size": 2, **VARIANTS[variant],
    })  # fmt: skip
    return randomised(autoencoder, 3).decoder.double()  # though its norms round to float32


@pytest.mark.parametrize("variant", VARIANTS)
@torch.inference_mode()
def test_a_stream_is_the_whole(variant: str) -> None:
    decoder = decoder_of(variant)
    time = None if decoder.timestep_scale_multiplier is None else torch.tensor([0.05]).double()
    for frames in (1, 2, 7):
        generator = torch.Generator().manual_seed(frames)
        latent = torch.randn(1, CHANNELS, frames, 3, 4, generator=generator).double()
        torch.manual_seed(5)  # the whole decoder draws its noise from the global generator
        whole = decoder(latent, time)
        assert whole.std() > 0.05, "pictures of one colour would prove nothing"
        for chunk in (1, 3):
            parts = list(
                stream(decoder, latent, chunk, time_B=time, generator=torch.Generator().manual_seed(5))
            )
            torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_small_parts_are_left_to_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own convolution, to which it leaves small inputs, is several times slower: all go the fast way, and give
    the same."""
    decoder = decoder_of("0.9.0").float()
    shapes = list[int]()
    convolution = torch.mkldnn_convolution

    def watched(x: torch.Tensor, *args: Any) -> torch.Tensor:
        shapes.append(x.shape[:4].numel())
        return convolution(x, *args)

    latent = torch.randn(1, CHANNELS, 5, 3, 4, generator=torch.Generator().manual_seed(2))
    whole = decoder(latent, None)
    monkeypatch.setattr(torch, "mkldnn_convolution", watched)
    parts = list(stream(decoder, latent, 1, time_B=None, generator=torch.Generator()))
    torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-4, rtol=0)
    assert max(shapes) <= 20480, "torch would have done so by itself"


@torch.inference_mode()
def test_memory_does_not_grow_with_the_clip() -> None:
    """No convolution sees more than a chunk and what it keeps, the first frames come before the last are read, and what
    has been used is let go."""
    decoder, seen = decoder_of("0.9.0"), list[int]()
    for module in decoder.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2]))
    alive = list[int]()
    outputs = WeakSet[torch.Tensor]()
    decoder.conv_out.conv.register_forward_pre_hook(lambda *_: alive.append(len(outputs)))
    for block in (*decoder.mid_block.resnets, *decoder.up_blocks[-1].resnets):
        block.conv2.conv.register_forward_hook(lambda *called: outputs.add(called[2]))
    latent = torch.randn(1, CHANNELS, 40, 2, 2).double()
    parts = stream(decoder, latent, 1, time_B=None, generator=torch.Generator())
    first, calls = next(parts), len(seen)
    assert first.shape[2] > 0
    rest = sum(part.shape[2] for part in parts)
    assert calls < len(seen) / 2
    assert max(seen) <= 4 + 2  # a latent frame is four frames at the finest, and a kernel keeps two
    assert first.shape[2] + rest == 1 + 4 * 39
    assert max(alive) < 2 * max(alive[:10])
