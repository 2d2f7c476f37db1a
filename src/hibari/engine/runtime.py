"""Getting torch ready, for the commands that need it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hibari.contracts import MissingPart
from hibari.settings import Settings

if TYPE_CHECKING:
    import torch


def prepare_torch(settings: Settings) -> torch.device:
    """Import torch, give it its threads and choose the device. A GPU that has a number becomes torch's current one.

    Raises:
        MissingPart: a GPU was asked for and there is none, or none of that number.
    """
    import torch

    torch.set_num_threads(settings.threads)
    silence_torchao()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if settings.device == "cpu" or (settings.device == "auto" and not count):
        return torch.device("cpu")
    device = torch.device("cuda" if settings.device == "auto" else settings.device)
    if not count:
        raise MissingPart(
            f"HIBARI_DEVICE is {settings.device}, but torch finds no CUDA GPU here; set it to auto or cpu, "
            "or install a torch that was built for your GPU"
        )
    if device.index is not None:
        if device.index >= count:
            raise MissingPart(
                f"HIBARI_DEVICE is {settings.device}, but the last GPU that torch finds here is cuda:{count - 1}"
            )
        torch.cuda.set_device(device)
    return device


def gpus(settings: Settings) -> int:
    """How many GPUs the settings leave to choose from: all that torch finds here, unless they name a device."""
    if settings.device not in ("auto", "cuda"):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def silence_torchao() -> None:
    """Keep it off the terminal: where it is installed, transformers and diffusers import it, and there are warnings of
    libraries for other GPUs and of its ways with torch, which a user can do nothing about."""
    for name in ("torchao", "torch.utils._pytree", "diffusers.quantizers.torchao"):
        logging.getLogger(name).setLevel(logging.ERROR)
