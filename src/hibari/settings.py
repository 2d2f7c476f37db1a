"""What a machine's owner can set, and the only reader of the environment.

| variable | meaning | default |
|---|---|---|
| `HIBARI_MODEL` | the model when none is named | `mini` |
| `HIBARI_THREADS` | processor threads that torch uses | all cores that this process may use |
| `HIBARI_DEVICE` | `auto` (a GPU if there is one), `cpu` or `cuda` | `auto` |

A variable that is set to nothing counts as not set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hibari.contracts import InvalidRequest

Device = Literal["auto", "cpu", "cuda"]
MAX_THREADS = 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked.

    Attributes:
        model: the model when none is named; the catalog knows whether it exists.
        threads: processor threads that torch uses, 1 to MAX_THREADS.
        device: "auto", "cpu" or "cuda".
    """

    model: str
    threads: int
    device: Device

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Settings out of `environment`, by default this process's own.

        Raises:
            InvalidRequest: a variable has a value that it cannot have; `field` is the variable's name.
        """
        values = os.environ if environment is None else environment
        return cls(
            model=values.get("HIBARI_MODEL") or "mini",
            threads=_threads(values.get("HIBARI_THREADS") or str(_available_cores())),
            device=_device(values.get("HIBARI_DEVICE") or "auto"),
        )


def _available_cores() -> int:
    # A container or taskset may allow fewer cores than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads(value: str) -> int:
    try:
        threads = int(value)
    except ValueError:
        threads = 0
    if not 1 <= threads <= MAX_THREADS:
        raise InvalidRequest(
            f"HIBARI_THREADS is {value!r}; must be a whole number from 1 to {MAX_THREADS}",
            field="HIBARI_THREADS",
        )
    return threads


def _device(value: str) -> Device:
    match value:
        case "auto" | "cpu" | "cuda":
            return value
        case _:
            raise InvalidRequest(
                f"HIBARI_DEVICE is {value!r}; must be auto, cpu or cuda", field="HIBARI_DEVICE"
            )
