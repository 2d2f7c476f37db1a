"""What the models have in common that others have published."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from hibari.contracts import ModelSpec
from hibari.models.checkpoint import Part, dtype_for
from hibari.models.folder import fingerprint
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

    def _open(self, spec: ModelSpec, paths: Sequence[Path], device: torch.device) -> None:
        """Say who it is: quantised weights are other weights."""
        self.spec, self.device, self.dtype = spec, device, dtype_for(device)
        digest = fingerprint(*paths)
        if spec.quantised:
            self.plain = True  # projections of quantised weights cannot be joined
            digest = hashlib.sha256(f"{digest} {spec.quantised}".encode()).hexdigest()
        self.weights_sha256 = digest

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
