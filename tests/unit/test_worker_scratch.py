"""Defends: a worker that was killed leaves nothing in the temporary folder for ever; one that lives keeps its own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from hibari.worker.scratch import Scratch


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_a_dead_worker_left_goes_when_another_starts(temporary: Path) -> None:
    living, dead = Scratch(), Scratch()
    (dead.folder / "state").write_bytes(b"half")
    (living.folder / "state").write_bytes(b"half")
    os.close(dead._lock)  # as the end of a process does, however it ends
    another = Scratch()
    assert set(temporary.iterdir()) == {living.folder, another.folder}
    assert (living.folder / "state").read_bytes() == b"half"
    living.remove()
    another.remove()
    assert list(temporary.iterdir()) == []


def test_other_folders_and_links_stay(temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (temporary / "hibari-worker-link").symlink_to(elsewhere)
    (temporary / "hibari-worker-file").write_bytes(b"")
    Scratch().remove()
    assert {path.name for path in temporary.iterdir()} == {
        "elsewhere",
        "hibari-worker-link",
        "hibari-worker-file",
    }
