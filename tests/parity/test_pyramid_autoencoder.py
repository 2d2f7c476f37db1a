"""Pyramid Flow's autoencoder gives what the authors' gives, at once and in chunks."""

from __future__ import annotations

import pytest
import torch
from pyramid_golden import golden

from hibari.models.pyramid_flow.autoencoder import CausalConv

TOLERANCE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def autoencoder():
    return golden("pyramid_autoencoder").network


@pytest.fixture(scope="module")
def tensors():
    return golden("pyramid_autoencoder").tensors


@pytest.mark.parametrize("chunk", [1, 2, 16])
def test_encode_equals_the_reference(autoencoder, tensors, chunk):
    moments = autoencoder.encode(tensors["pixels"], chunk)
    torch.testing.assert_close(moments.mean, tensors["mean"], **TOLERANCE)
    torch.testing.assert_close(moments.std, (tensors["logvar"] / 2).exp(), **TOLERANCE)


def test_decode_equals_the_reference(autoencoder, tensors):
    torch.testing.assert_close(autoencoder.decode(tensors["latent"]), tensors["decoded"], **TOLERANCE)


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_a_decoded_stream_equals_the_whole(autoencoder, tensors, chunk):
    chunks = list(autoencoder.stream(tensors["latent"], chunk))
    assert chunks[0].shape[2] == 8 * chunk - 7
    torch.testing.assert_close(torch.cat(chunks, 2), tensors["decoded"], **TOLERANCE)


def test_a_frame_knows_nothing_of_those_after_it(autoencoder, tensors):
    changed = tensors["latent"].clone()
    changed[:, :, 2:] *= -1
    pixels = autoencoder.decode(changed)
    torch.testing.assert_close(pixels[:, :, :9], tensors["decoded"][:, :, :9], **TOLERANCE)
    assert (pixels[:, :, 9:] - tensors["decoded"][:, :, 9:]).abs().max() > 0.1


def test_streaming_keeps_two_frames_a_convolution():
    conv, memory = CausalConv(1, 1), {}
    for frames in (1, 8, 8):
        conv(torch.zeros(1, 1, frames, 2, 2), memory)
    assert memory[conv].shape[2] == 2
    assert memory[conv].untyped_storage().nbytes() == memory[conv].nbytes


@pytest.mark.parametrize("shape", [(8, 16, 24), (17, 12, 24)])
def test_clips_that_do_not_fit_are_refused(autoencoder, shape):
    with pytest.raises(ValueError, match=r"1 \+ 8k frames"):
        autoencoder.encode(torch.zeros(1, 3, *shape))
