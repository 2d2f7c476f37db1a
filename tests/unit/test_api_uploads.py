"""Defends: what strangers send is looked at before anything reads it, and a URL leads to no private place."""

from __future__ import annotations

import base64
import json
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

import av
import numpy as np
import pytest
from api_server import client_for, clip, parts_for, picture, settings_for
from fastapi.testclient import TestClient
from PIL import Image

from hibari import catalog
from hibari.api import Parts, uploads
from hibari.api.fetch import fetch
from hibari.assignment import Assignment
from hibari.contracts import GenerationRequest, HibariError, InvalidUrl, PrivateAddress
from hibari.outbound import is_public


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = parts_for(settings_for(tmp_path / "data", HIBARI_UPLOAD_MB="2"))
    yield parts
    parts.database.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    return client_for(parts)


def png_that_says(width: int, height: int) -> bytes:
    """A PNG of a few bytes that announces so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


def png_with_a_bomb() -> bytes:
    """A small PNG whose comment is 8 MB, once it is unpacked."""
    whole = picture()
    text = b"Comment\0\0" + zlib.compress(bytes(8 * 2**20))
    bomb = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    return whole[:33] + bomb + whole[33:]  # behind the signature and the header


def zip_bomb() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(8 * 2**20))
    return buffer.getvalue()


def audio() -> bytes:
    """An MP4 that has only sound."""
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def long_clip(frames: int) -> bytes:
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.width = stream.height = 16
        picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        for index in range(frames):
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json().get("error", {}).get("code", "")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_picture_is_kept_as_its_pixels(client: TestClient, parts: Parts, kind: str) -> None:
    secret = b"<script>alert(1)</script>"
    content = picture(kind) + secret
    answer = client.post(
        "/v1/videos",
        data={"prompt": "a"},
        files={"input_reference": ("../../../etc/x.svg", content, "text/html")},
    )
    assert answer.status_code == 200, answer.text
    assignment = Assignment.from_json(parts.jobs.get(answer.json()["id"]).request["assignment"])
    assert assignment.image is not None
    kept = b"".join(parts.storage.read(assignment.image.key))
    assert assignment.image.key.startswith(f"{uploads.UPLOADS}/")
    assert ".." not in assignment.image.key
    assert secret not in kept
    with Image.open(BytesIO(kept)) as image:
        assert (image.format, image.size) == ("PNG", (64, 48))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_file"),
        (b"%PDF-1.7", "unsupported_file"),
        (b"", "unsupported_file"),
        (b"#EXTM3U\nfile:///etc/passwd", "unsupported_file"),
        (b"<!-- GIF89a --><script/>", "unsupported_file"),
        (zip_bomb(), "unsupported_file"),
        (png_with_a_bomb(), "invalid_file"),
        (png_that_says(60_000, 60_000), "picture_too_large"),
        (png_that_says(7_000, 7_000), "picture_too_large"),
        (png_that_says(64, 64), "invalid_file"),
        (picture()[:60], "invalid_file"),
        (b"\xff\xd8\xff" + b"x" * 99, "invalid_file"),
    ],
)
def test_what_is_no_picture_is_refused(client: TestClient, parts: Parts, content: bytes, code: str) -> None:
    sent = client.post("/v1/videos", data={"prompt": "a"}, files={"input_reference": ("a.png", content)})
    assert code_of(sent) == (400, code)
    if content:
        url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        told = client.post("/v1/videos", json={"prompt": "a", "input_reference": {"image_url": url}})
        assert code_of(told) == (400, code)
    assert parts.storage.keys(uploads.UPLOADS) == []


def test_what_is_no_clip_is_refused(client: TestClient, parts: Parts, tmp_path: Path) -> None:
    good = clip(tmp_path / "a.mp4", GenerationRequest.resolve(catalog.spec("testcard"), "a", seed=1))
    for content, code in (
        (picture(), "unsupported_file"),
        (b"#EXTM3U\n#EXTINF:1\nfile:///etc/passwd", "unsupported_file"),
        (b"ffconcat version 1.0\nfile /etc/passwd", "unsupported_file"),
        (audio(), "unsupported_file"),
        (b"ID3\x04\0\0" + bytes(99), "unsupported_file"),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(99), "unsupported_file"),
        (b"OggS" + bytes(99), "unsupported_file"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_file"),
        (zip_bomb(), "unsupported_file"),
        (good[: len(good) // 3], "invalid_file"),
        (b"\0\0\0\x18ftypmp42" + b"x" * 200, "invalid_file"),
        (b"\x1a\x45\xdf\xa3" + b"x" * 200, "invalid_file"),
        (long_clip(uploads.MAX_FRAMES + 1), "too_many_frames"),
    ):
        sent = client.post("/v1/videos/edits", data={"prompt": "a"}, files={"video": ("a.mp4", content)})
        assert code_of(sent) == (400, code)
    assert parts.storage.keys(uploads.UPLOADS) == []


def test_a_body_that_is_too_large_is_a_413(client: TestClient) -> None:
    large = {"input_reference": b"x" * (3 * 2**20)}
    assert code_of(client.post("/v1/videos", data={"prompt": "a"}, files=large)) == (413, "too_large")

    def endless() -> Iterator[bytes]:
        """Without an announced length."""
        for _ in range(100):
            yield b" " * 2**16

    headers = {"Content-Type": "application/json"}
    assert code_of(client.post("/v1/videos", content=endless(), headers=headers)) == (413, "too_large")
    for kind in ("application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
        announced = {"Content-Type": kind, "Content-Length": str(10 * 2**30)}
        answer = client.post("/v1/videos", content=b"{}", headers=announced)
        assert code_of(answer) == (413, "too_large")
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ],
)  # fmt: skip
def test_private_addresses_in_all_their_forms(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("file:///etc/passwd", "invalid_url"),
        ("gopher://127.0.0.1/", "invalid_url"),
        ("http://", "invalid_url"),
        ("http://[::1", "invalid_url"),
        ("http://127.0.0.1:99999/", "invalid_url"),
        ("http://127.0.0.1/\r\nX: y", "invalid_url"),
        ("data:image/png;base64", "invalid_url"),
        ("data:image/png;base64,%%%", "invalid_url"),
        ("http://127.0.0.1:1/", "private_address"),
        ("http://localhost:1/", "private_address"),
        ("http://[::1]:1/", "private_address"),
        ("http://[::ffff:127.0.0.1]:1/", "private_address"),
        ("http://[::]:1/", "private_address"),
        ("http://[::ffff:7f00:1]:1/", "private_address"),
        ("http://[64:ff9b::7f00:1]:1/", "private_address"),
        ("http://[2002:7f00:1::]:1/", "private_address"),
        ("http://[fc00::1]:1/", "private_address"),
        ("http://2130706433:1/", "private_address"),
        ("http://0x7f.1:1/", "private_address"),
        ("http://169.254.169.254/latest/meta-data/", "private_address"),
        ("http://user:password@127.0.0.1:1/", "private_address"),
    ],
)
def test_urls_that_lead_where_they_must_not(client: TestClient, url: str, code: str) -> None:
    answer = client.post("/v1/videos", json={"prompt": "a", "input_reference": {"image_url": url}})
    assert code_of(answer) == (400, code)
    assert answer.json()["error"]["param"] == "input_reference.image_url"


class _Pages(BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/drip":
            with suppress(OSError):
                while True:
                    self.wfile.write(b"HTTP/1.0 200 OK\r\n" if len(self.asked) == 1 else b"X: y\r\n")
                    self.asked.append("")
                    time.sleep(0.05)
            return
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        if self.path == "/picture":
            self.wfile.write(picture())
        elif self.path == "/endless":
            for _ in range(100):
                self.wfile.write(b"x" * 2**16)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def pages() -> Iterator[str]:
    _Pages.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_fetched(pages: str) -> None:
    def read(path: str, *, private: bool = True) -> bytes:
        return fetch(f"{pages}{path}", limit_bytes=2**20, private=private, param="image_url")

    assert read("/picture") == picture()
    assert read("/to//picture") == picture()
    assert read(f"/to/{pages}/picture") == picture()
    for path, message in (
        ("/none", "answers with 404"),
        ("/endless", "more than 1 MB"),
        ("/to/file:///etc/passwd", "wanted is http:"),
        (f"/to/{pages}/to/{pages}/to/{pages}/to/{pages}/picture", "redirected more than"),
        ("/to/http://127.0.0.1:1/", "cannot be read"),
    ):
        with pytest.raises(HibariError, match=message):
            read(path)


def test_headers_that_come_a_few_bytes_at_a_time_do_not_hold_us(
    pages: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hibari.api.fetch.TOTAL_TIMEOUT_S", 0.3)
    with pytest.raises(InvalidUrl, match="cannot be read"):
        fetch(f"{pages}/drip", limit_bytes=99, private=True, param="image_url")


def test_a_redirect_is_checked_like_the_first_url(pages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first host is taken for a public one; where it sends us is not."""
    monkeypatch.setattr("hibari.outbound.is_public", lambda address: str(address) == "127.0.0.1")
    with pytest.raises(PrivateAddress, match="not on the public network"):
        fetch(f"{pages}/to/http://127.0.0.2:1/", limit_bytes=99, private=False, param="image_url")
    assert len(_Pages.asked) == 1


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["::1"], ["1.1.1.1", "10.0.0.1"], ["::ffff:169.254.169.254"], ["fe80::1%lo"]]
)
def test_a_name_that_leads_to_a_private_address(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    """One private address among public ones is enough: which of them is asked is not for the name's owner to choose."""
    found = [(2, 1, 6, "", (address, 80)) for address in addresses]
    monkeypatch.setattr("hibari.outbound.socket.getaddrinfo", lambda *_, **__: found)
    url = "http://innocent.example/a.png"
    for path, values in (
        ("videos", {"prompt": "a", "input_reference": {"image_url": url}}),
        ("videos", {"cards": [{"at_s": 0, "prompt": "a"}, {"at_s": 1, "image_url": url}]}),
        ("webhook_endpoints", {"url": url}),
    ):
        assert code_of(client.post(f"/v1/{path}", json=values)) == (400, "private_address")


def test_a_name_is_asked_once_and_its_address_is_pinned(pages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that means something else when it is asked again (DNS rebinding) does not get asked again."""
    answers = iter(["127.0.0.1"])
    port = int(pages.rsplit(":", 1)[1])
    monkeypatch.setattr("hibari.outbound.is_public", lambda _: True)
    monkeypatch.setattr(
        "hibari.outbound.socket.getaddrinfo",
        lambda host, *_rest, **_kinds: [
            (2, 1, 6, "", (host if host == "127.0.0.1" else next(answers), port))
        ],
    )
    url = f"http://rebind.example:{port}/picture"
    assert fetch(url, limit_bytes=2**20, private=False, param="image_url") == picture()


def test_an_assignment_comes_back_from_json() -> None:
    values = json.loads(
        json.dumps(Assignment("a", options={"size": (16, 16), "guidance_interval": (0.0, 1.0)}).to_json())
    )
    assert Assignment.from_json(values).options == {"size": (16, 16), "guidance_interval": (0.0, 1.0)}
