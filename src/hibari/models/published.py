"""What the models have in common that others have published."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hibari.contracts import ModelSpec
from hibari.models.checkpoint import Part
from hibari.models.folder import fingerprint
from hibari.models.layers import Known
from hibari.models.precision import dtype_for, precision_of
from hibari.models.protocol import Footprint
from hibari.models.text_encoder import TextEncoder


class Published:
    """A transformer, an autoencoder and text encoders, each in memory when it is used."""

    spec: ModelSpec
    device: torch.device
    dtype: torch.dtype
    weights_sha256: str | None
    plain = False
    """Whether the transformer stays as diffusers has it: slower, the same to rounding. Set before it is loaded."""
    _transformer: Part
    _autoencoder: Part
    _modulation = re.compile("(?!)")
    """Names of the transformer's layers that see nothing but the noise level and the prompt as a whole: their outcome
    is computed once a generation, and their weights stay in the files."""

    def _open(self, spec: ModelSpec, paths: Sequence[Path], device: torch.device) -> None:
        """Say who it is: quantised weights are other weights."""
        self.device, self.dtype = device, dtype_for(device)
        self.spec = replace(spec, precision=precision_of(self.dtype))
        digest = fingerprint(*paths)
        if spec.quantised:
            self.plain = True  # projections of quantised weights cannot be joined
            digest = hashlib.sha256(f"{digest} {spec.quantised}".encode()).hexdigest()
        self.weights_sha256 = digest

    def _is_apart(self, name: str) -> bool:
        return not self.plain and bool(self._modulation.fullmatch(name))

    def _set_apart(self, network: nn.Module) -> None:
        """Put what takes the outcome in the place of the layers that give it."""
        for name, layer in [*network.named_modules()]:
            if self._is_apart(name):
                parent, _, short = name.rpartition(".")
                setattr(network.get_submodule(parent), short, Known(cast("nn.Linear", layer).out_features))

    @torch.inference_mode()
    def _modulated(self, level_RD: Tensor) -> Tensor:
        """What all layers that are apart give [R, widths of all] of rows that say the noise level and the prompt."""
        level_RD = F.silu(level_RD)
        return torch.cat([F.linear(level_RD, **state) for state in self._transformer.apart()], -1)

    def _tell(self, network: nn.Module, modulation_BM: Tensor) -> None:
        """Hand the outcome for the rows in work to where it is used."""
        layers = [layer for layer in network.modules() if isinstance(layer, Known)]
        for layer, part in zip(layers, modulation_BM.split([one.width for one in layers], -1), strict=True):
            layer.outcome = part

    @property
    def _text_encoders(self) -> Sequence[TextEncoder]:
        raise NotImplementedError

    def _footprint(self, *, row: float, decode: float) -> Footprint:
        """Counted from the sizes of the networks, not measured: no GPU was at hand.

        Args:
            row, decode: numbers that live at once in a forward pass of a row, and in decoding a chunk.
        """
        return Footprint(
            weights=self._transformer.nbytes + self._autoencoder.nbytes,
            text_encoder=sum(encoder.nbytes for encoder in self._text_encoders),
            row=int(self.dtype.itemsize * row),
            decode=int(self.dtype.itemsize * decode),
        )

    def release_text_encoder(self) -> None:
        """See the protocol."""
        for encoder in self._text_encoders:
            encoder.release()
