"""Defends: every route, for every kind of asker. The table must have a row for each route that the application has, so
that a new one cannot be forgotten."""

from __future__ import annotations

import json
import secrets
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from api_server import client_for, finish_next, parts_for, picture, settings_for
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy import update

from hibari.accounts import ROLE_SCOPES, Role
from hibari.api import Parts, create_app
from hibari.db.schema import keys
from hibari.studio.page import PAGES

Needs = Literal["nobody", "anybody", "videos:read", "videos:write", "admin", "admin or review"]
READ, WRITE = "videos:read", "videos:write"
PICTURE = f"data:image/png;base64,{b64encode(picture()).decode()}"
VIDEO, VIDEOS = {"video": {"id": "{video_id}"}}, {"videos": [{"id": "{video_id}"}, {"id": "{video_id}"}]}


@dataclass(frozen=True)
class Door:
    """A route, what its key must be able to do, and a body with which it succeeds. Where the path or the body names
    something, it is the owner's, and for all others it is not there."""

    method: str
    path: str
    needs: Needs
    body: dict[str, Any] | None = None
    succeeds: tuple[int, ...] = (200,)
    query: str = field(default="", kw_only=True)
    account: bool = field(default=True, kw_only=True)  # whether what it shows or does is an account's
    hidden: bool = field(default=False, kw_only=True)  # not there for whoever may not

    @property
    def names_something(self) -> bool:
        return "_id}" in self.path + json.dumps(self.body) + self.query


def admins(method: str, path: str, needs: Needs = "admin", body: dict[str, Any] | None = None) -> Door:
    """A route of an administrator's, who may do it to anybody."""
    return Door(method, f"/v1/admin/{path}", needs, body, account=False, hidden=True)


DOORS = [
    Door("GET", "/v1/videos", READ),
    Door("POST", "/v1/videos", WRITE, {"prompt": "a"}),
    Door("DELETE", "/v1/videos", WRITE, query="id={video_id}"),
    Door("POST", "/v1/videos/change", WRITE, {"ids": ["{video_id}"], "folder": "{folder_id}"}),
    Door("GET", "/v1/folders", READ),
    Door("POST", "/v1/folders", WRITE, {"name": "{new_name}"}),
    Door("POST", "/v1/folders/{folder_id}", WRITE, {"name": "{new_name}"}),
    Door("DELETE", "/v1/folders/{folder_id}", WRITE),
    Door("POST", "/v1/videos/forecast", WRITE, {"prompt": "a"}),
    Door("POST", "/v1/videos/edits", WRITE, {"prompt": "a", **VIDEO}),
    Door("POST", "/v1/videos/extensions", WRITE, {"prompt": "a", "seconds": "4", **VIDEO}),
    Door("POST", "/v1/videos/loops", WRITE, VIDEO),
    Door("POST", "/v1/videos/connections", WRITE, VIDEOS),
    Door("POST", "/v1/videos/blends", WRITE, VIDEOS),
    Door("POST", "/v1/videos/characters", WRITE, {"name": "Mo", **VIDEO}),
    Door("GET", "/v1/videos/characters/{character_id}", READ),
    Door("GET", "/v1/videos/{video_id}", READ),
    Door("DELETE", "/v1/videos/{video_id}", WRITE),
    Door("GET", "/v1/videos/{video_id}/lineage", READ),
    Door("GET", "/v1/videos/{video_id}/content", READ),
    Door("HEAD", "/v1/videos/{video_id}/content", READ),
    Door("GET", "/v1/videos/{video_id}/pictures/{number}", READ),
    Door("GET", "/v1/videos/{video_id}/events", READ),
    Door("GET", "/v1/videos/{video_id}/link", READ),
    # Whoever has a link needs no key: it is signed.
    Door("GET", "/v1/links/{video_id}/{variant}", "nobody", query="{signature}"),
    Door("HEAD", "/v1/links/{video_id}/{variant}", "nobody", query="{signature}"),
    Door("POST", "/v1/videos/{video_id}/cancel", WRITE),
    Door("POST", "/v1/videos/{video_id}/remix", WRITE, {"prompt": "a"}),
    Door("POST", "/v1/videos/{video_id}/trim", WRITE, {"first_frame": 0, "last_frame": 3}),
    Door("POST", "/v1/videos/{video_id}/again", WRITE),
    Door("POST", "/v1/prompt_help", READ, {"prompt": "a"}),
    Door("GET", "/v1/events", READ),
    Door("GET", "/v1/models", READ),
    Door("GET", "/v1/models/{name}", READ),
    Door("POST", "/v1/session", "nobody", {"key": "{key}"}),
    Door("GET", "/v1/session", "anybody"),
    Door("DELETE", "/v1/session", "nobody", None, (204,)),
    Door("GET", "/v1/webhook_event_types", READ),
    Door("GET", "/v1/webhook_endpoints", READ),
    Door("POST", "/v1/webhook_endpoints", WRITE, {"url": "http://127.0.0.1:9/hook"}),
    Door("GET", "/v1/webhook_endpoints/{endpoint_id}", READ),
    Door("POST", "/v1/webhook_endpoints/{endpoint_id}", WRITE, {"name": "other"}),
    Door("DELETE", "/v1/webhook_endpoints/{endpoint_id}", WRITE),
    Door("POST", "/v1/webhook_endpoints/{endpoint_id}/rotate_secret", WRITE),
    # 400: nobody listens there, and that is what it says.
    Door("POST", "/v1/webhook_endpoints/{endpoint_id}/test", WRITE, {"event_type": "video.failed"}, (400,)),
    Door("GET", "/v1/webhook_endpoints/{endpoint_id}/deliveries", READ),
    Door("GET", "/v1/webhook_endpoints/{endpoint_id}/deliveries/{event_id}", READ),
    Door("POST", "/v1/webhook_endpoints/{endpoint_id}/deliveries/{event_id}/replay", WRITE),
    Door("GET", "/v1/account", READ),
    Door("GET", "/v1/account/keys", READ),
    Door("POST", "/v1/account/keys", WRITE, {"name": "phone"}),
    Door("DELETE", "/v1/account/keys/{key_id}", WRITE),
    admins("GET", "accounts"),
    admins("POST", "accounts", "admin", {"name": "{new}"}),
    admins("GET", "accounts/{account_id}"),
    admins("POST", "accounts/{account_id}", "admin", {"max_queued": 3}),
    admins("DELETE", "accounts/{account_id}"),
    admins("POST", "accounts/{account_id}/pause"),
    admins("POST", "accounts/{account_id}/resume"),
    admins("GET", "accounts/{account_id}/keys"),
    admins("POST", "accounts/{account_id}/keys", "admin", {"name": "phone"}),
    admins("DELETE", "accounts/{account_id}/keys/{key_id}"),
    admins("GET", "queue", "admin or review"),
    admins("POST", "queue/pause"),
    admins("POST", "queue/resume"),
    admins("GET", "videos", "admin or review"),
    admins("POST", "videos/{video_id}", "admin", {"priority": 2}),
    admins("POST", "videos/{video_id}/cancel"),
    admins("GET", "models", "admin or review"),
    admins("GET", "storage"),
    admins("GET", "audit"),
    Door("GET", "/metrics", "admin", account=False),
    Door("GET", "/healthz", "nobody"),
    Door("GET", "/readyz", "nobody"),
    Door("GET", "/v1/openapi.json", "nobody"),
    Door("HEAD", "/v1/openapi.json", "nobody"),
]
# Files of the page, the same for everybody; what it shows it asks the API for.
STUDIO = {*PAGES, "/assets"}


@dataclass
class World:
    """A server with ada's things in it."""

    parts: Parts
    client: TestClient
    owner: str
    key: str

    def things(self) -> dict[str, str]:
        """New ones of hers."""
        headers = {"Authorization": f"Bearer {self.key}"}

        def post(path: str, **values: Any) -> str:
            answer = self.client.post(f"/v1/{path}", json=values, headers=headers)
            assert answer.status_code == 200, answer.text
            return answer.json()["id"]

        endpoint = post("webhook_endpoints", url="http://127.0.0.1:9/hook", event_types=["video.completed"])
        video = post("videos", prompt="a cat", input_reference={"image_url": PICTURE})
        while finish_next(self.parts).id != video:
            pass
        (sent,) = self.parts.webhooks.deliveries(self.owner, endpoint, after=None, limit=1)[0]
        character = post("videos/characters", name="Mo", video={"id": video})
        link = self.client.get(f"/v1/videos/{video}/link", headers=headers).json()["url"]
        return {
            "video_id": video,
            "variant": "video",
            "number": "0",
            "signature": urlsplit(link).query,
            "character_id": character,
            "endpoint_id": endpoint,
            "folder_id": post("folders", name=secrets.token_hex(4)),
            "event_id": sent.event_id,
            "name": "testcard",
            "key": self.key,
            **self.people(),
        }

    def people(self) -> dict[str, str]:
        """Another account, and a key: of hers, for her own routes."""
        key = self.parts.accounts.create_key(self.owner, "spare", scopes=["videos:write"])
        bob = self.parts.accounts.create(f"bob {uuid4()}")
        return {"account_id": bob.id, "key_id": key.key.id}

    def ask(self, door: Door, things: dict[str, str], authorization: str | None) -> Any:
        things = {**things, "new_name": secrets.token_hex(4)}
        path, sent = f"{door.path}?{door.query}" if door.query else door.path, json.dumps(door.body)
        if "accounts/{account_id}/keys/{key_id}" in path:  # the key's own account
            things = {**things, "account_id": self.owner}
        if "{new}" in sent:
            things = {**things, "new": f"new {uuid4()}"}
        for name, value in things.items():
            path, sent = path.replace(f"{{{name}}}", value), sent.replace(f"{{{name}}}", value)
        headers = {} if authorization is None else {"Authorization": authorization}
        if door.body is None:
            return self.client.request(door.method, path, headers=headers)
        headers["Content-Type"] = "application/json"
        return self.client.request(door.method, path, content=sent, headers=headers)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("hibari.webhooks.store.MAX_ENDPOINTS", 100)  # each asker makes some
    parts = parts_for(settings_for(tmp_path, HIBARI_PRIVATE_URLS="1"))
    owner = parts.accounts.create("ada").id
    yield World(parts, client_for(parts), owner, parts.accounts.create_key(owner, "ada").secret)
    parts.database.close()


def refused(answer: Any, status: int, code: str, who: str) -> None:
    assert answer.status_code == status, f"{who}: {answer.status_code} {answer.text}"
    if answer.request.method != "HEAD":
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"] == code, who


def test_every_route_has_a_row_and_every_row_a_route(world: World) -> None:
    app = create_app(world.parts.settings, world.parts)
    there = {
        (method, route.path)
        for route in iter_route_contexts(app.routes)
        if route.path not in STUDIO
        for method in route.methods or ()
    }
    assert {(door.method, door.path) for door in DOORS} == there
    assert len(DOORS) == len(there), "a row is there twice"


@pytest.mark.parametrize("door", DOORS, ids=lambda door: f"{door.method} {door.path}")
def test_every_door_for_every_asker(world: World, door: Door) -> None:
    parts = world.parts
    things = world.things()

    # Keys that open nothing, of the account whose things they are.
    revoked = parts.accounts.create_key(world.owner, "revoked")
    parts.accounts.revoke(revoked.key.id)
    expired = parts.accounts.create_key(world.owner, "expired", expires_at=time.time() + 60)
    with parts.database.write() as connection:
        connection.execute(update(keys).where(keys.c.id == expired.key.id).values(expires_at=time.time() - 1))
    strangers = {
        "no key": (None, "missing_api_key"),
        "a revoked key": (f"Bearer {revoked.secret}", "invalid_api_key"),
        "an expired key": (f"Bearer {expired.secret}", "invalid_api_key"),
        "a key of nobody": (f"Bearer hb_{'x' * 43}", "invalid_api_key"),
        "half a key": (f"Bearer {world.key[:-1]}", "invalid_api_key"),
        "another scheme": ("Basic eDp5", "invalid_api_key"),
    }
    for who, (authorization, code) in strangers.items():
        answer = world.ask(door, things, authorization)
        if door.needs == "nobody":
            assert answer.status_code in door.succeeds, who
        else:
            refused(answer, 401, code, who)
            assert answer.headers["www-authenticate"] == "Bearer"

    # Every role as it is made, and keys that may less than their role.
    for role in Role:
        for scopes in (None, *[[scope] for scope in ROLE_SCOPES[role]], []):
            who = f"a {role} with {scopes}"
            key = parts.accounts.create_key(world.owner, who, role=role, scopes=scopes)
            once = door.method == "DELETE" and door.names_something
            mine = world.things() if once else things
            answer = world.ask(door, mine, f"Bearer {key.secret}")
            if door.needs in ("nobody", "anybody") or key.key.scopes & set(door.needs.split(" or ")):
                assert answer.status_code in door.succeeds, f"{who}: {answer.status_code} {answer.text}"
            elif door.hidden:
                refused(answer, 404, "not_found", who)
            else:
                refused(answer, 403, "insufficient_scope", who)

    # Another account, whatever its role: what is ada's is not there for it, and it sees none of it.
    if door.needs == "nobody" or not door.account:
        return
    eve = parts.accounts.create("eve").id
    for role in Role:
        key = parts.accounts.create_key(eve, role.value, role=role)
        answer = world.ask(door, things, f"Bearer {key.secret}")
        if door.names_something:
            refused(answer, 404, "not_found", f"eve, a {role}")
        else:
            assert answer.status_code in door.succeeds
            hers = [value for name, value in things.items() if name.endswith(("_id", "key"))]
            assert not [value for value in (*hers, world.owner) if value in answer.text]
    # And a refusal has done nothing: all is still there for its owner.
    for path in (
        f"videos/{things['video_id']}",
        f"videos/characters/{things['character_id']}",
        f"webhook_endpoints/{things['endpoint_id']}/deliveries/{things['event_id']}",
    ):
        kept = world.client.get(f"/v1/{path}", headers={"Authorization": f"Bearer {world.key}"})
        assert kept.status_code == 200, path
    assert world.parts.jobs.get(things["video_id"]).error_code is None
