"""Conditioning of prompts that were read before, in memory and on disk.

A prompt that was read once costs no text encoder the next time: not its forward pass and, where nothing else
is asked for, not even its loading.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from hibari.engine.loop import encode_prompt
from hibari.models.protocol import Conditioning, Model

MEMORY_ENTRIES = 256
DISK_BYTES = 64 * 2**20


class TextCache:
    """Least recently used prompts are dropped first. A damaged or unwritable folder costs time and nothing else."""

    def __init__(self, folder: Path | None = None, *, disk_bytes: int = DISK_BYTES) -> None:
        """`folder` keeps entries between processes; None for memory alone."""
        self._folder = folder
        self._disk_bytes = disk_bytes
        self._memory: OrderedDict[str, Conditioning] = OrderedDict()

    def encode(self, model: Model, prompt: str) -> Conditioning:
        """Conditioning of one prompt: bit for bit what the model says, whoever says it."""
        key = _key(model, prompt)
        if (known := self._memory.get(key)) is not None:
            self._memory.move_to_end(key)
            return known
        conditioning = self._read(key, model)
        if conditioning is None:
            conditioning = encode_prompt(model, prompt)
            self._write(key, conditioning)
        self._memory[key] = conditioning
        if len(self._memory) > MEMORY_ENTRIES:
            self._memory.popitem(last=False)
        return conditioning

    def _read(self, key: str, model: Model) -> Conditioning | None:
        if self._folder is None:
            return None
        path = self._folder / key
        try:
            conditioning = safetensors.torch.load_file(path)
        except (OSError, SafetensorError):
            return None
        with suppress(OSError):  # the time tells what was used least recently
            path.touch()
        return {name: tensor.to(model.device) for name, tensor in conditioning.items()}

    def _write(self, key: str, conditioning: Conditioning) -> None:
        if self._folder is None:
            return
        aside = self._folder / f".{key}.{os.getpid()}.part"
        with suppress(OSError, SafetensorError):
            self._folder.mkdir(parents=True, exist_ok=True)
            tensors = {name: tensor.cpu().contiguous() for name, tensor in conditioning.items()}
            aside.write_bytes(safetensors.torch.save(tensors))
            aside.replace(self._folder / key)
            self._trim()
        with suppress(OSError):
            aside.unlink(missing_ok=True)

    def _trim(self) -> None:
        assert self._folder is not None
        entries = sorted(
            ((entry.stat().st_mtime, entry.stat().st_size, entry) for entry in self._folder.iterdir()),
            key=lambda one: one[0],
        )
        excess = sum(size for _, size, _ in entries) - self._disk_bytes
        for _, size, entry in entries:
            if excess <= 0:
                return
            entry.unlink(missing_ok=True)
            excess -= size


def _key(model: Model, prompt: str) -> str:
    """A file name that tells nothing of the prompt. The weights are in it: other weights read otherwise."""
    text = "\0".join((model.spec.name, model.weights_sha256 or "", str(model.device), prompt))
    return hashlib.sha256(text.encode()).hexdigest()
