"""Defends: what the routes about webhooks answer, and that a secret is in the answer that makes it and in no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import client_for, key_for, parts_for, settings_for
from fastapi.testclient import TestClient

from hibari.api import Parts

URL = "http://127.0.0.1:9/hook"


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = parts_for(settings_for(tmp_path, HIBARI_PRIVATE_URLS="1"))
    yield parts
    parts.database.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    return client_for(parts)


def register(client: TestClient, **values: Any) -> dict[str, Any]:
    answer = client.post("/v1/webhook_endpoints", json={"url": URL, **values})
    assert answer.status_code == 200, answer.text
    return answer.json()


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_an_endpoint_from_its_making_to_its_end(client: TestClient) -> None:
    made = register(client, name="mine", event_types=["video.failed"])
    secret = made.pop("signing_secret")
    assert secret.startswith("whsec_")
    address = f"/v1/webhook_endpoints/{made['id']}"
    assert client.get(address).json() == made
    assert made["enabled"] is True
    changed = client.post(address, json={"url": f"{URL}/2", "enabled": False}).json()
    assert (changed["url"], changed["name"], changed["enabled"]) == (f"{URL}/2", "mine", False)
    rotated = client.post(f"{address}/rotate_secret").json()
    assert rotated["signing_secret"] not in (None, secret)
    kept = client.post(f"{address}/rotate_secret", json={"keep_old_secret_active_for_24_hours": True}).json()
    other = register(client)
    listed = client.get("/v1/webhook_endpoints")
    assert [one["id"] for one in listed.json()["data"]] == [other["id"], made["id"]]
    for hidden in (secret, rotated["signing_secret"], kept["signing_secret"], other["signing_secret"]):
        assert hidden not in listed.text + client.get(address).text
    first = client.get("/v1/webhook_endpoints", params={"limit": 1}).json()
    assert (first["has_more"], first["last_id"]) == (True, other["id"])
    second = client.get("/v1/webhook_endpoints", params={"after": other["id"]}).json()
    assert ([one["id"] for one in second["data"]], second["has_more"]) == ([made["id"]], False)
    gone = client.delete(address).json()
    assert gone == {"id": made["id"], "deleted": True, "object": "webhook_endpoint.deleted"}
    assert code_of(client.get(address)) == (404, "not_found")


def test_the_log_and_replay(client: TestClient) -> None:
    endpoint = register(client)["id"]
    video = client.post("/v1/videos", json={"prompt": "a cat"}).json()["id"]
    client.post(f"/v1/videos/{video}/cancel")
    address = f"/v1/webhook_endpoints/{endpoint}/deliveries"
    (delivery,) = client.get(address).json()["data"]
    assert delivery["event"]["data"] == {"id": video}
    assert delivery["event"]["id"] == delivery["id"]
    assert (delivery["status"], delivery["attempts"]) == ("pending", [])
    assert client.get(f"{address}/{delivery['id']}").json() == delivery
    assert client.post(f"{address}/{delivery['id']}/replay").json()["status"] == "pending"
    assert code_of(client.get(f"{address}/evt_none")) == (404, "not_found")
    assert code_of(client.get(address, params={"after": "evt_none"})) == (400, "invalid_value")


def test_what_is_wrong_is_named(client: TestClient) -> None:
    endpoint = register(client)["id"]
    for path, values, param in (
        ("", {"event_types": []}, "event_types"),
        ("", {"event_types": ["batch.completed"]}, "event_types.0"),
        ("", {"url": URL, "name": "\n"}, "name"),
        ("", {"url": "file:///etc/passwd"}, "url"),
        ("", {}, "url"),
        (f"/{endpoint}", {"url": "https://"}, "url"),
        (f"/{endpoint}/test", {"event_type": "response.completed"}, "event_type"),
        (f"/{endpoint}/test", {"event_type": "video.failed"}, "url"),  # nobody listens there
    ):
        given = {} if path or "url" in values or not values else {"url": URL}
        answer = client.post(f"/v1/webhook_endpoints{path}", json={**given, **values})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == param
    assert code_of(client.get("/v1/webhook_endpoints", params={"after": "x"})) == (400, "invalid_value")


def test_private_addresses_are_refused_where_the_owner_says_nothing(tmp_path: Path) -> None:
    client = client_for(parts_for(settings_for(tmp_path)))
    for url in (URL, "http://localhost/", "http://[::ffff:10.0.0.1]/", "http://2130706433/"):
        answer = client.post("/v1/webhook_endpoints", json={"url": url})
        assert code_of(answer) == (400, "private_address"), url
        assert "HIBARI_PRIVATE_URLS" in answer.json()["error"]["message"]


def test_what_is_another_accounts_is_not_there(parts: Parts) -> None:
    mine, other = (client_for(parts, key_for(parts, name)) for name in ("ann", "bob"))
    endpoint = register(mine)["id"]
    address = f"/v1/webhook_endpoints/{endpoint}"
    for answer in (
        other.get(address),
        other.post(address, json={"name": "x"}),
        other.delete(address),
        other.post(f"{address}/rotate_secret"),
        other.post(f"{address}/test", json={"event_type": "video.failed"}),
        other.get(f"{address}/deliveries"),
    ):
        assert code_of(answer) == (404, "not_found")
    assert other.get("/v1/webhook_endpoints").json()["data"] == []
    reader = parts.accounts.create_key(parts.accounts.all()[0].id, "reader", scopes=["videos:read"]).secret
    assert code_of(client_for(parts, reader).delete(address)) == (403, "insufficient_scope")
