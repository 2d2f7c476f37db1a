"""The published folders of Pyramid Flow, read strictly; and prompts as its text encoders read them."""

from __future__ import annotations

import json

import pytest
import torch
from pyramid_golden import write_folder as write

from hibari.contracts import WeightsError
from hibari.models.pyramid_flow.weights import key_of
from hibari.models.pyramid_flow.weights import part as read

NAMES = ["pyramid_autoencoder", "pyramid_miniflux", "pyramid_sd3"]
CPU = {"dtype": torch.float32, "device": torch.device("cpu")}


@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize("name", NAMES)
def test_a_folder_becomes_a_network_and_its_tensors_again(tmp_path, name, form):
    tensors = write(tmp_path, name, form=form)
    network = read(tmp_path, **CPU).network
    take = key_of(json.loads((tmp_path / "config.json").read_text())["_class_name"])
    again = {take(name).key: tensor for name, tensor in network.state_dict().items()}
    assert again.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert torch.equal(again[key], tensor.float()), key
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.training


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_an_extra_and_a_mis_shaped_tensor_are_named(tmp_path, name):
    key = next(key for key in write(tmp_path, name) if key.endswith("conv1.conv.weight") or "norm_" in key)
    write(tmp_path, name, change=lambda tensors: tensors.pop(key))
    with pytest.raises(WeightsError, match=rf"missing {key}, left over nothing"):
        read(tmp_path, **CPU)
    write(tmp_path, name, change=lambda tensors: tensors.update(surplus=torch.zeros(1)))
    with pytest.raises(WeightsError, match="missing nothing, left over surplus"):
        read(tmp_path, **CPU)
    write(tmp_path, name, change=lambda tensors: tensors.update({key: torch.zeros(5)}))
    with pytest.raises(WeightsError, match=rf"{key} is \[5\], wanted \["):
        read(tmp_path, **CPU)


def test_settings_of_another_network_are_refused(tmp_path):
    write(tmp_path, "pyramid_sd3", pos_embed_type="rope")
    with pytest.raises(WeightsError, match="pos_embed_type is 'rope'; this code knows only 'sincos'"):
        read(tmp_path, **CPU)
    write(tmp_path, "pyramid_sd3", _class_name="SD3Transformer2DModel")
    with pytest.raises(WeightsError, match="is of SD3Transformer2DModel; Pyramid Flow has CausalVideoVAE"):
        read(tmp_path, **CPU)
    settings = json.loads((tmp_path / "config.json").read_text())
    del settings["num_layers"], settings["_class_name"]
    (tmp_path / "config.json").write_text(json.dumps(settings | {"_class_name": "PyramidDiffusionMMDiT"}))
    with pytest.raises(WeightsError, match="does not say 'num_layers'"):
        read(tmp_path, **CPU)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"config\.json is missing"):
        read(tmp_path, **CPU)
    write(tmp_path, "pyramid_sd3")
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(WeightsError, match="cannot be read"):
        read(tmp_path, **CPU)
    (tmp_path / "diffusion_pytorch_model.safetensors").rename(tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsError, match="cannot be read"):
        read(tmp_path, **CPU)
    (tmp_path / "diffusion_pytorch_model.bin").unlink()
    with pytest.raises(WeightsError, match="has no weights"):
        read(tmp_path, **CPU)
