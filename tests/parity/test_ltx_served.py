"""Defends: what was pulled is asked of the server by name and made by its worker; what is removed while its videos wait
fails in words, and the worker goes on. Real processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from open_models import ltx_parts, saved

from hibari import media
from hibari.models.checkpoint import diffusers_class
from pulled_folder import sign
from server_process import Server, start, until

WISH = {"prompt": "a red balloon", "size": "64x32", "seconds": 0.2, "steps": 3, "seed": 7}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two, as `hibari pull` leaves them."""
    folder = saved(diffusers_class("LTXPipeline")(**ltx_parts()), tmp_path / "models" / "ltx")
    sign(folder)
    shutil.copytree(folder, tmp_path / "models" / "other")
    return tmp_path / "models"


@pytest.fixture
def server(tmp_path: Path, models: Path) -> Iterator[Server]:
    server = start(tmp_path / "data", "--workers", "1", HIBARI_MODELS=str(models))
    yield server
    assert server.stop() == 0


def test_what_was_pulled_is_made_by_name(server: Server, models: Path, tmp_path: Path) -> None:
    def get(video: str) -> dict[str, object]:
        return httpx2.get(f"{server.url}/videos/{video}", timeout=60).json()

    def ask(model: str) -> str:
        answer = httpx2.post(f"{server.url}/videos", json={**WISH, "model": model}, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    assert "ltx" in [one["id"] for one in httpx2.get(f"{server.url}/models", timeout=60).json()["data"]]
    # Nothing of it is running yet, so both wait; the second one's folder goes.
    httpx2.post(f"{server.url}/admin/queue/pause", timeout=60)
    made, gone = ask("ltx"), ask("other")
    shutil.rmtree(models / "other")
    httpx2.post(f"{server.url}/admin/queue/resume", timeout=60)
    until(lambda: all(get(one)["status"] in ("completed", "failed") for one in (made, gone)), 900)
    failed = get(gone)
    assert failed["status"] == "failed"
    assert isinstance(failed["error"], dict)
    assert failed["error"]["code"] == "model_unavailable"
    assert "there is no model 'other'" in failed["error"]["message"]
    assert get(made)["status"] == "completed", get(made)
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(httpx2.get(f"{server.url}/videos/{made}/content", timeout=60).content)
    recipe = media.read_recipe(clip)
    said = recipe["request"]
    assert (said["model"], said["steps"], said["native_frames"]) == ("ltx", 3, 5)
    assert recipe["weights_sha256"]
    assert {"diffusers", "transformers"} <= set(recipe["versions"])
