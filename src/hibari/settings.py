"""What a machine's owner can set, and the only reader of the environment.

| variable | meaning | default |
|---|---|---|
| `HIBARI_MODEL` | the model when none is named | `mini` |
| `HIBARI_THREADS` | processor threads that torch uses | all cores that this process may use |
| `HIBARI_DEVICE` | `auto` (a GPU if there is one), `cpu`, `cuda`, or one of several GPUs, as `cuda:1` | `auto` |
| `HIBARI_PRECISION` | `float32` or `bfloat16`; `auto`: bfloat16 on a GPU, and for `mini` on a CPU with AMX | `auto` |
| `HIBARI_CACHE` | folder for what can be computed again, such as read prompts | `hibari` in the user's cache folder |
| `HIBARI_MEMORY_MB` | memory that models and generations may take together | most of what is free |
| `HIBARI_HISTORY_MB` | memory for what Pyramid Flow keeps of frames for those that follow; 0 is none | `1024` |
| `HIBARI_MODELS` | folder of the models that were pulled, the same for all servers | `models` in `HIBARI_DATA_DIR` |
| `HIBARI_HUB` | the hub that they are pulled from | `https://huggingface.co` |
| `HIBARI_HUB_TOKEN` | a token of that hub, for models that not everybody is shown | none |
| `HIBARI_HOST` | address that the server listens on | `127.0.0.1` |
| `HIBARI_PORT` | its port; 0 is any that is free | `8000` |
| `HIBARI_DATA_DIR` | folder for the database and the videos | `hibari` in the user's data folder |
| `HIBARI_DATABASE` | `postgresql://user:password@host/name`, or a URL of SQLite | `hibari.db` in the data folder |
| `HIBARI_STORAGE` | folder or URL (`s3://bucket/prefix`) for the videos | `files` in the data folder |
| `HIBARI_SORA_MODEL` | the model that answers to `sora-2` and `sora-2-pro` | that of `HIBARI_MODEL` |
| `HIBARI_UPLOAD_MB` | the largest request that is taken | `512` |
| `HIBARI_QUOTA_MB` | what the files of an account may take, where nothing else is said of it | no limit |
| `HIBARI_RESERVE_MB` | what must stay free on the disk of the videos; nothing new is taken below it | `512` |
| `HIBARI_KEEP_HOURS` | how long a finished video is kept | until it is deleted |
| `HIBARI_PRIVATE_URLS` | `1`: image URLs and webhooks may lead to private addresses | `0` |
| `HIBARI_SAMPLES` | `0`: nobody's gallery begins with samples | `1` |
| `HIBARI_LEASE_S` | a worker that has said nothing for so many seconds is dead, and others take its videos | `20` |

A variable that is set to nothing counts as not set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from hibari.contracts import InvalidRequest

MAX_THREADS = 1024
MIN_LEASE_S = 2  # heartbeats come several times in that time, also on a busy machine


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked.

    Attributes:
        model: the model when none is named; the catalog knows whether it exists.
        threads: processor threads that torch uses, 1 to MAX_THREADS.
        device: "auto", "cpu", "cuda", or "cuda:" with a GPU's number.
        precision: "auto", "float32" or "bfloat16": what networks compute in.
        cache: folder for what can be computed again; it need not exist.
        memory_bytes: what models and generations may take together; None for most of what is free.
        history_bytes: what Pyramid Flow may keep of frames for those that follow.
        models: folder of the models that were pulled; it need not exist.
        hub: URL of the hub that they are pulled from.
        hub_token: opens what the hub does not show everybody.
    """

    model: str
    threads: int
    device: str
    precision: str
    cache: Path
    memory_bytes: int | None
    history_bytes: int
    models: Path
    hub: str
    hub_token: str | None = field(repr=False)

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
            precision=_precision(values.get("HIBARI_PRECISION") or "auto"),
            cache=_cache(values),
            memory_bytes=_memory_bytes(values.get("HIBARI_MEMORY_MB") or ""),
            models=_models(values),
            hub=_hub(values.get("HIBARI_HUB") or "https://huggingface.co"),
            hub_token=values.get("HIBARI_HUB_TOKEN") or None,
            history_bytes=int(_number(values, "HIBARI_HISTORY_MB", 1024, above=-1)) * 2**20,
        )


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the server and its workers can be told, checked.

    Attributes:
        model: the model when none is named.
        sora_model: the model that answers to the names of Sora's.
        host, port: where to listen; port 0 is any that is free.
        data_dir: folder for the database and the files, where nothing else is said; it need not exist.
        database: URL as `hibari.db.Database` takes it.
        storage: folder or URL as `hibari.media.storage.Storage` takes it.
        upload_bytes: the largest body of a request.
        quota_bytes: what an account's files may take; None is no limit.
        reserve_bytes: what must stay free where the files are.
        keep_s: how long finished videos are kept; None is until they are deleted.
        private_urls: whether image URLs and webhooks may lead to private addresses.
        lease_s: how long a worker may say nothing.
        samples: whether whoever comes for the first time finds some videos that were made here.
        models: folder of the models that were pulled, which are offered, too; it need not exist.
    """

    model: str
    sora_model: str
    host: str
    port: int
    data_dir: Path
    database: str
    storage: str
    upload_bytes: int
    quota_bytes: int | None
    reserve_bytes: int
    keep_s: float | None
    private_urls: bool
    lease_s: float
    samples: bool
    models: Path

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str] | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        data_dir: Path | None = None,
        samples: bool | None = None,
    ) -> ServerSettings:
        """Settings out of `environment`, by default this process's own; what is given as an argument comes first.

        Raises:
            InvalidRequest: a variable has a value that it cannot have; `field` is the variable's name.
        """
        values = os.environ if environment is None else environment
        folder = _data_dir(values) if data_dir is None else data_dir
        folder = folder.resolve()
        model = values.get("HIBARI_MODEL") or "mini"
        keep_hours = _number(values, "HIBARI_KEEP_HOURS", 0, above=0)
        return cls(
            model=model,
            sora_model=values.get("HIBARI_SORA_MODEL") or model,
            host=host or values.get("HIBARI_HOST") or "127.0.0.1",
            port=_port(values.get("HIBARI_PORT") or "8000") if port is None else port,
            data_dir=folder,
            database=values.get("HIBARI_DATABASE") or f"sqlite:///{folder / 'hibari.db'}",
            storage=values.get("HIBARI_STORAGE") or str(folder / "files"),
            upload_bytes=round(_number(values, "HIBARI_UPLOAD_MB", 512, above=0) * 2**20),
            quota_bytes=round(_number(values, "HIBARI_QUOTA_MB", 0, above=0) * 2**20) or None,
            reserve_bytes=round(_number(values, "HIBARI_RESERVE_MB", 512, above=0) * 2**20),
            keep_s=keep_hours * 3600 or None,
            private_urls=_switch(values, "HIBARI_PRIVATE_URLS"),
            lease_s=_number(values, "HIBARI_LEASE_S", 20, above=MIN_LEASE_S),
            samples=_switch(values, "HIBARI_SAMPLES", "1") if samples is None else samples,
            models=_models(values),
        )


def set_defaults(**values: str) -> None:
    """What this process and those that it starts find in their environment where the user has said nothing else: for
    libraries that can be told in no other way."""
    for name, value in values.items():
        os.environ.setdefault(name, value)


def environment_with(**values: str) -> dict[str, str]:
    """This process's environment with other values: for a process that it starts."""
    return os.environ | values


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


def _models(values: Mapping[str, str]) -> Path:
    own = values.get("HIBARI_MODELS")
    return Path(own).expanduser() if own else _data_dir(values) / "models"


def _hub(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise InvalidRequest(
            "HIBARI_HUB must be a URL as https://huggingface.co, without user and password; the token has its own "
            "variable, HIBARI_HUB_TOKEN",
            field="HIBARI_HUB",
        )
    return value


def _memory_bytes(value: str) -> int | None:
    if not value:
        return None
    if not value.isdecimal() or int(value) == 0:
        raise InvalidRequest(
            f"HIBARI_MEMORY_MB is {value!r}; must be a whole number of megabytes, at least 1",
            field="HIBARI_MEMORY_MB",
        )
    return int(value) * 2**20


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", value):
        raise InvalidRequest(
            f"HIBARI_DEVICE is {value!r}; must be auto, cpu, cuda, or a GPU as cuda:1", field="HIBARI_DEVICE"
        )
    return value


def _precision(value: str) -> str:
    if value not in ("auto", "float32", "bfloat16"):
        raise InvalidRequest(
            f"HIBARI_PRECISION is {value!r}; must be auto, float32 or bfloat16", field="HIBARI_PRECISION"
        )
    return value


def _data_dir(values: Mapping[str, str]) -> Path:
    if own := values.get("HIBARI_DATA_DIR"):
        return Path(own).expanduser()
    if base := values.get("XDG_DATA_HOME"):
        return Path(base) / "hibari"
    return Path(values.get("HOME") or Path.home()) / ".local" / "share" / "hibari"


def _port(value: str) -> int:
    if not (value.isdecimal() and int(value) <= 65535):
        raise InvalidRequest(
            f"HIBARI_PORT is {value!r}; must be a whole number from 0 to 65535", field="HIBARI_PORT"
        )
    return int(value)


def _number(values: Mapping[str, str], name: str, default: float, *, above: float) -> float:
    """A setting that must be more than `above`; the default need not."""
    value = values.get(name)
    if not value:
        return default
    try:
        number = float(value)
    except ValueError:
        number = above
    if not above < number < 1e9:  # also refuses NaN
        raise InvalidRequest(f"{name} is {value!r}; must be a number above {above:g}", field=name)
    return number


def _switch(values: Mapping[str, str], name: str, default: str = "0") -> bool:
    value = values.get(name) or default
    if value not in ("0", "1"):
        raise InvalidRequest(f"{name} is {value!r}; must be 0 or 1", field=name)
    return value == "1"
