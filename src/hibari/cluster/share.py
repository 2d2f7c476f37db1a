"""What of a machine a worker is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hibari import catalog
from hibari.contracts import InvalidRequest

SHARES = (0.25, 0.5, 1.0)  # of a GPU
CONTEXT_BYTES = 2**30  # that CUDA and its libraries take in each process
WEIGHTS_TIMES = 2  # the weights once more is for text, activations and decoding


@dataclass(frozen=True, slots=True)
class Share:
    """A worker's part of a node.

    Attributes:
        cpus: cores, above 0; a worker computes with as many threads, at least one.
        gpus: below 1 a part of a GPU, which other workers have the rest of; otherwise whole ones; 0 is none.
    """

    cpus: float
    gpus: float

    def __post_init__(self) -> None:
        if not self.cpus > 0:
            raise InvalidRequest(f"cpus is {self.cpus:g}; must be above 0", field="cpus")
        if self.gpus < 0 or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise InvalidRequest(
                f"gpus is {self.gpus:g}; must be 0, a part of one GPU, or a whole number", field="gpus"
            )

    @property
    def threads(self) -> int:
        """Of torch."""
        return max(1, int(self.cpus))


def gpu_share(names: Iterable[str], gpu_bytes: int, models: Path | None = None) -> float:
    """The part of a GPU of `gpu_bytes` on which a worker can have the largest of the models `names`, one of SHARES.
    `models` is the folder of those that were pulled.

    Raises:
        UnknownModel: there is none of a name.
    """
    needed = CONTEXT_BYTES + WEIGHTS_TIMES * max(catalog.weights_bytes(name, models) or 0 for name in names)
    return next((share for share in SHARES if share * gpu_bytes >= needed), SHARES[-1])
