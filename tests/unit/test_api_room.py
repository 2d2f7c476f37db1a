"""Defends: nothing is taken for which there is no room, the account's or the disk's, and nothing is left of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from api_server import client_for, clip, parts_for, picture, settings_for
from fastapi.testclient import TestClient

from hibari import catalog
from hibari.api import Parts, uploads
from hibari.contracts import GenerationRequest, OutputError, QuotaReached
from hibari.db import Database


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = parts_for(settings_for(tmp_path))
    yield parts
    parts.database.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    return client_for(parts)


def limit(parts: Parts, size_bytes: int | None) -> None:
    account = parts.accounts.local().account.id
    parts.accounts.set_limits(account, max_running=None, max_queued=None, max_stored_bytes=size_bytes)


def asks(client: TestClient, tmp_path: Path) -> Iterator[Any]:
    """Every way in which files come."""
    content = clip(tmp_path / "a.mp4", GenerationRequest.resolve(catalog.spec("testcard"), "a", seed=1))
    data = {"prompt": "a", "seconds": "1"}
    yield client.post("/v1/videos", json=data)
    yield client.post("/v1/videos", data=data, files={"input_reference": picture()})
    yield client.post("/v1/videos/extensions", data=data, files={"video": content})
    yield client.post("/v1/videos/characters", data={"name": "Mo"}, files={"video": content})


def test_a_full_quota_is_a_413_and_leaves_nothing(parts: Parts, client: TestClient, tmp_path: Path) -> None:
    limit(parts, 50)
    for answer in asks(client, tmp_path):
        assert answer.status_code == 413, answer.text
        assert answer.json()["error"]["code"] == "quota_exceeded"
        assert "retry-after" not in answer.headers, "waiting does not help"
    assert parts.storage.keys("") == []
    assert client.get("/v1/videos").json()["data"] == []
    assert parts.stored.used_bytes("acct_local") == 0
    limit(parts, 10**9)
    assert {answer.status_code for answer in asks(client, tmp_path)} == {200}
    used = parts.stored.used_bytes("acct_local")
    uploaded = sum(path.stat().st_size for path in (tmp_path / "files").rglob("*") if path.is_file())
    assert used > uploaded > 0, "videos that wait count as well"


def test_who_uploads_at_once_gets_no_more_room_than_there_is(
    tmp_path: Path, shared_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_for(settings_for(tmp_path), database=shared_database)
    owner = parts.accounts.create("ada").id
    first = uploads.store_picture(parts, owner, picture(), "picture")
    size_bytes = parts.stored.used_bytes(owner)
    most = size_bytes * 4 - 1  # for two more
    parts.accounts.set_limits(owner, max_running=None, max_queued=None, max_stored_bytes=most)
    put = parts.storage.put

    def slowly(key: str, content: Any) -> Any:
        time.sleep(0.1)  # whoever looks only at what is stored already lets all of them pass
        return put(key, content)

    monkeypatch.setattr(parts.storage, "put", slowly)

    def store(_: int) -> str | None:
        try:
            return uploads.store_picture(parts, owner, picture(), "picture").key
        except QuotaReached:
            return None

    with ThreadPoolExecutor(6) as pool:
        stored = {key for key in pool.map(store, range(6)) if key is not None}
    assert len(stored) == 2
    assert set(parts.storage.keys("uploads")) == stored | {first.key}
    assert parts.stored.used_bytes(owner) == 3 * size_bytes


def test_a_disk_that_is_nearly_full_takes_nothing_new(
    parts: Parts, client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.storage, "free_bytes", lambda: parts.settings.reserve_bytes)
    for answer in asks(client, tmp_path):
        assert answer.status_code == 413, answer.text
        assert answer.json()["error"]["code"] == "storage_full"
    assert parts.storage.keys("") == []
    monkeypatch.setattr(parts.storage, "free_bytes", lambda: None)  # as S3
    assert {answer.status_code for answer in asks(client, tmp_path)} == {200}


def test_what_the_disk_has_no_room_for_is_refused_before_it_comes(
    parts: Parts, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(*_: object) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr(parts.storage, "free_bytes", lambda: parts.settings.reserve_bytes + 2**20)
    monkeypatch.setattr("hibari.api.room.read_body", read)
    for path in ("", "/extensions", "/characters"):
        answer = client.post(f"/v1/videos{path}", files={"video": bytes(2**20)})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "storage_full")


def test_a_temporary_folder_that_takes_nothing_is_no_bug(
    parts: Parts, client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    answer = client.post("/v1/videos/extensions", data={"prompt": "a"}, files={"video": bytes(2**21)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_unavailable")
    assert str(tmp_path) not in answer.text


def test_a_file_that_cannot_be_stored_does_not_count(
    parts: Parts, client: TestClient, tmp_path: Path
) -> None:
    (tmp_path / "files" / "uploads").write_bytes(b"a file where a folder should be")
    answer = client.post("/v1/videos", data={"prompt": "a"}, files={"input_reference": picture()})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_unavailable")
    assert parts.stored.used_bytes("acct_local") == 0


def test_a_character_that_cannot_be_finished_leaves_nothing(
    parts: Parts, client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = parts.storage.put

    def filled_up(key: str, content: Any) -> Any:
        if key.endswith("about.json"):
            raise OutputError("no space left")
        return put(key, content)

    monkeypatch.setattr(parts.storage, "put", filled_up)
    content = clip(tmp_path / "a.mp4", GenerationRequest.resolve(catalog.spec("testcard"), "a", seed=1))
    answer = client.post("/v1/videos/characters", data={"name": "Mo"}, files={"video": content})
    assert answer.status_code == 503
    assert parts.storage.keys("") == []
    assert parts.stored.used_bytes("acct_local") == 0


def test_a_deleted_video_makes_room(parts: Parts, client: TestClient) -> None:
    video = client.post("/v1/videos", json={"prompt": "a"}).json()["id"]
    limit(parts, parts.stored.used_bytes("acct_local"))
    assert client.post("/v1/videos", json={"prompt": "a"}).status_code == 413
    client.delete(f"/v1/videos/{video}")
    assert client.post("/v1/videos", json={"prompt": "a"}).status_code == 200
