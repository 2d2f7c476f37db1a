"""Defends: a cookie stands for an API key and for no longer than that, and no other server's page can use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import client_for, key_for, parts_for, settings_for
from fastapi.testclient import TestClient

from hibari.api import Parts

HERE = {"Origin": "http://127.0.0.1:8000"}


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = parts_for(settings_for(tmp_path))
    yield parts
    parts.database.close()


def code_of(answer: Any) -> str:
    assert answer.status_code >= 400, answer.text
    return answer.json()["error"]["code"]


def signed_in(parts: Parts, key: str) -> TestClient:
    client = client_for(parts)
    answer = client.post("/v1/session", json={"key": f" {key}\n"}, headers=HERE)
    assert answer.status_code == 200, answer.text
    return client


def test_the_cookie_is_valid_wherever_the_header_is(parts: Parts) -> None:
    client = signed_in(parts, key_for(parts, "ada"))
    assert client.get("/v1/session").json()["account"]["name"] == "ada"
    made = client.post("/v1/videos", json={"prompt": "a cat"}, headers=HERE).json()
    parts.jobs.cancel(made["id"])
    assert client.get(f"/v1/videos/{made['id']}/events").status_code == 200
    assert client.get("/v1/events").status_code == 200
    assert client.get("/v1/videos").json()["data"][0]["id"] == made["id"]


def test_no_script_and_no_other_site_gets_the_cookie(parts: Parts) -> None:
    key = key_for(parts, "ada")
    answer = client_for(parts).post("/v1/session", json={"key": key}, headers=HERE)
    attributes = answer.headers["set-cookie"].lower().split("; ")
    assert {"httponly", "samesite=strict", "path=/v1"} <= set(attributes)
    assert "secure" not in attributes
    safe = client_for(parts)
    safe.base_url = "https://127.0.0.1:8000"
    answer = safe.post("/v1/session", json={"key": key}, headers={"Origin": "https://127.0.0.1:8000"})
    assert "secure" in answer.headers["set-cookie"].lower().split("; ")


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://127.0.0.1:8001"])
def test_changes_by_cookie_must_come_from_our_own_page(parts: Parts, origin: str | None) -> None:
    key = key_for(parts, "ada")
    client = signed_in(parts, key)
    headers = {} if origin is None else {"Origin": origin}
    for method, path in [("POST", "/v1/videos"), ("DELETE", "/v1/videos/video_x")]:
        assert code_of(client.request(method, path, json={"prompt": "a"}, headers=headers)) == "wrong_origin"
    assert client.get("/v1/videos").json()["data"] == []
    # The header needs no origin: a browser does not add it by itself.
    bearer = {**headers, "Authorization": f"Bearer {key}"}
    assert client.post("/v1/videos", json={"prompt": "a"}, headers=bearer).status_code == 200


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_nobody_is_signed_in_or_out_by_another_page(parts: Parts, method: str) -> None:
    client = signed_in(parts, key_for(parts, "ada"))
    evil = {"Origin": "https://evil.example"}
    answer = client.request(method, "/v1/session", json={"key": key_for(parts, "eve")}, headers=evil)
    assert code_of(answer) == "wrong_origin"
    assert client.get("/v1/session").json()["account"]["name"] == "ada"


def test_a_revoked_key_ends_at_the_next_request(parts: Parts) -> None:
    client = signed_in(parts, key_for(parts, "ada"))
    parts.accounts.revoke(parts.accounts.find_key("ada").id)
    assert code_of(client.get("/v1/session")) == "invalid_api_key"
    assert code_of(client.post("/v1/videos", json={"prompt": "a"}, headers=HERE)) == "invalid_api_key"


def test_signing_out_takes_the_cookie_and_leaves_the_key(parts: Parts) -> None:
    key = key_for(parts, "ada")
    client = signed_in(parts, key)
    assert client.delete("/v1/session", headers=HERE).status_code == 204
    assert code_of(client.get("/v1/session")) == "missing_api_key"
    assert client_for(parts, key).get("/v1/session").json()["key"] == key[:11]


def test_a_wrong_key_sets_no_cookie(parts: Parts) -> None:
    key_for(parts, "ada")
    client = client_for(parts)
    for key in ("hb_" + "x" * 43, "\x7fé"):
        answer = client.post("/v1/session", json={"key": key}, headers=HERE)
        assert code_of(answer) == "invalid_api_key"
        assert "set-cookie" not in answer.headers
    assert code_of(client.post("/v1/session", json={}, headers=HERE)) == "missing_parameter"
    assert code_of(client.post("/v1/session", json={"key": "x" * 9999}, headers=HERE)) == "too_large"


def test_a_server_with_one_user_has_a_session_without_a_key(parts: Parts) -> None:
    answer = client_for(parts).get("/v1/session").json()
    assert answer["account"]["name"] == "local"
    assert answer["key"] is None
