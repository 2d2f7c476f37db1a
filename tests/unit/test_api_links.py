"""Defends: a link opens one file of one video, without a key, for its time, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import client_for, finish_next, key_for, parts_for, settings_for
from fastapi.testclient import TestClient

from hibari.accounts import LINKS_SECRET, Accounts
from hibari.api import Parts
from hibari.cli import main
from hibari.db import Database, migrate


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = parts_for(settings_for(tmp_path))
    yield parts
    parts.database.close()


@pytest.fixture
def owner(parts: Parts) -> TestClient:
    return client_for(parts, key_for(parts, "ann"))


@pytest.fixture
def stranger(parts: Parts, owner: TestClient) -> TestClient:
    return client_for(parts)


def made(parts: Parts, owner: TestClient) -> str:
    video = owner.post("/v1/videos", json={"prompt": "a"}).json()["id"]
    finish_next(parts)
    return video


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_link_needs_no_key(parts: Parts, owner: TestClient, stranger: TestClient) -> None:
    video = made(parts, owner)
    assert code_of(stranger.get(f"/v1/videos/{video}/content")) == (401, "missing_api_key")
    for variant in ("video", "thumbnail"):
        link = owner.get(f"/v1/videos/{video}/link", params={"variant": variant}).json()
        assert link["url"].startswith("http://127.0.0.1:8000/v1/links/")
        wanted = owner.get(f"/v1/videos/{video}/content", params={"variant": variant})
        got = stranger.get(link["url"])
        assert (got.status_code, got.content) == (200, wanted.content)
        assert got.headers["content-type"] == wanted.headers["content-type"]
        assert stranger.get(link["url"], headers={"Range": "bytes=0-9"}).content == wanted.content[:10]
        assert stranger.head(link["url"]).headers["content-length"] == str(len(wanted.content))


def test_a_link_opens_nothing_else(parts: Parts, owner: TestClient, stranger: TestClient) -> None:
    one, other = made(parts, owner), made(parts, owner)
    url = owner.get(f"/v1/videos/{one}/link").json()["url"]
    later = re.sub(r"expires=(\d+)", lambda found: f"expires={int(found[1]) + 1}", url)
    for changed in (
        url.replace(one, other),
        url.replace("/video?", "/thumbnail?"),
        later,
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        re.sub("signature=.*", "signature=\u00e9", url),
    ):
        assert code_of(stranger.get(changed)) == (403, "invalid_link"), changed
    assert stranger.get(url.split("?")[0]).status_code == 400
    assert stranger.post(url).status_code == 405


def test_a_link_has_an_end(
    parts: Parts, owner: TestClient, stranger: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = made(parts, owner)
    link = owner.get(f"/v1/videos/{video}/link", params={"seconds": 10}).json()
    monkeypatch.setattr("hibari.api.links.time.time", lambda: link["expires_at"] - 1)
    assert stranger.get(link["url"]).status_code == 200
    monkeypatch.setattr("hibari.api.links.time.time", lambda: link["expires_at"])
    assert code_of(stranger.get(link["url"])) == (403, "link_expired")
    monkeypatch.undo()
    owner.delete(f"/v1/videos/{video}")
    assert code_of(stranger.get(link["url"])) == (404, "not_found")


def test_who_gets_a_link(parts: Parts, owner: TestClient, stranger: TestClient) -> None:
    video = made(parts, owner)
    waiting = owner.post("/v1/videos", json={"prompt": "a"}).json()["id"]
    assert code_of(owner.get(f"/v1/videos/{waiting}/link")) == (409, "video_not_ready")
    assert code_of(owner.get(f"/v1/videos/{video}/link", params={"seconds": 3601})) == (400, "invalid_value")
    assert code_of(stranger.get(f"/v1/videos/{video}/link")) == (401, "missing_api_key")
    other = client_for(parts, key_for(parts, "bob"))
    assert code_of(other.get(f"/v1/videos/{video}/link")) == (404, "not_found")


def test_a_new_secret_ends_all_links_at_once(
    parts: Parts, owner: TestClient, stranger: TestClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = made(parts, owner)
    url = owner.get(f"/v1/videos/{video}/link").json()["url"]
    assert stranger.get(url).status_code == 200
    parts.accounts.end_links()
    assert code_of(stranger.get(url)) == (403, "invalid_link")
    assert stranger.get(owner.get(f"/v1/videos/{video}/link").json()["url"]).status_code == 200

    database = Database(f"sqlite:///{tmp_path}/hibari.db")
    migrate(database)
    before = Accounts(database).server_secret(LINKS_SECRET)
    assert main(["admin", "rotate-links", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "all links that this server had signed are closed\n"
    assert Accounts(database).server_secret(LINKS_SECRET) != before
    database.close()


def test_another_server_signs_with_another_secret(parts: Parts) -> None:
    secret = parts.accounts.server_secret("links")
    assert len(secret) == 32
    assert parts.accounts.server_secret("links") == secret
    assert parts.accounts.server_secret("other") != secret
