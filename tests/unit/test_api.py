"""Defends: what the routes answer, without a process, a model or a worker."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import client_for, clip, finish_next, key_for, parts_for, picture, settings_for
from fastapi.testclient import TestClient

from hibari import catalog
from hibari.api import Parts, create_app
from hibari.contracts import GenerationRequest
from hibari.jobs import Claims, Policy

CONTRACT_SIZES = ["720x1280", "1280x720", "1024x1792", "1792x1024", "1920x1080", "1080x1920"]


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = parts_for(settings_for(tmp_path))
    yield parts
    parts.database.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    return client_for(parts)


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code, error
    assert error["message"]
    return error


def make(client: TestClient, **values: Any) -> dict[str, Any]:
    answer = client.post("/v1/videos", json={"prompt": "a cat", **values})
    assert answer.status_code == 200, answer.text
    return answer.json()


def as_json(client: TestClient, values: dict[str, Any]) -> Any:
    return client.post("/v1/videos", json=values)


def as_form(client: TestClient, values: dict[str, Any]) -> Any:
    fields = {name: (None, str(value)) for name, value in values.items()}
    return client.post("/v1/videos", files=fields)


@pytest.mark.parametrize("send", [as_json, as_form])
def test_a_form_and_json_say_the_same(
    client: TestClient, parts: Parts, send: Callable[[TestClient, dict[str, Any]], Any]
) -> None:
    values = {
        "prompt": "a cat",
        "model": "testcard",
        "seconds": "8",
        "size": "1280x720",
        "seed": 7,
        "steps": 3,
    }
    video = send(client, values).json()
    assert video["object"] == "video"
    assert (video["status"], video["progress"], video["error"]) == ("queued", 0, None)
    assert (video["prompt"], video["seconds"], video["size"]) == ("a cat", "8", "1280x720")
    assert (video["hibari"]["seed"], video["hibari"]["steps"]) == (7, 3)
    options = parts.jobs.get(video["id"]).request["assignment"]["options"]
    assert options == {"size": [1280, 720], "seconds": 8, "seed": 7, "steps": 3}
    assert client.get(f"/v1/videos/{video['id']}").json() == video


def test_every_model_answers_the_sizes_and_seconds_of_the_contract(client: TestClient) -> None:
    for model in catalog.names():
        for size, seconds in zip(CONTRACT_SIZES, ["4", "8", "12", "16", "20", "4"], strict=True):
            video = make(client, model=model, size=size, seconds=seconds)
            assert (video["size"], video["seconds"], video["model"]) == (size, seconds, model)


@pytest.mark.parametrize("name", ["sora-2", "sora-2-pro", "sora-2-2025-10-06"])
def test_the_names_of_sora_work_and_mean_what_they_meant(client: TestClient, name: str) -> None:
    video = make(client, model=name)
    assert (video["model"], video["hibari"]["model"]) == (name, "testcard")
    assert (video["size"], video["seconds"]) == ("720x1280", "4")


@pytest.mark.parametrize(
    ("values", "code", "param"),
    [
        ({}, "invalid_value", "prompt"),
        ({"prompt": "x" * 2001}, "invalid_value", "prompt"),
        ({"prompt": "a", "model": "dall-e"}, "model_not_found", "model"),
        ({"prompt": "a", "size": "1x"}, "invalid_value", "size"),
        ({"prompt": "a", "size": "9000x9000"}, "invalid_value", "size"),
        ({"prompt": "a", "seconds": "long"}, "invalid_value", "seconds"),
        ({"prompt": "a", "seconds": "61"}, "invalid_value", "seconds"),
        ({"prompt": "a", "seconds": "nan"}, "invalid_value", "seconds"),
        ({"prompt": "a", "n": 99}, "invalid_value", "n"),
        ({"prompt": "a", "colour": "red"}, "unknown_parameter", "colour"),
        ({"prompt": "a", "seed": -1}, "invalid_value", "seed"),
        ({"prompt": "a", "seed": 10**30}, "invalid_value", "seed"),
        (
            {"prompt": "a", "input_reference": {"file_id": "file_1"}},
            "unsupported_value",
            "input_reference.file_id",
        ),
        (
            {"prompt": "a", "input_reference": {"image_url": "ftp://x/y"}},
            "invalid_url",
            "input_reference.image_url",
        ),
        ({"prompt": "a", "cards": [{"at_s": 1}]}, "invalid_value", "cards"),
        ({"prompt": "a", "cards": [{"at_s": 1}] * 25}, "invalid_value", "cards"),
        ({"prompt": "\ud800"}, "invalid_value", "prompt"),
        ({"prompt": "a", "model": "\ud800"}, "model_not_found", "model"),
        ({"prompt": "a\0b"}, "invalid_value", "prompt"),
        ({"prompt": ["a"]}, "invalid_value", "prompt"),
    ],
)
def test_what_cannot_be_made_is_refused_and_leaves_no_job(
    client: TestClient, values: dict[str, Any], code: str, param: str
) -> None:
    body = json.dumps(values)  # and not the client's own encoder, which refuses half a surrogate pair
    answer = client.post("/v1/videos", content=body, headers={"Content-Type": "application/json"})
    assert refused(answer, 400, code)["param"] == param
    assert client.get("/v1/videos").json()["data"] == []


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"{", "application/json", "invalid_json"),
        (b"[]", "application/json", "invalid_json"),
        (b"[" * 100_000, "application/json", "invalid_json"),
        (b"x", "text/plain", "unsupported_media_type"),
        (b"x", "multipart/form-data", "invalid_form"),
        (b"x", "multipart/form-data; boundary=y", "invalid_form"),
    ],
)
def test_a_damaged_body_is_refused(client: TestClient, content: bytes, kind: str, code: str) -> None:
    refused(client.post("/v1/videos", content=content, headers={"Content-Type": kind}), 400, code)


def test_a_prompt_that_looks_like_json_stays_a_prompt(client: TestClient) -> None:
    assert as_form(client, {"prompt": '["a cat"]'}).json()["prompt"] == '["a cat"]'


def test_pages_stand_still_while_videos_come_and_go(client: TestClient) -> None:
    ids = [make(client, prompt=f"cat {number}")["id"] for number in range(5)]
    first = client.get("/v1/videos", params={"limit": 2}).json()
    assert [video["id"] for video in first["data"]] == [ids[4], ids[3]]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[4], ids[3], True)
    make(client, prompt="a newer one")
    client.delete(f"/v1/videos/{ids[3]}")
    second = client.get("/v1/videos", params={"limit": 9, "after": ids[3]}).json()
    assert [video["id"] for video in second["data"]] == [ids[2], ids[1], ids[0]]
    assert second["has_more"] is False
    oldest = client.get("/v1/videos", params={"limit": 1, "order": "asc"}).json()
    assert oldest["data"][0]["id"] == ids[0]
    assert refused(client.get("/v1/videos?after=video_x"), 400, "invalid_value")["param"] == "after"
    assert refused(client.get("/v1/videos?limit=0"), 400, "invalid_value")["param"] == "limit"
    assert refused(client.get("/v1/videos?order=up"), 400, "invalid_value")["param"] == "order"


def test_a_job_seen_from_outside(client: TestClient, parts: Parts) -> None:
    video = make(client)
    claims = Claims(parts.database, "test")
    claim = claims.claim()
    assert claim is not None
    assert client.get(f"/v1/videos/{video['id']}").json()["status"] == "queued", "inference has not begun"
    claims.heartbeat(claim, step=1, steps=4)
    answer = client.get(f"/v1/videos/{video['id']}")
    assert (answer.json()["status"], answer.json()["progress"]) == ("in_progress", 25)
    assert int(answer.headers["openai-poll-after-ms"]) >= 200
    refused(client.get(f"/v1/videos/{video['id']}/content"), 409, "video_not_ready")
    claims.fail(claim, "out_of_memory", "too large for this machine")
    answer = client.get(f"/v1/videos/{video['id']}")
    assert answer.status_code == 200
    assert answer.json()["status"] == "failed"
    assert answer.json()["error"] == {"code": "out_of_memory", "message": "too large for this machine"}
    refused(client.get(f"/v1/videos/{video['id']}/content"), 409, "video_failed")


def test_content_in_three_variants_and_in_parts(client: TestClient, parts: Parts) -> None:
    video = make(client)
    job = finish_next(parts)
    shown = client.get(f"/v1/videos/{video['id']}").json()
    assert (shown["status"], shown["progress"]) == ("completed", 100)
    assert shown["completed_at"] >= shown["created_at"]
    address = f"/v1/videos/{video['id']}/content"
    whole = client.get(address)
    assert job.result
    size = len(whole.content)
    assert whole.content.endswith(b"video")
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["content-length"] == str(size)
    for variant, kind in (("thumbnail", "image/webp"), ("spritesheet", "image/jpeg")):
        answer = client.get(address, params={"variant": variant})
        assert (answer.headers["content-type"], answer.content.endswith(variant.encode())) == (kind, True)
    assert refused(client.get(f"{address}?variant=avi"), 400, "invalid_value")["param"] == "variant"

    def part(wanted: str, **headers: str) -> Any:
        return client.get(address, headers={"Range": wanted, **headers})

    for wanted, start, end in (("bytes=0-9", 0, 10), ("bytes=5-", 5, size), ("bytes=-7", size - 7, size)):
        answer = part(wanted)
        assert answer.status_code == 206
        assert answer.content == whole.content[start:end]
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    assert part("bytes=0-999999").content == whole.content
    refused(part(f"bytes={size}-"), 416, "range_not_satisfiable")
    for whole_again in ("bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=-"):
        assert part(whole_again).status_code == 200
    tag = whole.headers["etag"]
    assert part("bytes=0-1", **{"If-Range": tag}).status_code == 206
    assert part("bytes=0-1", **{"If-Range": '"other"'}).status_code == 200
    assert client.get(address, headers={"If-None-Match": tag}).status_code == 304
    head = client.head(address)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(size))


def test_delete_is_final(client: TestClient, parts: Parts) -> None:
    video = make(client)
    claims = Claims(parts.database, "test")
    claim = claims.claim()
    assert claim is not None
    answer = client.delete(f"/v1/videos/{video['id']}").json()
    assert answer == {"id": video["id"], "deleted": True, "object": "video.deleted"}
    with pytest.raises(Exception, match="no longer held"):
        claims.complete(claim, {})
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/content"),
        ("GET", "/events"),
        ("POST", "/cancel"),
    ):
        refused(client.request(method, f"/v1/videos/{video['id']}{path}"), 404, "not_found")


def test_cancel_keeps_the_record(client: TestClient) -> None:
    video = client.post(f"/v1/videos/{make(client)['id']}/cancel").json()
    assert (video["status"], video["error"]["code"]) == ("failed", "cancelled")


def test_one_key_makes_one_video(client: TestClient, tmp_path: Path) -> None:
    def send(key: str, **values: Any) -> Any:
        return client.post("/v1/videos", json={"prompt": "a", **values}, headers={"Idempotency-Key": key})

    first = send("k1").json()
    again = send("k1")
    assert again.json() == first
    assert again.headers["idempotent-replayed"] == "true"
    refused(send("k1", seconds="8"), 409, "conflict")
    assert send("k2").json()["id"] != first["id"]
    assert refused(send("k" * 256), 400, "invalid_value")["param"] == "Idempotency-Key"
    several = send("k3", n=3).json()["hibari"]["variations"]
    assert send("k3", n=3).json()["hibari"]["variations"] == several
    assert len(set(several)) == 3

    path = f"/v1/videos/{first['id']}/again"  # whatever makes a video reads the key alike
    once, twice = (client.post(path, headers={"Idempotency-Key": "k 5"}).json() for _ in range(2))
    assert once["id"] == twice["id"]
    refused(client.post(path, headers={"Idempotency-Key": "k1"}), 409, "conflict")

    def send_file(content: bytes) -> Any:
        return client.post(
            "/v1/videos",
            data={"prompt": "a"},
            files={"input_reference": content},
            headers={"Idempotency-Key": "k4"},
        )

    assert send_file(picture()).json()["id"] == send_file(picture()).json()["id"]
    refused(send_file(picture(size=(32, 32))), 409, "conflict")


def test_variations_have_seeds_that_follow_each_other(client: TestClient) -> None:
    video = make(client, n=3, seed=5)
    seeds = [
        client.get(f"/v1/videos/{one}").json()["hibari"]["seed"] for one in video["hibari"]["variations"]
    ]
    assert seeds == [5, 6, 7]
    assert video["id"] == video["hibari"]["variations"][0]


def test_videos_are_made_of_videos(client: TestClient, parts: Parts) -> None:
    one = make(client, seconds="4", size="160x96")
    refused(client.post(f"/v1/videos/{one['id']}/remix", json={"prompt": "dog"}), 409, "video_not_ready")
    finish_next(parts)
    two = make(client, seconds="2")
    finish_next(parts)
    reference = {"id": one["id"]}

    remixed = client.post(f"/v1/videos/{one['id']}/remix", json={"prompt": "a dog"}).json()
    assert remixed["remixed_from_video_id"] == one["id"]
    assert (remixed["prompt"], remixed["seconds"], remixed["size"]) == ("a dog", "4", "160x96")
    extended = client.post(
        "/v1/videos/extensions",
        files={"prompt": (None, "on"), "seconds": (None, "8"), "video[id]": (None, one["id"])},
    ).json()
    assert extended["seconds"] == "12", "the stitched total"
    for path, values, seconds in (
        ("edits", {"prompt": "snow", "video": reference, "strength": "mild"}, "4"),
        ("extensions", {"prompt": "before", "video": reference, "seconds": 2, "backward": True}, "6"),
        ("loops", {"video": reference}, "5"),
        ("connections", {"videos": [reference, {"id": two["id"]}]}, "7"),
        ("blends", {"videos": [reference, {"id": two["id"]}], "curve": "linear"}, "2"),
    ):
        answer = client.post(f"/v1/videos/{path}", json=values)
        assert answer.status_code == 200, answer.text
        assert answer.json()["seconds"] == seconds
        assert answer.json()["hibari"]["sources"][0] == one["id"]
    for path, values, code in (
        ("extensions", {"prompt": "on", "seconds": "60", "video": reference}, "invalid_value"),
        ("extensions", {"prompt": "on", "seconds": "4"}, "missing_parameter"),
        ("extensions", {"prompt": "on", "video": reference}, "missing_parameter"),
        ("edits", {"prompt": "a", "video": reference, "strength": "much"}, "invalid_value"),
        ("blends", {"videos": [reference]}, "invalid_value"),
        (f"{one['id']}/remix", {"prompt": "a", "n": 2}, "invalid_value"),
    ):
        refused(client.post(f"/v1/videos/{path}", json=values), 400, code)
    refused(
        client.post("/v1/videos/edits", json={"prompt": "a", "video": {"id": "video_x"}}), 404, "not_found"
    )


def test_a_clip_that_is_sent_is_changed(client: TestClient, tmp_path: Path) -> None:
    content = clip(tmp_path / "a.mp4", GenerationRequest.resolve(catalog.spec("testcard"), "a", seed=1))
    answer = client.post(
        "/v1/videos/edits", data={"prompt": "snow"}, files={"video": ("../../x.exe", content)}
    )
    assert answer.status_code == 200, answer.text
    assert (answer.json()["size"], answer.json()["seconds"]) == ("160x96", "2")
    without = client.post("/v1/videos/loops", files={"video": content})
    assert refused(without, 400, "invalid_value")["param"] == "prompt"


def test_characters_are_kept_and_no_model_can_use_them(client: TestClient, tmp_path: Path) -> None:
    content = clip(tmp_path / "a.mp4", GenerationRequest.resolve(catalog.spec("testcard"), "a", seed=1))
    made = client.post("/v1/videos/characters", data={"name": "Mo"}, files={"video": content}).json()
    assert set(made) == {"id", "created_at", "name"}
    assert client.get(f"/v1/videos/characters/{made['id']}").json() == made
    answer = client.post("/v1/videos", json={"prompt": "a", "characters": [{"id": made["id"]}]})
    refused(answer, 400, "characters_unsupported")
    for name in ("char_x", "..%2F..%2Fx", f"char_{'0' * 32}"):
        refused(client.get(f"/v1/videos/characters/{name}"), 404, "not_found")
    refused(client.post("/v1/videos/characters", data={"name": "Mo"}), 400, "missing_parameter")


def test_models(client: TestClient) -> None:
    listed = client.get("/v1/models").json()["data"]
    assert [model["id"] for model in listed] == [*catalog.names(), "sora-2", "sora-2-pro"]
    assert client.get("/v1/models/sora-2").json()["sizes"] == ["128x128", "160x96", "96x160"]
    refused(client.get("/v1/models/dall-e"), 404, "not_found")


def read_events(
    client: TestClient, video_id: str, after: str | None = None
) -> list[tuple[str, str, dict[str, Any]]]:
    headers = {} if after is None else {"Last-Event-ID": after}
    text = client.get(f"/v1/videos/{video_id}/events", headers=headers).text
    told: list[tuple[str, str, dict[str, Any]]] = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            told.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
    return told


def test_events_go_on_where_they_were_lost(client: TestClient, parts: Parts) -> None:
    video = make(client)
    finish_next(parts)
    told = read_events(client, video["id"])
    assert [kind for _, kind, _ in told] == ["created", "claimed", "progress", "completed"]
    assert told[-1][2]["video"]["status"] == "completed"
    assert read_events(client, video["id"], told[1][0]) == told[2:]
    assert read_events(client, video["id"], told[-1][0]) == []
    refused(
        client.get(f"/v1/videos/{video['id']}/events", headers={"Last-Event-ID": "x"}), 400, "invalid_value"
    )


def test_a_preview_comes_with_its_event(client: TestClient, parts: Parts) -> None:
    video = make(client)
    claims = Claims(parts.database, "test")
    claim = claims.claim()
    assert claim is not None
    parts.storage.put("preview/p.webp", b"picture")
    claims.heartbeat(claim, step=1, preview="preview/p.webp")
    claims.fail(claim, "x", "y")
    progress = next(data for _, kind, data in read_events(client, video["id"]) if kind == "progress")
    assert progress["preview"] == "data:image/webp;base64,cGljdHVyZQ=="


def test_single_user_mode_ends_with_the_first_key(parts: Parts) -> None:
    client = client_for(parts)
    mine = make(client)
    refused(client.get("/v1/videos", headers={"Authorization": "Bearer hb_wrong"}), 401, "invalid_api_key")
    refused(client.get("/v1/videos", headers={"Authorization": "Basic eDp5"}), 401, "invalid_api_key")
    key = key_for(parts, "ada")
    answer = client.get("/v1/videos")
    refused(answer, 401, "missing_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    ada = client_for(parts, key)
    assert ada.get("/v1/videos").json()["data"] == []
    refused(ada.get(f"/v1/videos/{mine['id']}"), 404, "not_found")


def test_a_server_that_others_can_reach_always_wants_a_key(tmp_path: Path) -> None:
    parts = parts_for(settings_for(tmp_path, HIBARI_HOST="0.0.0.0"))
    refused(client_for(parts).get("/v1/videos"), 401, "missing_api_key")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, "wrong_host"),
        ({"Host": "localhost.evil.example:8000"}, "wrong_host"),
        ({"Origin": "https://evil.example"}, "wrong_origin"),
        ({"Origin": "null"}, "wrong_origin"),
        ({"Origin": "http://127.0.0.1:8001"}, "wrong_origin"),
    ],
)
def test_without_keys_other_peoples_pages_are_kept_out(
    client: TestClient, headers: dict[str, str], code: str
) -> None:
    refused(client.get("/v1/videos", headers=headers), 403, code)
    assert client.get("/v1/videos", headers={"Origin": "http://127.0.0.1:8000"}).status_code == 200


def test_every_refusal_has_one_shape(client: TestClient) -> None:
    refused(client.get("/nowhere"), 404, "not_found")
    refused(client.put("/v1/videos"), 405, "method_not_allowed")
    refused(client.get("/v1/videos/video_x/nothing"), 404, "not_found")


def test_a_bug_is_a_500_that_says_nothing(parts: Parts) -> None:
    app = create_app(parts.settings, parts)

    @app.get("/bug")
    def bug() -> None:
        raise sqlite3.ProgrammingError("secret")

    answer = TestClient(app, raise_server_exceptions=False).get("/bug")
    assert refused(answer, 500, "server_error")["type"] == "server_error"
    assert "secret" not in answer.text


def test_a_full_queue_is_a_429_that_says_when_to_come_back(tmp_path: Path) -> None:
    parts = parts_for(settings_for(tmp_path), Policy(max_queued=1))
    client = client_for(parts)
    make(client)
    answer = client.post("/v1/videos", json={"prompt": "a"})
    refused(answer, 429, "limit_reached")
    assert int(answer.headers["retry-after"]) > 0


def test_a_database_that_is_away_is_a_503(tmp_path: Path) -> None:
    parts = parts_for(settings_for(tmp_path))
    with parts.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE job_events")
        connection.exec_driver_sql("DROP TABLE jobs")
    answer = client_for(parts).get("/readyz")
    refused(answer, 503, "database_unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_health_needs_no_key(parts: Parts) -> None:
    key_for(parts, "ada")
    client = client_for(parts)
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/readyz").json()["status"] == "ok"


def test_a_request_has_an_id(client: TestClient) -> None:
    assert client.get("/healthz").headers["x-request-id"].startswith("req_")
    assert client.get("/healthz", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert client.get("/healthz", headers={"x-request-id": "a b"}).headers["x-request-id"].startswith("req_")
