"""Defends: a key that asks too often is told when to come back, and nobody else suffers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import client_for, key_for, parts_for, settings_for

from hibari.api import Parts
from hibari.api.errors import Refused
from hibari.api.rates import Rates
from hibari.jobs import Claims


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = parts_for(settings_for(tmp_path))
    yield parts
    parts.database.close()


def test_a_bucket_empties_and_fills(parts: Parts) -> None:
    now = 0.0
    rates = Rates(lambda: now)
    account = parts.accounts.create("ada").id
    key = parts.accounts.create_key(account, "slow", requests_per_minute=2).key
    other = parts.accounts.create_key(account, "other", requests_per_minute=2).key
    rates.check(key)
    rates.check(key)
    with pytest.raises(Refused) as caught:
        rates.check(key)
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "30"})
    rates.check(other)
    now = 29.9
    with pytest.raises(Refused):
        rates.check(key)
    now = 60.0
    rates.check(key)
    now = 1e6
    rates.check(key)
    rates.check(key)
    with pytest.raises(Refused):
        rates.check(key)


def test_the_answer_says_when_to_come_back(parts: Parts) -> None:
    account = parts.accounts.create("ada").id
    client = client_for(parts, parts.accounts.create_key(account, "slow", requests_per_minute=1).secret)
    assert client.get("/v1/videos").status_code == 200
    answer = client.get("/v1/videos")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert client_for(parts, key_for(parts, "eve")).get("/v1/videos").status_code == 200


def test_metrics_tell_of_the_queue_and_of_no_prompt(parts: Parts) -> None:
    client = client_for(parts)
    client.post("/v1/videos", json={"prompt": "a secret cat"})
    text = client.get("/metrics").text
    assert 'hibari_jobs{state="queued"} 1\n' in text
    assert "# TYPE hibari_queue_oldest_seconds gauge\n" in text
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    said = re.findall(r"^\| `(hibari_\w+)(?:\{\w+\})?` \|", page, re.MULTILINE)
    assert said == re.findall(r"^# TYPE (\w+) gauge$", text, re.MULTILINE)
    assert "secret" not in text
    key_for(parts, "ada")
    assert client.get("/metrics").status_code == 401, "it tells of everybody's work"
    member = client_for(parts, key_for(parts, "eve"))
    assert member.get("/metrics").status_code == 403


def test_metrics_tell_how_the_work_goes(parts: Parts) -> None:
    client = client_for(parts)
    names = ("step_seconds", "first_preview_seconds", "failed_jobs")
    assert not any(f"\nhibari_{name}{{" in client.get("/metrics").text for name in names)
    for _ in range(2):
        client.post("/v1/videos", json={"prompt": "a", "steps": 4})
    claims = Claims(parts.database, "test")
    completed, failed = claims.claim(), claims.claim()
    assert completed
    assert failed
    claims.heartbeat(completed, step=0, preview="one")
    claims.complete(completed, {})
    claims.fail(failed, "out_of_memory", "too large")
    text = client.get("/metrics").text
    assert 'hibari_failed_jobs{code="out_of_memory"} 1\n' in text
    for name in (
        'step_seconds{pace="testcard',
        'first_preview_seconds{quantile="0.5"}',
        "storage_free_bytes",
    ):
        assert f"\nhibari_{name}" in text


def test_the_log_has_no_prompt(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hibari")
    client = client_for(parts)
    client.post("/v1/videos?prompt=secret", json={"prompt": "a secret cat"}, headers={"x-request-id": "mine"})
    record = next(record for record in caplog.records if record.name == "hibari.api.app")
    assert record.getMessage().startswith("POST /v1/videos 200 in ")
    assert record.__dict__["request_id"] == "mine"
    assert "secret" not in caplog.text
