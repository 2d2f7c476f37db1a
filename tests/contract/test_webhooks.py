"""Defends: the official client registers a webhook, and verifies what a real server process sends to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import openai
import pytest
from openai import OpenAI

from server_process import Server, start, until

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")

Came = list[tuple[dict[str, str], bytes]]


@pytest.fixture
def receiver() -> Iterator[tuple[str, Came]]:
    came: Came = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204 if len(came) > 1 else 500)  # the first attempt fails
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", came
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = start(tmp_path / "data", "--workers", "0", HIBARI_PRIVATE_URLS="1")
    yield server
    server.stop()


def test_the_official_client_registers_and_verifies(server: Server, receiver: tuple[str, Came]) -> None:
    url, came = receiver
    key = json.loads(server.hibari("admin", "key", "create", "ada", "--json"))["secret"]
    with OpenAI(base_url=server.url, api_key=key, max_retries=0) as client:
        assert client.webhooks.event_types.list().data == ["video.completed", "video.failed"]
        endpoint = client.webhooks.create(name="mine", url=url, event_types=["video.failed"])
        video = client.videos.create(prompt="a cat")
        client.videos.delete(video.id)  # it had not ended: this ends it
        until(lambda: len(came) == 2)
        (first, body), (second, again) = came
        assert body == again
        assert first["webhook-id"] == second["webhook-id"]
        for headers in (first, second):
            event = client.webhooks.unwrap(body, headers, secret=endpoint.signing_secret)
            assert event.type == "video.failed"
            assert event.data.id == video.id
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.unwrap(
                body.replace(b"failed", b"completed"), second, secret=endpoint.signing_secret
            )
        log = f"/webhook_endpoints/{endpoint.id}/deliveries"
        until(lambda: '"status":"delivered"' in client.get(log, cast_to=str))
        tested = client.webhooks.test(endpoint.id, event_type="video.completed")
        assert tested.status_code == 204
        changed = client.webhooks.update(endpoint.id, name="other")
        assert changed.name == client.webhooks.retrieve(endpoint.id).name == "other"
        rotated = client.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True)
        client.webhooks.test(endpoint.id, event_type="video.completed")
        for secret in (endpoint.signing_secret, rotated.signing_secret):
            client.webhooks.verify_signature(came[-1][1], came[-1][0], secret=secret)
        assert [one.id for one in client.webhooks.list()] == [endpoint.id]
        assert client.webhooks.delete(endpoint.id).deleted
    assert endpoint.signing_secret not in server.log.read_text()
    assert url not in server.log.read_text()
    assert server.hibari("admin", "webhook", "list") == ""
