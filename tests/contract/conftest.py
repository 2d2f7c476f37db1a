"""A server with its worker, for the clients: one for all tests of a process."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from openai import OpenAI

from server_process import Server, start


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start(tmp_path_factory.mktemp("server") / "data")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def key(server: Server) -> str:
    return json.loads(server.hibari("admin", "key", "create", "ada", "--json"))["secret"]


@pytest.fixture(scope="session")
def client(server: Server, key: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.url, api_key=key, max_retries=0) as client:
        yield client
