"""Defends: the OpenAPI page is true. Whatever it allows is answered as it says, and never with a 500.

A few cases an operation here; `benchmarks/doors.py` runs 50.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from api_server import client_for, finish_next, parts_for, settings_for
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hibari.api import Parts, create_app

CASES = {"hibari": 3, "doors": 50}[settings.get_current_profile_name()]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# A stream ends with its video, and here is no worker that would end one; test_api.py reads them.
# With a first key the local user would need one, and what is paused no longer comes to its end; test_api_people.py.
EXCLUDED = "/(events|keys|pause)$"


class Things:
    """What a case can name, so that it comes further than to a 404."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._client = client_for(parts)
        self._ids: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self._ids:
            self._ids[name] = self._made(name)
        return self._ids[name]

    def forget(self) -> None:
        self._ids.clear()

    def _made(self, name: str) -> str:
        match name:
            case "video_id":
                video = self._post("videos", prompt="a cat")
                while finish_next(self._parts).id != video:
                    pass
                return video
            case "character_id":
                return self._post("videos/characters", name="Mo", video={"id": self["video_id"]})
            case "endpoint_id":
                return self._post("webhook_endpoints", url="http://127.0.0.1:9/hook")
            case "folder_id":
                return self._post("folders", name=secrets.token_hex(8))
            case "name":
                return "testcard"
            case "variant":
                return "video"
            case _:
                return "none"

    def _post(self, path: str, **values: Any) -> str:
        answer = self._client.post(f"/v1/{path}", json=values)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    parts = parts_for(
        settings_for(tmp_path_factory.mktemp("schema"), HIBARI_UPLOAD_MB="1", HIBARI_PRIVATE_URLS="1")
    )
    yield parts
    parts.database.close()


@pytest.fixture(scope="module")
def things(parts: Parts) -> Iterator[Things]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hibari.webhooks.store.MAX_ENDPOINTS", 10**6)
        yield Things(parts)


def test_every_answer_is_one_that_the_page_allows(parts: Parts, things: Things) -> None:
    # Its own plugin for pytest stumbles over pytest 9, so the operations are gone through here.
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", create_app(parts.settings, parts))
    wrong: list[str] = []
    seen = 0
    for found in schema.exclude(path_regex=EXCLUDED).get_all_operations():
        assert isinstance(found, Ok), found.err()
        operation = found.ok()

        @settings(
            max_examples=CASES,
            derandomize=CASES == 3,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=[
                HealthCheck.too_slow,
                HealthCheck.filter_too_much,
                HealthCheck.data_too_large,
            ],
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            nonlocal seen
            seen += 1
            # Half of the cases, always the same half: what they name is there.
            if case.path_parameters and hashlib.sha256(repr(case.body).encode()).digest()[0] % 2:
                case.path_parameters = {name: things[name] for name in case.path_parameters}
            case.headers = {**(case.headers or {}), "Host": "127.0.0.1:8000"}
            case.headers.pop("Authorization", None)  # the local user
            case.cookies = {}
            case.call_and_validate(checks=CHECKS, base_url="http://127.0.0.1:8000")
            if case.method.upper() == "DELETE":
                things.forget()

        try:
            ask()
        except FailureGroup as failures:
            wrong.append(f"{operation.label}: {failures.exceptions}")
    print(f"{seen} cases")  # noqa: T201
    assert not wrong, "\n\n".join(wrong)
    assert seen > 20
