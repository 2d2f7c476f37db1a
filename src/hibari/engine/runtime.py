"""Getting torch ready, for the commands that need it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hibari.contracts import MissingPart
from hibari.settings import Settings

if TYPE_CHECKING:
    import torch


def prepare_torch(settings: Settings) -> torch.device:
    """Import torch, give it its threads and choose the device.

    Raises:
        MissingPart: `cuda` was asked for and there is none.
    """
    import torch

    torch.set_num_threads(settings.threads)
    # Where torchao is installed, transformers imports it, and it warns of libraries for other GPUs and of its own ways
    # with torch: nothing that a user can do anything about.
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    cuda = torch.cuda.is_available()
    if settings.device == "cuda" and not cuda:
        raise MissingPart(
            "HIBARI_DEVICE is cuda, but torch finds no CUDA GPU here; set it to auto or cpu, "
            "or install a torch that was built for your GPU"
        )
    return torch.device("cuda" if cuda and settings.device != "cpu" else "cpu")
