"""Defends: the gallery's routes, and the samples that a newcomer finds: once, and never again."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from api_server import client_for, finish_next, key_for, parts_for, picture, settings_for
from fastapi.testclient import TestClient
from PIL import Image

from hibari.api import Parts, welcome


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = parts_for(settings_for(tmp_path))
    yield parts
    parts.database.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    return client_for(parts)


def make(client: TestClient, **values: Any) -> str:
    answer = client.post("/v1/videos", json={"prompt": "a cat", **values})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def ids(client: TestClient, **params: Any) -> list[str]:
    answer = client.get("/v1/videos", params=params)
    assert answer.status_code == 200, answer.text
    return [video["id"] for video in answer.json()["data"]]


def test_what_is_kept_is_found_again(client: TestClient, parts: Parts) -> None:
    cat, dog = make(client), make(client, prompt="Ein HÜND%chen")
    finish_next(parts)
    remix = client.post(f"/v1/videos/{cat}/remix", json={"prompt": "a fox"}).json()["id"]
    again = client.post(f"/v1/videos/{remix}/again").json()["id"]
    assert ids(client, search="hünd%") == [dog]
    assert ids(client, search="a") == [again, remix, cat]
    assert ids(client, kind="remix", search="FOX") == [again, remix]
    assert ids(client, status="completed") == [cat]
    assert ids(client, status=["queued", "completed"]) == [again, remix, dog, cat]
    assert ids(client, status=["in_progress", "failed"]) == []
    assert ids(client, model="mini") == []
    for wrong in ({"kind": "x"}, {"status": "done"}, {"favourite": "perhaps"}, {"search": "x" * 201}):
        assert client.get("/v1/videos", params=wrong).json()["error"]["code"] == "invalid_value"

    folder = client.post("/v1/folders", json={"name": "Sea"}).json()
    assert (folder["object"], folder["name"], folder["videos"]) == ("folder", "Sea", 0)
    answer = client.post(
        "/v1/videos/change", json={"ids": [cat, dog], "favourite": True, "folder": folder["id"]}
    )
    assert [(one["id"], one["hibari"]["favourite"]) for one in answer.json()["data"]] == [
        (dog, True),
        (cat, True),
    ]
    assert client.get("/v1/folders").json()["data"][0]["videos"] == 2
    client.post("/v1/videos/change", json={"ids": [dog], "folder": ""})
    assert ids(client, folder=folder["id"]) == [cat]
    assert ids(client, folder="") == [again, remix, dog]
    assert ids(client, favourite=True) == [dog, cat]
    assert client.post("/v1/folders", json={"name": "Sea"}).status_code == 409
    assert client.post(f"/v1/folders/{folder['id']}", json={"name": "Ocean"}).json()["name"] == "Ocean"
    assert client.delete(f"/v1/folders/{folder['id']}").json()["deleted"]
    assert client.get(f"/v1/videos/{cat}").json()["hibari"]["folder"] is None

    told = client.get(f"/v1/videos/{remix}/lineage").json()
    assert ([one["id"] for one in told["data"]], told["missing"]) == ([remix, cat], [])
    gone = client.delete("/v1/videos", params={"id": [cat, dog, "video_x"]}).json()
    assert [one["id"] for one in gone["data"]] == [cat, dog]
    assert client.get(f"/v1/videos/{remix}/lineage").json()["missing"] == [cat]
    assert client.delete("/v1/videos").status_code == 400, "nothing is deleted where nothing is named"
    assert ids(client) == [again, remix]


def test_the_pictures_of_a_request_are_had_again_in_their_order(client: TestClient, parts: Parts) -> None:
    def url(width: int) -> str:
        return f"data:image/png;base64,{b64encode(picture(size=(width, 48))).decode()}"

    cards = [
        {"at_s": 0, "prompt": "a cat"},
        {"at_s": 1, "image_url": url(20)},
        {"at_s": 2, "prompt": "a dog"},
        {"at_s": 2, "image_url": url(30)},
    ]
    made = make(client, cards=cards, input_reference={"image_url": url(10)}, seconds=4)
    recipe = client.get(f"/v1/videos/{made}").json()["hibari"]["recipe"]
    assert (recipe["picture"], [card["picture"] for card in recipe["cards"]]) == (True, [False, True] * 2)
    for number, width in enumerate((10, 20, 30)):
        answer = client.get(f"/v1/videos/{made}/pictures/{number}")
        assert answer.headers["content-type"] == "image/png"
        with Image.open(BytesIO(answer.content)) as image:
            assert (image.format, image.size) == ("PNG", (width, 48))
    assert "it has 3" in client.get(f"/v1/videos/{made}/pictures/3").json()["error"]["message"]
    assert client.get(f"/v1/videos/{made}/pictures/-1").status_code == 400
    stranger = client_for(parts, key_for(parts, "eve"))
    assert stranger.get(f"/v1/videos/{made}/pictures/0").status_code == 404


def test_samples_come_once_and_are_no_more_once_they_are_deleted(tmp_path: Path) -> None:
    parts = parts_for(settings_for(tmp_path, HIBARI_MODEL="mini", HIBARI_QUOTA_MB="0.001"))
    client = client_for(parts)
    welcome(client.app)  # pyright: ignore[reportArgumentType]
    welcome(client.app)  # pyright: ignore[reportArgumentType]
    samples = client.get("/v1/videos").json()["data"]
    assert [video["hibari"]["sample"] for video in samples] == [True] * 3
    assert {video["model"] for video in samples} == {"mini"}
    assert {parts.jobs.get(video["id"]).priority for video in samples} == {-1}
    for video in samples:
        client.delete(f"/v1/videos/{video['id']}")
    welcome(client.app)  # pyright: ignore[reportArgumentType]
    assert ids(client) == []

    # Whoever signs in for the first time finds some, too, unless they have videos already.
    for name, count in (("ada", 3), ("eve", 1)):
        key = key_for(parts, name)
        if name == "eve":
            owner = parts.accounts.authenticate(key).account.id
            parts.accounts.set_limits(owner, max_running=None, max_queued=None, max_stored_bytes=10**9)
            make(client_for(parts, key))
        for _ in range(2):
            assert client.post("/v1/session", json={"key": key}).status_code == 200
        assert len(ids(client_for(parts, key))) == count
    parts.database.close()


@pytest.mark.parametrize("environment", [{"HIBARI_SAMPLES": "0", "HIBARI_MODEL": "mini"}, {}])
def test_there_are_no_samples_where_none_are_wanted_or_quick(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    parts = parts_for(settings_for(tmp_path, **environment))
    client = client_for(parts)
    welcome(client.app)  # pyright: ignore[reportArgumentType]
    assert ids(client) == []
    parts.database.close()
