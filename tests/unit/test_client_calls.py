"""Defends: our client tries again what is worth it, makes no second video, and knows every route and option."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any, get_args, get_type_hints

import httpx2
import pytest
from api_server import client_for, finish_next, parts_for, settings_for

from hibari import client as room
from hibari.api import asked
from hibari.client import ApiError, AsyncClient, Client, UnexpectedAnswer, Unreachable, tries
from hibari.client.errors import refusal
from hibari.contracts import HibariError, InputError, InvalidRequest, OutputError
from hibari.webhooks import signing
from hibari.webhooks.outbox import event_of

Answer = Callable[[httpx2.Request], httpx2.Response]
VIDEO = {
    "id": "video_1", "object": "video", "model": "testcard", "status": "queued", "progress": 0, "created_at": 1,
    "completed_at": None, "expires_at": None, "error": None, "prompt": "a", "remixed_from_video_id": None,
    "seconds": "4", "size": "128x128", "new_field": 1,
    "hibari": {
        "model": "testcard", "tool": None, "seed": 1, "steps": 4, "step": 0, "fps": None, "frames": None,
        "native_size": None, "postprocess": [], "attempt": 0, "sources": [], "variations": None,
        "kind": "prompt", "folder": None, "favourite": False, "sample": False,
    },
}  # fmt: skip


def refused(status: int, code: str, **headers: str) -> httpx2.Response:
    error = {"message": "no", "type": "x", "param": None, "code": code}
    return httpx2.Response(status, json={"error": error}, headers=headers)


def lost(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ReadError("lost", request=request)


class Server:
    """Answers one after the other, the last one for ever."""

    def __init__(self, *answers: Answer | httpx2.Response) -> None:
        self.answers = list(answers)
        self.asked: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer if isinstance(answer, httpx2.Response) else answer(request)

    def client(self, **options: Any) -> Client:
        return Client(transport=httpx2.MockTransport(self), **options)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits; what would have been waited for is noted."""
    noted: list[float] = []

    async def pause(seconds: float) -> None:
        noted.append(seconds)

    monkeypatch.setattr("hibari.client.blocking.time.sleep", noted.append)
    monkeypatch.setattr("hibari.client.asynchronous.asyncio.sleep", pause)
    return noted


def test_a_lost_answer_is_asked_for_again_with_the_same_key(pauses: list[float]) -> None:
    server = Server(lost, refused(503, "database_unavailable"), httpx2.Response(200, json=VIDEO))
    with server.client() as client:
        assert client.create("a").id == "video_1"
    keys = {request.headers["idempotency-key"] for request in server.asked}
    assert (len(server.asked), len(keys)) == (3, 1)
    assert 0 < pauses[0] < pauses[1]
    with server.client() as client:
        client.create("a")
        client.create("a", idempotency_key="mine")
    assert server.asked[3].headers["idempotency-key"] not in keys
    assert server.asked[4].headers["idempotency-key"] == "mine"
    assert b"idempotency_key" not in server.asked[4].content


def test_what_cannot_be_repeated_is_not(tmp_path: Path) -> None:
    server = Server(lost)
    with (
        server.client() as client,
        pytest.raises(Unreachable, match=r"no answer from http://127\.0\.0\.1:8000: lost"),
    ):
        client.create_character("Mo", b"clip")
    assert len(server.asked) == 1


def test_tries_end(pauses: list[float]) -> None:
    server = Server(lost)
    with server.client(retries=3) as client, pytest.raises(Unreachable):
        client.retrieve("video_1")
    assert (len(server.asked), len(pauses)) == (4, 3)


@pytest.mark.parametrize(
    ("answer", "asked_times"),
    [
        (refused(429, "rate_limit_exceeded", **{"Retry-After": "7"}), 3),
        (refused(429, "limit_reached", **{"Retry-After": "3600"}), 1),
        (refused(500, "server_error"), 1),
        (refused(400, "invalid_value"), 1),
    ],
)
def test_which_refusals_are_worth_another_try(
    pauses: list[float], answer: httpx2.Response, asked_times: int
) -> None:
    server = Server(answer)
    with server.client(retries=2) as client, pytest.raises(ApiError):
        client.retrieve("video_1")
    assert len(server.asked) == asked_times
    assert pauses == [7.0] * (asked_times - 1)


def test_the_tree_of_errors() -> None:
    tree = {
        (400, "invalid_value"): "BadRequest",
        (400, "model_not_found"): "ModelNotFound",
        (401, "invalid_api_key"): "Unauthenticated",
        (403, "insufficient_scope"): "Forbidden",
        (404, "not_found"): "NotFound",
        (405, "method_not_allowed"): "BadRequest",
        (409, "conflict"): "Conflict",
        (409, "video_not_ready"): "VideoNotReady",
        (413, "too_large"): "TooLarge",
        (429, "rate_limit_exceeded"): "RateLimited",
        (429, "limit_reached"): "LimitReached",
        (500, "server_error"): "ServerError",
        (503, "storage_unavailable"): "Unavailable",
    }
    for (status, code), name in tree.items():
        error = refusal(refused(status, code, **{"x-request-id": "req_1"}))
        assert type(error).__name__ == name
        assert isinstance(error, ApiError)
        assert (error.status, error.code, error.request_id) == (status, code, "req_1")
    for name in room.__all__:
        kind = getattr(room, name)
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert issubclass(kind, HibariError)


def test_somebody_elses_answers() -> None:
    page = httpx2.Response(502, text="<h1>Bad gateway</h1>")
    with Server(page).client(retries=0) as client, pytest.raises(room.ServerError, match="Bad gateway"):
        client.page()
    for answer in (
        httpx2.Response(200, text="<h1>Welcome</h1>"),
        httpx2.Response(200, json=[]),
        httpx2.Response(200, json={"id": "video_1"}),
    ):
        with Server(answer).client() as client, pytest.raises(UnexpectedAnswer, match="check the base URL"):
            client.retrieve("video_1")
    moved = httpx2.Response(302, headers={"Location": "http://elsewhere/"})
    server = Server(moved)
    with server.client(api_key="hb_1") as client, pytest.raises(UnexpectedAnswer):
        client.retrieve("video_1")
    assert len(server.asked) == 1, "the key goes nowhere else"


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "ftp://a", "http://", "http://a:99999", "http://u:p@a/v1", "http://a/v1?key=b"],
)
def test_what_is_no_base_url(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Client(url)
    assert caught.value.field == "base_url"
    assert "p@" not in str(caught.value)


def test_base_urls_with_and_without_v1() -> None:
    for url in ("http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/"):
        server = Server(httpx2.Response(200, json={"data": []}))
        with Client(url, transport=httpx2.MockTransport(server)) as client:
            client.models()
        assert str(server.asked[0].url) == "http://a:1/v1/models"


def test_wrong_arguments_and_files(tmp_path: Path) -> None:
    for wrong in ({"timeout_s": 0}, {"retries": -1}, {"api_key": "hb_\n"}):
        with pytest.raises(InvalidRequest):
            Client(**wrong)  # pyright: ignore[reportArgumentType]
    with Server(lost).client() as client:
        for call in (
            lambda: client.edit(tmp_path / "none.mp4", "a"),
            lambda: client.create(cards=[room.Card(0, image=tmp_path / "none.png")]),
        ):
            with pytest.raises(InputError, match="cannot read"):
                call()
        with pytest.raises(OutputError, match="cannot write"):
            client.download("video_1", tmp_path / "none" / "a.mp4")


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(tmp_path: Path) -> None:
    class Breaks(httpx2.SyncByteStream):
        def __iter__(self) -> Any:
            yield b"old"
            raise httpx2.ReadError("lost")

    first = httpx2.Response(200, headers={"ETag": '"1"', "Content-Length": "6"}, stream=Breaks())
    second = httpx2.Response(200, headers={"ETag": '"2"'}, content=b"newer")
    server = Server(first, second)
    with server.client() as client:
        assert client.download("video_1", tmp_path / "a").read_bytes() == b"newer"
    assert (server.asked[1].headers["range"], server.asked[1].headers["if-range"]) == ("bytes=3-", '"1"')
    wrong = httpx2.Response(206, headers={"Content-Range": "bytes 9-11/12"}, content=b"abc")
    with Server(wrong).client() as client, pytest.raises(UnexpectedAnswer):
        client.download("video_1", tmp_path / "b")
    assert [found.name for found in tmp_path.iterdir()] == ["a"]


def test_a_stream_without_an_end_is_given_up(pauses: list[float]) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/events"):
            return httpx2.Response(200, text="retry: 1000\n\n", headers={"Content-Type": "text/event-stream"})
        return httpx2.Response(200, json=VIDEO)

    with Server(answer).client(retries=2) as client, pytest.raises(Unreachable, match="ends the stream"):
        list(client.with_progress("video_1"))
    assert len(pauses) == 2

    async def drive() -> None:
        async with AsyncClient(transport=httpx2.MockTransport(answer), retries=1) as client:
            with pytest.raises(Unreachable, match="ends the stream"):
                await client.wait("video_1")

    asyncio.run(drive())


def test_a_video_that_failed_or_was_deleted_while_it_was_waited_for() -> None:
    failed = {**VIDEO, "status": "failed", "error": {"code": "out_of_memory", "message": "too large"}}
    data = json.dumps({"at": 1.0, "state": "failed", "video": failed, "code": "out_of_memory"})
    kind = {"Content-Type": "text/event-stream"}
    end = httpx2.Response(200, text=f"id: 3\nevent: failed\ndata: {data}\n\n", headers=kind)
    with Server(end, httpx2.Response(200, json=failed)).client() as client:
        with pytest.raises(room.VideoFailed, match=r"not made \(out_of_memory\): too large") as caught:
            client.wait("video_1")
        assert caught.value.code == "out_of_memory"
    gone = httpx2.Response(200, text='event: deleted\ndata: {"id": "video_1"}\n\n', headers=kind)
    with Server(gone).client() as client, pytest.raises(room.NotFound, match="deleted meanwhile"):
        client.wait("video_1")


# What it does not have: the operator's and the studio's, and where links lead.
NOT_OF_THE_CLIENT = {
    "/metrics",
    "/v1/session",
    "/v1/prompt_help",
    "/v1/links/{video_id}/{variant}",
    "/v1/videos/{video_id}/pictures/{number}",
}
NOT_BELOW = ("/v1/account", "/v1/admin/")


def test_the_client_has_every_route(tmp_path: Path) -> None:
    """Each of its calls against the real application: together they meet every operation of the OpenAPI page."""
    parts = parts_for(settings_for(tmp_path, HIBARI_PRIVATE_URLS="1"))
    app = client_for(parts)
    met: set[tuple[str, str]] = set()
    schema = app.get("/v1/openapi.json").json()

    def forward(request: httpx2.Request) -> httpx2.Response:
        answer = app.request(
            request.method, str(request.url), content=request.read(), headers=dict(request.headers)
        )
        met.add((request.method.lower(), request.url.path))
        return httpx2.Response(answer.status_code, content=answer.content, headers=dict(answer.headers))

    with Client(transport=httpx2.MockTransport(forward)) as client:
        video = client.create("a cat", n=2, seed=3)
        finish_next(parts)
        assert client.wait(video).status == "completed"
        assert [progress.kind for progress in client.with_progress(video)][-1] == "completed"
        client.edit(video, "b", strength=0.5, size="160x96")
        client.extend(video, "b", 2, backward=True)
        client.loop(video)
        client.connect(video, video)
        client.blend(video, video.id)
        client.remix(video, "b", strength="mild")
        client.trim(video, 0, 7)
        assert client.again(video).id != video.id
        assert client.forecast("a cat", seconds=4).frames == 32
        client.page()
        sea = client.rename_folder(client.create_folder("Lake"), "Sea")
        assert client.folders() == (sea,)
        assert [one.details.folder for one in client.change([video], folder=sea)] == [sea.id]
        client.delete_folder(sea)
        assert video.id in [one.id for one in client.lineage(video).videos]
        assert client.link(video).url.startswith("http://127.0.0.1:8000/v1/links/")
        client.download(video, tmp_path / "a.mp4")
        mo = client.character(client.create_character("Mo", video).id)
        client.model(client.models()[0].id)
        assert client.health().ready
        hook = client.create_webhook("http://127.0.0.1:9/hook", name="mine")
        all_ids = [one.id for one in client.videos()]
        for one in all_ids:
            client.cancel(one)
        assert list(client.all_progress()) == [], "nothing is left to tell of"
        told = client.webhook_log(hook).items[0]
        assert client.webhook_delivery(hook, told.event) == told
        assert client.replay_webhook(hook, told.event).status == "pending"
        with pytest.raises(room.BadRequest):
            client.sample_webhook(hook)  # nobody listens there
        assert client.rotate_webhook_secret(hook).secret not in (None, hook.secret)
        assert not client.update_webhook(hook, enabled=False).enabled
        assert client.webhooks() == (client.webhook(hook),)
        assert client.webhook_event_types() == get_args(room.EventType)
        client.delete_webhook(hook)
        assert client.webhooks() == ()
        client.delete(video)
        others = set(all_ids) - {video.id}
        assert set(client.delete_many([*others, "video_0"])) == others
    named = {
        **dict.fromkeys(all_ids, "{video_id}"),
        mo.id: "{character_id}",
        hook.id: "{endpoint_id}",
        sea.id: "{folder_id}",
        told.event.id: "{event_id}",
    }
    asked_for = {
        (method, "/".join(named.get(part, part) for part in path.split("/"))) for method, path in met
    }
    asked_for = {(method, re.sub("^/v1/models/.+", "/v1/models/{name}", path)) for method, path in asked_for}
    wanted = {
        (method, path)
        for path, operations in schema["paths"].items()
        for method in operations
        if path not in NOT_OF_THE_CLIENT and not path.startswith(NOT_BELOW)
    }
    assert asked_for == wanted


def test_the_options_are_those_of_the_api() -> None:
    def said(options: Any) -> set[str]:
        return set(get_type_hints(options)) - {"idempotency_key"}

    assert said(room.Options) == set(asked.Options.model_fields)
    assert said(room.CreateOptions) | {"prompt"} == set(asked.Create.model_fields)
    assert said(room.EditOptions) | {"prompt", "video"} == set(asked.Edit.model_fields)
    assert said(room.StrengthOptions) | {"prompt"} == set(asked.Remix.model_fields)
    assert said(room.StrengthOptions) | {"prompt", "videos", "curve"} == set(asked.Blend.model_fields)
    assert said(room.ConnectOptions) | {"prompt", "videos"} == set(asked.Connect.model_fields)
    assert said(room.Options) | {"prompt", "video", "seconds", "backward"} == set(asked.Extend.model_fields)


def test_help_shows_what_a_call_is_told() -> None:
    for kind in (Client, AsyncClient):
        extend = vars(kind)["extend"]
        assert extend.__name__ == "extend"
        assert extend.__doc__.startswith("Go on with a clip")
        names = list(signature(extend).parameters)
        assert names == ["self", "clip", "prompt", "seconds", "backward", "options"]


def sent(secret: str, at: float) -> tuple[str, dict[str, str]]:
    """What the server sends to an endpoint."""
    event_id, body = event_of("video.completed", "video_1", at)
    headers = signing.headers(event_id, body, at, [secret])
    return body, {name.title(): value for name, value in headers.items()}


def test_what_comes_to_a_webhook_is_read_if_it_was_signed() -> None:
    secret, other = signing.new_secret(), signing.new_secret()
    body, headers = sent(secret, 1000.0)
    event = room.read_webhook(body.encode(), headers, secret, now=1200.0)
    assert (event.type, event.video_id, event.id) == ("video.completed", "video_1", headers["Webhook-Id"])
    own, others = headers["Webhook-Signature"], sent(other, 1000.0)[1]["Webhook-Signature"]
    both = {**headers, "Webhook-Signature": f"v1a,x {others} {own}"}
    assert room.read_webhook(body, both, secret, now=1000.0) == event

    def refused(
        match: str,
        changed: Mapping[str, str] = {},
        *,
        body: str = body,
        secret: str = secret,
        now: float = 1000.0,
    ) -> None:
        with pytest.raises(room.InvalidWebhook, match=match):
            room.read_webhook(body, {**headers, **changed}, secret, now=now)

    refused("not signed with this secret", secret=other)
    refused("was changed", body=body.replace("completed", "failed"))
    refused("was changed", {"Webhook-Timestamp": "1001"})
    refused("was changed", {"Webhook-Signature": own.replace("v1,", "v2,")})
    refused("more than 300 s", now=1301.0)
    refused("more than 300 s", now=699.0)
    refused("no headers of a webhook", {"Webhook-Timestamp": "soon"})
    refused("the secret is none", secret="whsec_?")
    with pytest.raises(room.InvalidWebhook, match="no headers"):
        room.read_webhook(body, {}, secret)


class Cut(httpx2.SyncByteStream):
    """A stream that ends, or is lost."""

    def __init__(self, *pieces: str, lost: bool = False) -> None:
        self.pieces, self.lost = pieces, lost

    def __iter__(self) -> Iterator[bytes]:
        yield from (piece.encode() for piece in self.pieces)
        if self.lost:
            raise httpx2.ReadError("lost")


def test_all_progress_goes_on_where_each_video_was(pauses: list[float]) -> None:
    def event(place: str, kind: str, video_id: str) -> str:
        data = json.dumps({"at": 1.0, "video": {**VIDEO, "id": video_id}})
        return f"id: {place}\nevent: {kind}\ndata: {data}\n\n"

    streams = [
        Cut(event("a.1", "created", "a"), event("a.1,b.4", "claimed", "b"), lost=True),
        Cut(event("a.3,b.4", "completed", "a")),  # it ends, although b is not finished
        Cut('event: deleted\ndata: {"id": "b", "deleted": true}\n\n'),
    ]
    kind = {"Content-Type": "text/event-stream"}
    server = Server(*(httpx2.Response(200, stream=stream, headers=kind) for stream in streams))
    with server.client() as client:
        told = [(progress.video.id, progress.number, progress.kind) for progress in client.all_progress()]
    assert told == [("a", 1, "created"), ("b", 4, "claimed"), ("a", 3, "completed")]
    places = [request.headers.get("last-event-id") for request in server.asked]
    assert places == [None, "a.1,b.4", "a.3,b.4"]
    assert len(pauses) == 2


def test_pauses_grow_and_are_uneven() -> None:
    one = tries.Tries(8, "http://a")
    pauses = [one.after_end() for _ in range(8)]
    assert all(
        0.75 * want <= got <= want for got, want in zip(pauses, [0.5, 1, 2, 4, 8, 8, 8, 8], strict=True)
    )
    one.reset()
    assert one.after_end() <= 0.5
