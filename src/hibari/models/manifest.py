"""Hashes of the weights files in a folder, in one file beside them, so that a damaged one is refused before anything is
computed from it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from hibari.contracts import WeightsError

MANIFEST = "manifest.json"


def record(path: Path) -> str:
    """Write a file's sha256 into the manifest beside it, and return it."""
    manifest = path.parent / MANIFEST
    known = json.loads(manifest.read_text()) if manifest.exists() else {}
    digest = sha256_of(path)
    manifest.write_text(json.dumps({**known, path.name: digest}, indent=2, sort_keys=True) + "\n")
    return digest


def check(path: Path) -> str:
    """The file's sha256, after comparing it with the manifest.

    Raises:
        WeightsError: if the file is missing, not in the manifest, or damaged.
    """
    if not path.exists():
        raise WeightsError(
            f"the weights {path} are missing; install hibari again, or fetch the file from its source"
        )
    beside = path.parent / MANIFEST
    try:
        known = json.loads(beside.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{beside}, which has the weights' hash, cannot be read: {error}") from error
    digest = sha256_of(path)
    if path.name not in known:
        raise WeightsError(f"{path} is not listed in {MANIFEST} beside it; known are: {', '.join(known)}")
    if digest != known[path.name]:
        raise WeightsError(
            f"the weights {path} are damaged (sha256 {digest[:12]}..., wanted {known[path.name][:12]}...); "
            "install hibari again, or fetch the file from its source"
        )
    return digest


def sha256_of(path: Path) -> str:
    """A file's hash, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
