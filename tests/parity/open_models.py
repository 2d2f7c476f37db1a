"""Small checkpoint folders of the open models, with random weights, and our engine run on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hibari import catalog
from hibari.contracts import GenerationRequest
from hibari.engine import Engine, Event, Failed, Finished, Order, Sampled, Start, StepDone, generate_all
from hibari.models.checkpoint import diffusers_class
from hibari.models.protocol import Model

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"

CPU = torch.device("cpu")
TEXT_WIDTH = 32
CHANNELS = 8
DYNAMIC = {
    "use_dynamic_shifting": True, "base_shift": 0.95, "max_shift": 2.05, "shift_terminal": 0.1,
    "base_image_seq_len": 1024, "max_image_seq_len": 4096,
}  # fmt: skip


def randomised(network: nn.Module, seed: int, scale: float = 0.2) -> Any:
    """The same with every number random, also those that start as 0 or 1: a gate of 0 hides what is behind it."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in [*network.parameters(), *network.buffers()]:
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.data = (0.5 + 0.1 * noise) if tensor.ndim == 1 else scale * noise
    return network.eval().requires_grad_(False)


def tokenizer_and_encoder() -> tuple[Any, Any]:
    """T5 that knows a letter a token."""
    transformers: Any = import_module("transformers")
    letters = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    tokenizer = transformers.T5TokenizerFast(vocab=letters, extra_ids=0, model_max_length=512)
    config = transformers.T5Config(
        vocab_size=len(letters), d_model=TEXT_WIDTH, d_kv=8, d_ff=37, num_layers=2, num_heads=4,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return tokenizer, randomised(transformers.T5EncoderModel(config), 1)


def ltx_parts(
    *, timestep_conditioning: bool = False, scheduler: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Of a pipeline of LTX-Video: 8 px a cell, 4 frames a latent frame."""
    transformer = diffusers_class("LTXVideoTransformer3DModel")(
        in_channels=CHANNELS, out_channels=CHANNELS, num_attention_heads=4, attention_head_dim=8,
        cross_attention_dim=32, num_layers=2, caption_channels=TEXT_WIDTH,
    )  # fmt: skip
    autoencoder = diffusers_class("AutoencoderKLLTXVideo")(
        latent_channels=CHANNELS, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False), patch_size=2,
        timestep_conditioning=timestep_conditioning,
    )  # fmt: skip
    tokenizer, text_encoder = tokenizer_and_encoder()
    return {
        "scheduler": diffusers_class("FlowMatchEulerDiscreteScheduler")(**scheduler or DYNAMIC),
        "transformer": randomised(transformer, 2),
        "vae": randomised(autoencoder, 3),
        "tokenizer": tokenizer,
        "text_encoder": text_encoder,
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Without progress bars and notices of the reference."""
    from diffusers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    yield


def saved(pipeline: Any, folder: Path) -> Path:
    """The pipeline as a checkpoint folder."""
    with quiet():
        pipeline.set_progress_bar_config(disable=True)
        pipeline.save_pretrained(folder)
    return folder


def loaded(folder: Path) -> Model:
    return catalog.load(str(folder), device=CPU)


def request(model: Model, prompt: str = "a red balloon", **wishes: Any) -> GenerationRequest:
    """`num_frames` at the model's own rate."""
    frames = wishes.pop("num_frames")
    return GenerationRequest.resolve(
        model.spec, prompt, seconds=frames / model.spec.fps, **{"seed": 7, **wishes}
    )


def made(model: Model, wish: GenerationRequest, start: Start | None = None) -> tuple[Tensor, np.ndarray]:
    """Latent [C, F, H, W] and uint8 frames [F, H, W, 3], through the engine."""
    (one,) = generate_all(model, [Order(wish, start)])
    return one.latent_CFHW, np.stack(list(one.stream.frames))


def assert_same_frames(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Within one level of 255, and not all of one colour. `theirs` is in [0, 1]."""
    levels = (theirs * 255).round().astype(np.uint8)
    assert ours.shape == levels.shape
    assert np.abs(ours.astype(int) - levels.astype(int)).max() <= 1
    assert levels.std() > 5, "pictures of one colour would prove nothing"


def assert_bfloat16_is_nearly_the_same(monkeypatch: pytest.MonkeyPatch, folder: Path, **wishes: Any) -> None:
    """What a GPU computes in, here on a processor: nothing stumbles over two kinds of numbers, and two steps go almost
    where they go in float32."""
    model = loaded(folder)
    latent, _ = made(model, request(model, steps=2, guidance_scale=1, **wishes))
    monkeypatch.setenv("HIBARI_PRECISION", "bfloat16")
    half = loaded(folder)
    assert (model.dtype, half.dtype) == (torch.float32, torch.bfloat16)
    near, frames = made(half, request(half, steps=2, guidance_scale=1, **wishes))
    assert 0 < (near - latent).norm() / latent.norm() < 0.1
    assert frames.std() > 5


def resumed_at_every_step(
    model: Model, wish: GenerationRequest, folder: Path, start: Start | None = None
) -> None:
    """Stop after each step, restore from the checkpoint in another engine, and end in the same bits."""
    whole, _ = made(model, wish, start)
    for stop in range(1, wish.steps + 1):
        engine = Engine(lambda _: model, checkpoints=folder / str(stop), checkpoint_every_s=0)
        engine.adopt(model)
        engine.submit(wish, start=start)
        seen = list(taken_until(engine.events(), stop))
        assert all(event.preview is not None and event.preview.std() > 0 for event in seen)
        after = Engine(lambda _: model, checkpoints=folder / str(stop))
        after.adopt(model)
        assert after.restore()
        (latent,) = [event.latent_CFHW for event in after.events() if isinstance(event, Sampled)]
        assert torch.equal(latent, whole), f"stopped after step {stop}"


def taken_until(events: Iterator[Event], step: int) -> Iterator[StepDone]:
    for event in events:
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, StepDone):
            yield event
            if event.step == step:
                return


def cancelled_after_a_step(model: Model, wish: GenerationRequest) -> None:
    """Nothing of it is left, and the engine goes on to the next one."""
    engine = Engine(lambda _: model)
    engine.adopt(model)
    first, second = engine.submit(wish), engine.submit(wish)
    done: list[str] = []
    for event in engine.events():
        if isinstance(event, StepDone) and event.id == first:
            assert engine.cancel(first)
        done += [event.id] if isinstance(event, Finished) else []
    assert done == [second]
    assert len(engine) == 0


def spoilt(folder: Path, part: str, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors of a part's file."""
    path = folder / part / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
