"""Defends: an account looks after its own keys without ever getting more than it has; an administrator looks after all
accounts and the service, and every act of theirs is in the audit log; for others none of it is there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import client_for, finish_next, parts_for, settings_for
from fastapi.testclient import TestClient

from hibari.accounts import Role
from hibari.api import Parts

PROMPT = "nobody's business"


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = parts_for(settings_for(tmp_path))
    yield parts
    parts.database.close()


def member(parts: Parts, name: str, **key: Any) -> tuple[str, TestClient]:
    account = parts.accounts.create(name)
    return account.id, client_for(parts, parts.accounts.create_key(account.id, name, **key).secret)


def error_of(answer: Any) -> tuple[str, str | None]:
    assert answer.status_code >= 400, answer.text
    return answer.json()["error"]["code"], answer.json()["error"]["param"]


def test_a_key_is_made_used_listed_and_revoked(parts: Parts) -> None:
    _, ada = member(parts, "ada")
    made = ada.post("/v1/account/keys", json={"name": "phone", "scopes": ["videos:read"]}).json()
    phone = client_for(parts, made["secret"])
    assert phone.get("/v1/videos").status_code == 200
    assert error_of(phone.post("/v1/videos", json={"prompt": "a"}))[0] == "insufficient_scope"
    listed = ada.get("/v1/account/keys").json()["data"]
    assert [(key["name"], key["status"]) for key in listed] == [("phone", "active"), ("ada", "active")]
    assert listed[0]["last_used_at"] is not None
    assert made["secret"] not in ada.get("/v1/account/keys").text
    assert ada.delete(f"/v1/account/keys/{made['id']}").json()["status"] == "revoked"
    assert error_of(phone.get("/v1/videos"))[0] == "invalid_api_key"
    assert [(one.action.value, one.actor.name) for one in parts.audit.page()[0]] == [
        ("key.revoked", "ada"),
        ("key.created", "ada"),
    ]


def test_no_key_makes_one_that_may_more_or_lives_longer(parts: Parts) -> None:
    ada, whole = member(parts, "ada", role=Role.ADMIN)
    soon = int(time.time()) + 3600
    narrow = parts.accounts.create_key(
        ada, "narrow", scopes=["videos:write"], expires_at=soon, requests_per_minute=7
    )
    client = client_for(parts, narrow.secret)
    ask = "/v1/account/keys"
    for scopes in (["videos:read"], ["admin"], ["everything"]):
        assert error_of(client.post(ask, json={"name": "x", "scopes": scopes})) == ("invalid_value", "scopes")
    later = {"name": "x", "expires_at": soon + 1}
    assert error_of(client.post(ask, json=later)) == ("invalid_value", "expires_at")
    made = client.post(ask, json={"name": "x"}).json()
    assert (made["scopes"], made["expires_at"], made["role"]) == (["videos:write"], soon, "member")
    assert made["requests_per_minute"] == 7
    other = next(key for key in parts.accounts.keys(ada) if key.name == "ada")
    assert error_of(client.delete(f"{ask}/{other.id}"))[0] == "insufficient_scope"
    assert whole.delete(f"{ask}/{narrow.key.id}").status_code == 200
    assert error_of(whole.delete(f"{ask}/key_0"))[0] == "not_found"


def test_the_first_key_locks_nobody_out(parts: Parts) -> None:
    local = client_for(parts)
    ask = "/v1/account/keys"
    assert error_of(local.post(ask, json={"name": "x", "scopes": ["videos:read"]}))[1] == "scopes"
    assert error_of(local.post(ask, json={"name": "x", "expires_at": 2**40}))[1] == "expires_at"
    made = local.post(ask, json={"name": "mine"}).json()
    assert error_of(local.get("/v1/account"))[0] == "missing_api_key"
    mine = client_for(parts, made["secret"])
    assert mine.get("/v1/account").json()["name"] == "local"
    assert mine.get("/v1/admin/accounts").status_code == 200


def test_an_account_says_what_it_has_and_may(parts: Parts) -> None:
    account_id, ada = member(parts, "ada")
    ada.post("/v1/videos", json={"prompt": PROMPT, "seconds": "2"})
    finish_next(parts)
    ada.post("/v1/videos", json={"prompt": PROMPT})
    parts.accounts.set_limits(account_id, max_running=None, max_queued=3, max_stored_bytes=10**9)
    found = ada.get("/v1/account").json()
    assert found["role"] == "member"
    assert found["limits"] == {"max_running": None, "max_queued": 3, "max_stored_bytes": 10**9}
    usage = found["usage"]
    assert (usage["queued"], usage["completed"], usage["made_seconds"]) == (1, 1, 2.0)
    assert usage["stored_bytes"] == parts.stored.used_bytes(account_id) > 0


def test_an_administrator_looks_after_accounts_and_it_is_written_down(parts: Parts) -> None:
    root_id, root = member(parts, "root", role=Role.ADMIN)
    made = root.post("/v1/admin/accounts", json={"name": "ann", "max_queued": 5}).json()
    path = f"/v1/admin/accounts/{made['id']}"
    assert (made["role"], made["own_limits"]["max_queued"]) == (None, 5)
    assert error_of(root.post("/v1/admin/accounts", json={"name": "ann"}))[0] == "conflict"
    key = root.post(f"{path}/keys", json={"name": "ann", "role": "reviewer"}).json()
    ann = client_for(parts, key["secret"])
    assert root.get(path).json()["role"] == "reviewer"
    changed = root.post(path, json={"max_queued": None, "max_running": 0}).json()
    assert changed["own_limits"] == {"max_running": 0, "max_queued": None, "max_stored_bytes": None}
    assert root.post(path, json={"role": "member"}).json()["role"] == "member"
    assert ann.get("/v1/admin/queue").status_code == 404
    assert root.post(f"{path}/pause").json()["paused_at"] is not None
    assert root.post(f"{path}/resume").json()["paused_at"] is None
    names = [one["name"] for one in root.get("/v1/admin/accounts").json()["data"]]
    assert names == ["ann", "root"]
    page = root.get("/v1/admin/accounts?limit=1").json()
    assert (
        page["has_more"],
        root.get(f"/v1/admin/accounts?after={page['last_id']}").json()["data"][0]["name"],
    ) == (
        True,
        "root",
    )
    assert root.delete(f"{path}/keys/{key['id']}").json()["status"] == "revoked"
    assert root.delete(path).json()["deleted"]
    assert error_of(ann.get("/v1/videos"))[0] == "invalid_api_key"
    assert error_of(root.get(path))[0] == "not_found"

    # Nobody locks themselves out by a click.
    own = f"/v1/admin/accounts/{root_id}"
    assert error_of(root.post(own, json={"role": "member"}))[0] == "conflict"
    assert error_of(root.delete(own))[0] == "conflict"

    log = root.get("/v1/admin/audit?limit=100").json()["data"]
    assert [entry["action"] for entry in reversed(log)] == [
        "account.created",
        "key.created",
        "account.limits",
        "account.role",
        "account.paused",
        "account.resumed",
        "key.revoked",
        "account.deleted",
    ]
    assert {(entry["via"], entry["actor_name"], entry["actor_id"]) for entry in log} == {
        ("api", "root", root_id)
    }
    page = root.get(f"/v1/admin/audit?limit=1&action=account&account_id={made['id']}").json()
    assert (page["data"][0]["action"], page["has_more"]) == ("account.deleted", True)
    older = root.get(f"/v1/admin/audit?action=account&after={page['last_id']}").json()
    assert older["data"][0]["action"] == "account.resumed"
    assert error_of(root.get("/v1/admin/audit?action=nothing")) == ("invalid_value", "action")


def test_an_administrator_runs_the_queue_without_reading_prompts(parts: Parts) -> None:
    _, root = member(parts, "root", role=Role.ADMIN)
    ada_id, ada = member(parts, "ada")
    ids = [ada.post("/v1/videos", json={"prompt": PROMPT}).json()["id"] for _ in range(3)]
    listed = root.get("/v1/admin/videos?status=queued&status=running")
    assert [video["id"] for video in listed.json()["data"]] == ids[::-1]
    assert listed.json()["data"][0]["account_name"] == "ada"
    assert PROMPT not in listed.text
    assert root.post(f"/v1/admin/videos/{ids[2]}", json={"priority": 9}).json()["priority"] == 9
    assert finish_next(parts).id == ids[2]
    assert root.post(f"/v1/admin/videos/{ids[0]}/cancel").json()["status"] == "cancelled"
    assert ada.get(f"/v1/videos/{ids[0]}").json()["error"]["code"] == "cancelled"
    queue = root.post("/v1/admin/queue/pause").json()
    assert queue["paused_at"] is not None
    assert queue["counts"] == {"queued": 1, "running": 0, "completed": 1, "failed": 0, "cancelled": 1}
    assert root.post("/v1/admin/queue/resume").json()["paused_at"] is None
    assert (
        root.get(f"/v1/admin/videos?account_id={ada_id}&status=completed").json()["data"][0]["id"] == ids[2]
    )
    assert root.get("/v1/admin/videos?account_id=acct_0").json()["data"] == []
    models = {model["id"]: model for model in root.get("/v1/admin/models").json()["data"]}
    assert (models["testcard"]["queued"], models["testcard"]["completed"]) == (1, 1)
    assert models["testcard"]["weights_bytes"] is models["testcard"]["problem"] is None
    assert models["mini"]["weights_bytes"] > 10**6
    machine = {one["name"] for one in root.get("/v1/admin/models").json()["machine"]}
    assert {"memory", "disk", "codec h264"} <= machine
    storage = root.get("/v1/admin/storage").json()
    assert storage["used_bytes"] == sum(one["stored_bytes"] for one in storage["accounts"]) > 0
    ada.delete(f"/v1/videos/{ids[2]}")
    assert root.get("/v1/admin/storage").json()["sweeper"]["waiting_videos"] == 1
    written = root.get("/v1/admin/audit").text
    assert [
        action for action in ("video.priority", "video.cancelled", "server.paused") if action not in written
    ] == []
    assert PROMPT not in written


def test_a_reviewer_sees_the_queue_and_changes_nothing(parts: Parts) -> None:
    _, eve = member(parts, "eve", role=Role.REVIEWER)
    _, ada = member(parts, "ada")
    video = ada.post("/v1/videos", json={"prompt": PROMPT}).json()["id"]
    assert eve.get("/v1/admin/videos").json()["data"][0]["id"] == video
    assert eve.get("/v1/admin/queue").json()["counts"]["queued"] == 1
    assert eve.get("/v1/admin/models").status_code == 200
    for path in (f"videos/{video}/cancel", "queue/pause"):
        assert eve.post(f"/v1/admin/{path}").status_code == 404
    for path in ("accounts", "storage", "audit"):
        answer = eve.get(f"/v1/admin/{path}")
        unknown = eve.get(f"/v1/admin/{path}s/nothing")
        assert answer.json() == {
            "error": {**unknown.json()["error"], "message": f"GET /v1/admin/{path}: Not Found"}
        }
    assert ada.get("/v1/admin/videos").json() == {
        "error": {
            "message": "GET /v1/admin/videos: Not Found",
            "type": "invalid_request_error",
            "param": None,
            "code": "not_found",
        }
    }
