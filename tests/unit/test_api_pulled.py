"""Defends: what `hibari pull` brought can be asked of the server by its name, as what it is; and nothing by a path."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import client_for, finish_next, parts_for, picture, settings_for
from fastapi.testclient import TestClient
from sqlalchemy import insert

from hibari import catalog
from hibari.api import Parts
from hibari.cli import main
from hibari.client.records import Model
from hibari.contracts import UnknownModel
from hibari.db.schema import paces
from pulled_folder import LTX, pulled

MOCHI = {**LTX, "model_index.json": {"_class_name": "MochiPipeline"}, "vae/config.json": {}}
PICTURED = {
    **LTX,
    "model_index.json": {"_class_name": "CogVideoXImageToVideoPipeline"},
    "transformer/config.json": {"in_channels": 32, "out_channels": 16},
    "vae/config.json": {},
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def parts(tmp_path: Path, models: Path) -> Iterator[Parts]:
    pulled(models, "ltx")
    parts = parts_for(settings_for(tmp_path))
    yield parts
    parts.database.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    return client_for(parts)


def ask(client: TestClient, **values: Any) -> Any:
    return client.post("/v1/videos", json={"prompt": "a storm", "model": "ltx", **values})


def problem(answer: Any) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["message"]


def test_it_is_listed_as_what_it_is(client: TestClient) -> None:
    listed = {one["id"]: one for one in client.get("/v1/models").json()["data"]}
    assert list(listed) == ["mini", "mini-fast", "testcard", "ltx", "sora-2", "sora-2-pro"]
    ltx = listed["ltx"]
    assert ltx == client.get("/v1/models/ltx").json()
    assert (ltx["sizes"][0], ltx["fps"], ltx["default_steps"], ltx["licence"]) == (
        "704x512",
        25,
        50,
        "harmless",
    )
    assert ltx["max_seconds"] == 257 / 25
    assert {"prompt", "picture", "extend"} <= set(ltx["kinds"])
    assert listed["testcard"]["presets"] == []
    of_client = Model.from_json(ltx)
    missing = {one.name: one.missing for one in of_client.presets}
    assert missing["ltxv-2b-0.9"] is None
    assert "skips block 39" in str(missing["ltxv-13b-0.9.8-dev"])
    assert "latent_upsampler" in str(missing["ltxv-2b-0.9.8-distilled"])


def test_a_video_of_it_waits_for_a_worker_with_its_own_sizes(client: TestClient, parts: Parts) -> None:
    made = ask(client, seconds=2).json()
    assert (made["model"], made["size"], made["hibari"]["steps"]) == ("ltx", "704x512", 50)
    assert made["hibari"]["seconds_left"] is None, "nothing of it was measured here"
    forecast = client.post("/v1/videos/forecast", json={"prompt": "a storm", "model": "ltx"}).json()
    assert (forecast["seconds"], forecast["measured"]) == (None, False)
    job = parts.jobs.get(made["id"])
    assert job.model == "ltx"
    assert client.get("/v1/admin/models").status_code == 200
    states = {one["id"]: one for one in client.get("/v1/admin/models").json()["data"]}
    assert states["ltx"]["queued"] == 1
    assert states["ltx"]["weights_bytes"] > 0


def test_a_preset_is_asked_for_shown_and_used_again(client: TestClient, parts: Parts) -> None:
    made = ask(client, preset="ltxv-2b-0.9", seconds=2).json()
    pace = parts.jobs.get(made["id"]).pace
    assert (made["hibari"]["steps"], made["hibari"]["recipe"]["preset"]) == (40, "ltxv-2b-0.9")
    finish_next(parts)
    again = client.post(f"/v1/videos/{made['id']}/again").json()
    assert again["hibari"]["recipe"]["preset"] == "ltxv-2b-0.9"
    assert ask(client, seconds=2).json()["hibari"]["recipe"]["preset"] is None
    # A preset has a pace of its own: what was measured with another says nothing.
    with parts.database.write() as connection:
        connection.execute(insert(paces), {"name": pace, "step_s": 2.0})
    said = {
        preset: client.post(
            "/v1/videos/forecast", json={"prompt": "a", "model": "ltx", "seconds": 2, "preset": preset}
        ).json()
        for preset in ("ltxv-2b-0.9", "ltxv-2b-0.9.6-distilled")
    }
    assert [said[name]["measured"] for name in said] == [True, False]
    assert [said[name]["seconds"] is None for name in said] == [False, True]


@pytest.mark.parametrize(
    ("values", "param", "message"),
    [
        ({"preset": "best"}, "preset", "has no preset 'best'; it has: ltxv-2b-0.9, "),
        ({"preset": "ltxv-2b-0.9", "steps": 10}, "preset", "has its own 40 steps and guidance"),
        ({"preset": "ltxv-13b-0.9.8-dev"}, "preset", "skips block 39, and the network has 28"),
        ({"preset": "ltxv-2b-0.9.8-distilled"}, "preset", "put latent_upsampler into the model's folder"),
        ({"given_noise": 2}, "given_noise", "given_noise is 2; must be 0 (none) to 1"),
        ({"given_noise": 0.1, "model": "testcard"}, "given_noise", "testcard leaves what is given as it is"),
        ({"model": "mochi-1"}, "model", "no model 'mochi-1' here; `hibari pull mochi-1` fetches it"),
        ({"model": "lxt"}, "model", "did you mean ltx?"),
        ({"model": "half"}, "model", "no model 'half'"),
        ({"model": "mochi", "input_reference": {"image_url": "data:PICTURE"}}, "model", "no video of kind 'pict"),
        ({"model": "i2v"}, "model", "no video of kind 'prompt'; it makes: picture, storyboard"),
        ({"model": "broken"}, "model", "its files are damaged or not all there"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_of_it_is_refused(
    client: TestClient, models: Path, values: dict[str, Any], param: str, message: str
) -> None:
    pulled(models, "half", complete=False)
    pulled(models, "mochi", MOCHI)
    pulled(models, "i2v", PICTURED)
    (pulled(models, "broken") / "vae" / "config.json").write_text("{")
    if "input_reference" in values:
        files = {"input_reference": ("a.png", picture(), "image/png")}
        answer = client.post("/v1/videos", data={"prompt": "a", "model": values["model"]}, files=files)
    else:
        answer = ask(client, **values)
    status, said, text = problem(answer)
    assert (status, said) == (400, param), text
    assert message in text
    assert str(models) not in text


def test_a_tool_that_a_model_has_not_is_refused(client: TestClient, parts: Parts, models: Path) -> None:
    pulled(models, "mochi", MOCHI)
    made = client.post("/v1/videos", json={"prompt": "a", "model": "testcard", "seconds": 1}).json()
    finish_next(parts)
    wish = {"prompt": "on", "seconds": 1, "video": {"id": made["id"]}, "model": "mochi"}
    status, param, text = problem(client.post("/v1/videos/extensions", json=wish))
    assert (status, param) == (400, "model")
    assert "makes no video of kind 'extend'; it makes: prompt, storyboard, remix" in text


def test_a_path_opens_nothing(client: TestClient, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an absolute one, nor one that leads out of the folder, nor one that begins where the server runs."""
    outside = pulled(models.parent / "elsewhere", "other")
    monkeypatch.chdir(outside.parent)
    assert catalog.find("other", models).name == "other", "for the machine's owner it is a path"
    for name in (str(outside), "other", "../elsewhere/other", str(models / "ltx"), "ltx/", "./ltx", "~"):
        assert problem(ask(client, model=name))[:2] == (400, "model"), name
        with pytest.raises(UnknownModel):
            catalog.spec(name, models)
    assert client.get("/v1/models/..%2Felsewhere%2Fother").status_code == 404


def test_removed_meanwhile_and_damaged(client: TestClient, models: Path) -> None:
    (pulled(models, "broken") / "vae" / "config.json").write_text("{")
    shutil.rmtree(models / "ltx")
    assert "ltx" not in [one["id"] for one in client.get("/v1/models").json()["data"]]
    assert client.get("/v1/models/ltx").status_code == 404
    assert "no model 'ltx'" in problem(ask(client))[2]
    states = {one["id"]: one["problem"] for one in client.get("/v1/admin/models").json()["data"]}
    assert "damaged or not all there" in states["broken"]


def test_a_name_of_the_table_stays_the_tables(models: Path) -> None:
    pulled(models, "testcard")
    assert catalog.names(models) == ("mini", "mini-fast", "testcard")
    assert catalog.spec("testcard", models) == catalog.TESTCARD


def test_the_command_says_what_a_model_can_do(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pulled(models, "ltx")
    monkeypatch.setenv("HIBARI_MODELS", str(models))
    assert main(["models", "ltx"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "makes videos of: prompt, picture, storyboard" in lines[2]
    assert "multiples of 32 px" in lines[3]
    (preset,) = [line for line in lines if line.startswith("ltxv-2b-0.9 ")]
    assert preset.endswith("40 steps with guidance 3 and rescaling 0.7 and skipped blocks")
    assert sum(line.strip().startswith("not here: ") for line in lines) == 3
    assert main(["models", "ltx", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["presets"]) == 8
    assert main(["models", "ltxx"]) == 2
