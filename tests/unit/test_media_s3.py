"""Defends: S3 is the same storage as a folder, by a URL; against moto's server, over HTTP."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from api_server import client_for, finish_next, parts_for, picture, settings_for
from moto.server import ThreadedMotoServer

from hibari.contracts import InputError, OutputError
from hibari.media.storage import AlreadyStored, Storage

CONTENT = bytes(range(256)) * 5000  # several pieces


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def endpoint(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "ann",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT": address,
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    urllib.request.urlopen(urllib.request.Request(f"{address}/clips", method="PUT")).close()
    return address


@pytest.fixture
def storage(endpoint: str) -> Iterator[Storage]:
    storage = Storage("s3://clips/one/two")
    yield storage
    storage.remove("")


def test_what_is_stored_comes_back(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(CONTENT)
    stored = storage.put("video_1/video.mp4", tmp_path / "clip.mp4")
    assert storage.find("video_1/video.mp4") == stored
    assert stored.etag.startswith('"')
    assert b"".join(storage.read("video_1/video.mp4")) == CONTENT
    assert b"".join(storage.read("video_1/video.mp4", 100, 300_000)) == CONTENT[100:300_000]
    assert b"".join(storage.read("video_1/video.mp4", 100)) == CONTENT[100:]
    storage.copy_to("video_1/video.mp4", tmp_path / "back.mp4")
    assert (tmp_path / "back.mp4").read_bytes() == CONTENT
    assert Storage("s3://clips/one").keys("two") == ["two/video_1/video.mp4"]
    assert storage.free_bytes() is None


def test_a_key_is_written_once_whoever_comes_at_the_same_time(storage: Storage) -> None:
    def put(number: int) -> bool:
        try:
            storage.put("a", bytes([number]) * 1000)
        except AlreadyStored:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(put, range(8)))
    assert sum(won) == 1
    assert b"".join(storage.read("a")) == bytes([won.index(True)]) * 1000


def test_all_of_a_video_is_removed_and_nothing_else(storage: Storage) -> None:
    for key in ("video_1/1/video.mp4", "video_1/2/video.mp4", "video_11/video.mp4"):
        storage.put(key, b"x")
    assert storage.remove("video_1") == 2
    assert storage.remove("video_1") == 0
    assert storage.keys("") == ["video_11/video.mp4"]
    assert storage.find("video_1/1/video.mp4") is None
    with pytest.raises(InputError, match="no nothing in the storage"):
        b"".join(storage.read("nothing"))


def test_a_link_is_signed_for_one_file_and_a_time(storage: Storage, tmp_path: Path) -> None:
    storage.put("video_1/video.mp4", CONTENT)
    url = storage.link("video_1/video.mp4", 60)
    assert url
    assert "X-Amz-Expires=60&" in url
    assert "X-Amz-Signature=" in url
    assert "hunter2" not in url
    with urllib.request.urlopen(url) as answer:
        assert answer.headers["content-type"] == "video/mp4"
        assert answer.read() == CONTENT
    assert Storage(tmp_path).link("a", 60) is None


def test_the_api_serves_from_s3_and_links_straight_to_the_bucket(storage: Storage, tmp_path: Path) -> None:
    parts = replace(parts_for(settings_for(tmp_path)), storage=storage)
    client = client_for(parts)
    video = client.post("/v1/videos", json={"prompt": "a"}).json()["id"]
    finish_next(parts, CONTENT)
    whole = client.get(f"/v1/videos/{video}/content")
    assert whole.content == CONTENT + b"video"
    part = client.get(f"/v1/videos/{video}/content", headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, CONTENT[5:10])
    same = client.get(f"/v1/videos/{video}/content", headers={"If-None-Match": whole.headers["etag"]})
    assert same.status_code == 304
    link = client.get(f"/v1/videos/{video}/link").json()["url"]
    assert "/clips/one/two/video_" in link
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == whole.content
    sent = client.post("/v1/videos", data={"prompt": "a"}, files={"input_reference": picture()})
    assert sent.status_code == 200
    assert len(storage.keys("uploads")) == 1
    parts.database.close()


def test_a_storage_that_is_away_is_said_and_tells_no_address(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{port}")
    away = Storage("s3://clips/one/two")
    for ask in (
        lambda: away.put("a", b"x"),
        lambda: away.find("a"),
        lambda: b"".join(away.read("a")),
        lambda: away.keys("a"),
    ):
        with pytest.raises(OutputError) as caught:
            ask()
        assert str(port) not in str(caught.value)
