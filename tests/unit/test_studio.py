"""Defends: what the studio stands on. Its page is served with a policy that lets nothing in, its files are complete,
and the API says what the page shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import client_for, finish_next, key_for, parts_for, settings_for
from fastapi.testclient import TestClient

from hibari.api import Parts
from hibari.jobs import Claims
from hibari.studio import PAGES


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = parts_for(settings_for(tmp_path))
    yield parts
    parts.database.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    return client_for(parts)


def make(client: TestClient, **values: Any) -> dict[str, Any]:
    answer = client.post("/v1/videos", json={"prompt": "a cat", **values})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_page_is_the_document_and_lets_nothing_else_in(client: TestClient) -> None:
    for path in PAGES:
        answer = client.get(path.replace("{video_id}", "video_x"))
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["cache-control"] == "no-cache"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert client.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert client.head("/").status_code == 200


def test_all_that_the_document_names_is_there_and_kept_for_ever(client: TestClient) -> None:
    document = client.get("/").text
    named = re.findall(r'(?:src|href)="(/[^"]+)"', document)
    assert any(name.endswith(".js") for name in named)
    assert "<script>" not in document
    for name in named:
        answer = client.get(name)
        assert answer.status_code == 200, name
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/assets/none.js").json()["error"]["code"] == "not_found"
    assert client.get("/assets/..%2f..%2fpage.py").status_code == 404


def test_the_page_needs_no_key_and_the_api_does(parts: Parts) -> None:
    key_for(parts, "ada")
    client = client_for(parts)
    assert client.get("/gallery").status_code == 200
    assert client.get("/v1/videos").status_code == 401


def finish_measured(parts: Parts) -> None:
    """As a worker does that reports each step, so that the time of one is known."""
    claims = Claims(parts.database, "test")
    claim = claims.claim()
    assert claim is not None
    claims.heartbeat(claim, step=0, steps=4)
    claims.heartbeat(claim, step=4, steps=4)
    claims.complete(claim, {})


def read_all(client: TestClient, after: str | None = None) -> list[tuple[str, str, dict[str, Any]]]:
    headers = {} if after is None else {"Last-Event-ID": after}
    answer = client.get("/v1/events", headers=headers)
    assert answer.status_code == 200, answer.text
    told: list[tuple[str, str, dict[str, Any]]] = []
    for block in answer.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            told.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
    return told


def test_one_stream_tells_of_all_videos_and_goes_on_where_it_was_lost(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, eve = client_for(parts, key_for(parts, "ada")), client_for(parts, key_for(parts, "eve"))
    mine = [make(client)["id"], make(client)["id"]]
    make(eve)

    async def finish_instead_of_waiting(_: float) -> None:
        finish_next(parts)

    monkeypatch.setattr("hibari.api.events.asyncio.sleep", finish_instead_of_waiting)
    told = read_all(client)
    assert {data["video"]["id"] for _, _, data in told} == set(mine)
    for video_id in mine:
        kinds = [kind for _, kind, data in told if data["video"]["id"] == video_id]
        assert (kinds[0], kinds[-1]) == ("created", "completed")
    middle = next(index for index, (_, kind, _) in enumerate(told) if kind == "completed")
    after = read_all(client, told[middle - 1][0])
    rest = [(kind, data["video"]["id"]) for _, kind, data in told[middle:] if kind == "completed"]
    assert [(kind, data["video"]["id"]) for _, kind, data in after if kind == "completed"] == rest
    assert not [data for _, kind, data in after if kind == "created"]
    assert read_all(client) == []
    for wrong in ("x", "video_1.2", "1"):
        assert client.get("/v1/events", headers={"Last-Event-ID": wrong}).status_code == 400


def test_a_video_says_where_it_stands_and_how_it_was_asked_for(client: TestClient, parts: Parts) -> None:
    first = make(client, seconds="1", negative_prompt="rain", guidance_scale=2.5, seed=3)
    assert first["hibari"]["recipe"]["negative_prompt"] == "rain"
    assert first["hibari"]["recipe"]["guidance_scale"] == 2.5
    assert first["hibari"]["queue_position"] == 0
    assert first["hibari"]["seconds_left"] is None  # nothing like it was made before
    second = make(client, seconds="1")
    assert second["hibari"]["queue_position"] == 1
    finish_measured(parts)
    second = client.get(f"/v1/videos/{second['id']}").json()
    assert second["hibari"]["queue_position"] == 0
    assert second["hibari"]["seconds_left"] >= 0
    claims = Claims(parts.database, "test")
    claim = claims.claim()
    assert claim is not None
    claims.heartbeat(claim, step=1, steps=4)
    assert client.get("/v1/videos").json()["data"][0]["hibari"]["queue_position"] is None


def test_a_forecast_makes_nothing_and_refuses_what_cannot_be_made(client: TestClient, parts: Parts) -> None:
    def ask(**values: Any) -> Any:
        return client.post("/v1/videos/forecast", json={"prompt": "a cat", **values})

    forecast = ask(seconds="2", size="320x192").json()
    assert (forecast["native_size"], forecast["frames"], forecast["seconds"]) == ("160x96", 16, None)
    assert ask(seconds="61").json()["error"]["param"] == "seconds"
    assert client.get("/v1/videos").json()["data"] == []
    make(client, seconds="2", size="320x192")
    assert ask().json()["queue_position"] == 1
    finish_measured(parts)
    assert ask(seconds="2", size="160x96").json()["seconds"] >= 0
    measured, longer = ask(seconds="2", size="160x96").json(), ask(seconds="4", size="160x96").json()
    assert measured["measured"]
    assert not longer["measured"]  # but guessed: twice the pixels
    assert longer["seconds"] == pytest.approx(2 * measured["seconds"])
    assert ask(model="mini").json()["seconds"] > 0  # as its spec says, before the first one


def test_a_video_can_be_made_again_with_all_that_it_was_made_of(client: TestClient, parts: Parts) -> None:
    source = make(client)
    finish_next(parts)
    given = {"video": {"id": source["id"]}, "prompt": "a dog", "negative_prompt": "rain", "strength": "mild"}
    first = client.post("/v1/videos/edits", json=given).json()
    assert first["hibari"]["recipe"]["strength"] == "mild"
    client.post(f"/v1/videos/{first['id']}/cancel")
    key = {"Idempotency-Key": "once"}
    second = client.post(f"/v1/videos/{first['id']}/again", headers=key).json()
    assert second["id"] != first["id"]
    assert second["status"] == "queued"
    for name in ("prompt", "seconds", "size", "model"):
        assert second[name] == first[name]
    for name in ("tool", "seed", "sources", "recipe", "steps"):
        assert second["hibari"][name] == first["hibari"][name]
    assert client.post(f"/v1/videos/{first['id']}/again", headers=key).json()["id"] == second["id"]


def test_a_model_says_what_it_does_if_nothing_is_said(client: TestClient) -> None:
    models = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
    assert [name for name, model in models.items() if model["is_default"]] == ["testcard"]
    assert models["sora-2"]["stands_for"] == "testcard"
    assert models["testcard"]["stands_for"] is None
    assert models["mini"]["default_steps"] == 12
