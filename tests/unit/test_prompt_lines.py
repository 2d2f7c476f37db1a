"""Defends: whoever asks about a prompt is answered soon, whatever the process does that knows: not ready yet, dead, or
of no use for the model."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from api_server import client_for, parts_for, settings_for

from hibari.api import prompts
from hibari.api.prompts import Readers

ECHO = """
import json, sys, time
time.sleep({sleep})
for line in sys.stdin:
    prompt = json.loads(line)
    if prompt == "die":
        sys.exit(3)
    print(json.dumps(dict(words=[], missing=[], limits=[], suggestion=prompt.upper())), flush=True)
"""


@contextmanager
def readers(sleep: float = 0) -> Generator[Readers]:
    some = Readers([sys.executable, "-c", ECHO.format(sleep=sleep)])
    yield some
    some.close()


def until(happened: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (found := happened()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def said(answer: dict[str, Any] | None) -> str | None:
    return None if answer is None else answer["suggestion"]


def test_each_question_gets_its_own_answer_also_after_one_was_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with readers(sleep=0.5) as some:
        monkeypatch.setattr(prompts, "WAIT_S", 0.01)
        assert some.ask("mini", "first") is None
        assert not some.knows_nothing_of("mini")
        monkeypatch.setattr(prompts, "WAIT_S", 60)
        assert said(some.ask("mini", "second")) == "SECOND"
        assert said(some.ask("mini", "third")) == "THIRD"


def test_a_reader_that_dies_is_replaced_and_one_that_never_answers_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with readers() as some:
        monkeypatch.setattr(prompts, "WAIT_S", 60)
        assert said(some.ask("mini", "a")) == "A"
        monkeypatch.setattr(prompts, "WAIT_S", 0.1)
        assert some.ask("mini", "die") is None
        assert until(lambda: said(some.ask("mini", "b"))) == "B"
    useless = Readers([sys.executable, "-c", "raise SystemExit(2)"])
    until(lambda: useless.ask("other", "a") or useless.knows_nothing_of("other"))
    assert useless.ask("other", "a") is None


def test_its_memory_is_given_back_when_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "IDLE_S", 0.3)
    with readers() as some:
        until(lambda: said(some.ask("mini", "a")) == "A")
        reader = some._readers["mini"]
        until(lambda: reader.is_over)
        monkeypatch.setattr(prompts, "IDLE_S", 300)
        until(lambda: said(some.ask("mini", "b")) == "B")


def test_the_route(tmp_path: Path) -> None:
    parts = parts_for(settings_for(tmp_path))
    client = client_for(parts)
    with readers() as some:
        client.app.state.readers = some  # pyright: ignore[reportAttributeAccessIssue, reportFunctionMemberAccess]
        answer = client.post("/v1/prompt_help", json={"prompt": "a cat", "model": "mini"})
        assert (answer.status_code, answer.json()["suggestion"]) == (200, "A CAT"), answer.text
        assert answer.json()["available"]
        testcard = client.post("/v1/prompt_help", json={"prompt": "a cat"}).json()
        assert (testcard["available"], testcard["words"]) == (False, [])
        for wrong in ({"prompt": "a" * 2001, "model": "mini"}, {"prompt": 3}, {}, {"prompt": "a", "x": 1}):
            assert client.post("/v1/prompt_help", json=wrong).status_code == 400, json.dumps(wrong)[:60]
    parts.database.close()
