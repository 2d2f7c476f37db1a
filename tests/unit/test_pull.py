"""Defends: a model is fetched whole or not at all, under a licence that was accepted, and is then a name; against a
server that speaks a hub's API."""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from hibari import catalog
from hibari.cli import main
from hibari.models import hub

SHA = "0123456789abcdef0123456789abcdef01234567"
BIG = bytes(range(256)) * 200  # 51,200 bytes
TOKEN = "hf_a-secret"
LTX = {
    "model_index.json": b'{"_class_name": "LTXPipeline"}',
    "transformer/config.json": b'{"in_channels": 8}',
    "transformer/diffusion_pytorch_model.safetensors": BIG,
    "vae/config.json": b"{}",
    "vae/diffusion_pytorch_model.safetensors": BIG[:5000],
    "scheduler/scheduler_config.json": b"{}",
    "LICENSE.md": b"Do no harm.",
    "README.md": b"About",
    "transformer/diffusion_pytorch_model.bf16.safetensors": b"the same in another form",
    "ltxv-single.safetensors": b"single",
    "assets/picture.gif": b"not wanted",
}


class FakeHub:
    """Files of one repository, and what was asked for. `cut` ends an answer after so many bytes, once; `broken` is
    answered for all that follow it."""

    def __init__(self) -> None:
        self.files = dict(LTX)
        self.asked: list[tuple[str, str | None, str | None]] = []  # path, range, authorization
        self.lie: str | None = None  # a file whose content is not what its hash says
        self.cut: int | None = None
        self.status = 0
        self.after_cut = 500
        self.gated = False
        self.card: dict[str, Any] = {
            "license": "other",
            "license_name": "harmless",
            "license_link": "LICENSE.md",
        }
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, _, _ = request.path.partition("?")
        self.asked.append((path, request.headers.get("Range"), request.headers.get("Authorization")))
        if self.gated and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send(request, 403, b"no", {"X-Error-Code": "GatedRepo"})
        if self.status:
            return self._send(request, self.status, b"no")
        if path.startswith("/api/models/some/ltx"):
            return self._send(request, 200, json.dumps(self._info()).encode())
        if found := re.fullmatch(rf"/some/ltx/resolve/{SHA}/(.+)", path):
            body = self.files[found[1]]
            if found[1] == self.lie:
                body = body[::-1]
            start = int(re.sub(r"\D", "", request.headers.get("Range", "") or "0"))
            headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
            return self._send(request, 206 if start else 200, body[start:], headers)
        return self._send(request, 404, b"no", {"X-Error-Code": "RepoNotFound"})

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        if self.cut is not None and len(body) > self.cut:
            body, self.cut, self.status = body[: self.cut], None, self.after_cut
            request.close_connection = True
        request.wfile.write(body)

    def _info(self) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for name, body in self.files.items():
            large = name.endswith(".safetensors")
            git = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            one: dict[str, Any] = {"rfilename": name, "size": len(body), "blobId": git}
            if large:
                sha = hashlib.sha256(body).hexdigest()
                one["lfs"] = {"sha256": sha, "size": len(body), "pointerSize": 130}
            siblings.append(one)
        return {
            "id": "some/ltx", "modelId": "some/ltx", "sha": SHA, "private": False, "tags": [], "downloads": 0,
            "siblings": siblings, "cardData": self.card,
        }  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    fake = FakeHub()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1024)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    monkeypatch.setenv("HIBARI_HUB", fake.url)
    monkeypatch.setenv("HIBARI_MODELS", str(tmp_path / "models"))
    yield fake
    fake.close()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def pull(capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, Any, str]:
    """Exit code, the object on stdout, and stderr."""
    code = main(["pull", "some/ltx", "--yes", "--json", *more])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


def test_what_was_pulled_is_a_name(server: FakeHub, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = pull(capsys)
    assert code == 0
    assert (said["name"], said["revision"], said["licence"]) == ("ltx", SHA, "harmless (LICENSE.md)")
    there = {str(path.relative_to(models / "ltx")) for path in models.rglob("*") if path.is_file()}
    wanted = set(LTX) - {
        "transformer/diffusion_pytorch_model.bf16.safetensors", "ltxv-single.safetensors", "assets/picture.gif",
    }  # fmt: skip
    assert there == wanted | {catalog.RECEIPT}
    assert all((models / "ltx" / name).read_bytes() == LTX[name] for name in wanted)
    spec = catalog.find("ltx", models)
    assert (spec.name, spec.latent_channels) == ("ltx", 8)
    assert main(["models", "--json"]) == 0
    assert "ltx" in [each["name"] for each in json.loads(capsys.readouterr().out)]
    server.asked.clear()
    assert pull(capsys)[0] == 0
    fetched = [path for path, _, _ in server.asked if path.endswith(".safetensors")]
    assert not fetched, "what is there and right is not fetched again"


def test_what_broke_off_goes_on(server: FakeHub, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.cut = 30000
    code, said, _ = pull(capsys)
    assert (code, said["error"]["type"]) == (2, "InvalidUrl")
    assert (
        "answered 500 for some/ltx; pull again later: it goes on where it stopped" in said["error"]["message"]
    )
    place = models / "ltx" / "transformer" / "diffusion_pytorch_model.safetensors"
    begun = place.with_name(place.name + hub.PART).stat().st_size
    assert 20000 < begun <= 30000
    assert not place.exists()
    assert catalog.pulled(models) == {}, "half a model is none"
    server.status = 0
    server.asked.clear()
    assert pull(capsys)[0] == 0
    ranges = [
        span
        for path, span, _ in server.asked
        if path.endswith("transformer/diffusion_pytorch_model.safetensors")
    ]
    assert ranges == [f"bytes={begun}-"]
    assert place.read_bytes() == BIG


def test_a_connection_that_ends_is_taken_up_at_once(
    server: FakeHub, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.cut, server.after_cut = 30000, 0
    assert pull(capsys)[0] == 0
    assert (models / "ltx" / "transformer" / "diffusion_pytorch_model.safetensors").read_bytes() == BIG


@pytest.mark.parametrize(
    "name", ["transformer/diffusion_pytorch_model.safetensors", "transformer/config.json"]
)
def test_what_is_not_what_the_hub_says_is_not_kept(
    server: FakeHub, models: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    server.lie = name
    code, said, _ = pull(capsys)
    assert (code, said["error"]["type"]) == (2, "WeightsError")
    assert f"{name} of some/ltx came damaged" in said["error"]["message"]
    assert not list((models / "ltx").rglob(f"{Path(name).name}*"))
    server.lie = None
    assert pull(capsys)[0] == 0


def test_without_room_nothing_is_begun(
    server: FakeHub, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")  # noqa: PYI024
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda _: usage(1, 1, 1000))
    code, said, _ = pull(capsys)
    assert (code, said["error"]["type"]) == (2, "OutputError")
    assert "make room, or name another folder with --to or HIBARI_MODELS" in said["error"]["message"]
    assert not list(models.rglob("*.safetensors*"))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.undo()
    monkeypatch.setenv("HIBARI_HUB", server.url)
    monkeypatch.setenv("HIBARI_MODELS", str(models))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    real = hub.http_get
    monkeypatch.setattr(
        hub, "http_get", lambda url, *a, **k: (real if "LICENSE" in url else full)(url, *a, **k)
    )
    code, said, _ = pull(capsys)
    assert (code, said["error"]["type"]) == (2, "OutputError")
    assert "goes on where it stopped" in said["error"]["message"]


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (401, "NotFound", "or not for everybody"),
        (403, "KeyRefused", "HIBARI_HUB_TOKEN"),
        (404, "NotFound", "no some/ltx"),
    ],
)
def test_a_refusal_says_what_to_do(
    server: FakeHub, capsys: pytest.CaptureFixture[str], status: int, kind: str, text: str
) -> None:
    server.status = status
    code, said, _ = pull(capsys)
    assert (code, said["error"]["type"]) == (2, kind)
    assert text in said["error"]["message"]


def test_the_token_is_shown_to_the_hub_and_to_nobody_else(
    server: FakeHub, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.gated = True
    monkeypatch.setenv("HF_TOKEN", "another program's")
    code, said, _ = pull(capsys)
    assert (code, said["error"]["type"]) == (2, "KeyRefused")
    assert {authorization for _, _, authorization in server.asked} == {None}
    monkeypatch.setenv("HIBARI_HUB_TOKEN", TOKEN)
    code, said, err = pull(capsys)
    assert code == 0
    assert TOKEN not in json.dumps(said) + err
    assert all(TOKEN.encode() not in path.read_bytes() for path in models.rglob("*") if path.is_file())


def test_nobody_answers(
    server: FakeHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIBARI_HUB", "http://127.0.0.1:9")
    code, said, _ = pull(capsys)
    assert (code, said["error"]["type"], said["error"]["field"]) == (2, "InvalidUrl", "HIBARI_HUB")
    assert "does not answer" in said["error"]["message"]


def test_a_licence_is_shown_and_asked_for_once(
    server: FakeHub, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["pull", "some/ltx"]) == 2
    err = capsys.readouterr().err
    assert "Do no harm." in err
    assert (
        "under the licence harmless (LICENSE.md), and nobody can be asked here; read it, and say --yes" in err
    )
    assert not models.exists()
    asked: list[str] = []
    answers = [False, True]

    def confirm(text: str, **_: object) -> bool:
        asked.append(text)
        return answers.pop(0)

    monkeypatch.setattr("hibari.cli.pull.typer.confirm", confirm)
    monkeypatch.setattr("hibari.cli.pull.sys.stdin.isatty", lambda: True, raising=False)
    assert main(["pull", "some/ltx"]) == 2
    assert "nothing was fetched" in capsys.readouterr().err
    assert main(["pull", "some/ltx"]) == main(["pull", "some/ltx"]) == 0
    assert len(asked) == 2
    server.card = {"license": "harsher"}
    answers = [True]
    assert main(["pull", "some/ltx"]) == 0
    assert len(asked) == 3, "another licence is asked for again"


def test_a_single_file_and_a_folder_of_ones_own(
    server: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, _ = pull(capsys, "--file", "ltxv-single.safetensors", "--to", str(tmp_path / "own"))
    assert code == 0
    assert said["name"] == str(tmp_path / "own" / "ltxv-single.safetensors")
    assert Path(said["name"]).read_bytes() == b"single"
    code, said, _ = pull(capsys, "--file", "more.safetensors")
    assert "has no file more.safetensors; it has: ltxv-single.safetensors" in said["error"]["message"]


def test_a_file_cannot_lead_out_of_the_folder(
    server: FakeHub, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files["transformer/../../../evil.json"] = b"{}"
    code, said, _ = pull(capsys)
    assert (code, said["error"]["type"]) == (2, "InputError")
    assert not list(models.parent.rglob("evil*"))


def test_an_unknown_name_gets_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "sora"]) == 2
    assert "known are ltx-video-0.9.1, " in capsys.readouterr().err
    assert len({each.name for each in catalog.HOSTED}) == len(catalog.HOSTED)
