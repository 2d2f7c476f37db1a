"""What a machine's owner can set, and the only reader of the environment.

| variable | meaning | default |
|---|---|---|
| `HIBARI_MODEL` | the model when none is named | `mini` |
| `HIBARI_THREADS` | processor threads that torch uses | all cores that this process may use |
| `HIBARI_DEVICE` | `auto` (a GPU if there is one), `cpu` or `cuda` | `auto` |
| `HIBARI_CACHE` | folder for what can be computed again, such as read prompts | `hibari` in the user's cache folder |
| `HIBARI_MEMORY_MB` | memory that models and generations may take together | most of what is free |

A variable that is set to nothing counts as not set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
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
        cache: folder for what can be computed again; it need not exist.
        memory_bytes: what models and generations may take together; None for most of what is free.
    """

    model: str
    threads: int
    device: Device
    cache: Path
    memory_bytes: int | None

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
            cache=_cache(values),
            memory_bytes=_memory_bytes(values.get("HIBARI_MEMORY_MB") or ""),
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


def _cache(values: Mapping[str, str]) -> Path:
    if own := values.get("HIBARI_CACHE"):
        return Path(own).expanduser()
    if base := values.get("XDG_CACHE_HOME"):
        return Path(base) / "hibari"
    return Path(values.get("HOME") or Path.home()) / ".cache" / "hibari"


def _memory_bytes(value: str) -> int | None:
    if not value:
        return None
    if not value.isdecimal() or int(value) == 0:
        raise InvalidRequest(
            f"HIBARI_MEMORY_MB is {value!r}; must be a whole number of megabytes, at least 1",
            field="HIBARI_MEMORY_MB",
        )
    return int(value) * 2**20


def _device(value: str) -> Device:
    match value:
        case "auto" | "cpu" | "cuda":
            return value
        case _:
            raise InvalidRequest(
                f"HIBARI_DEVICE is {value!r}; must be auto, cpu or cuda", field="HIBARI_DEVICE"
            )
