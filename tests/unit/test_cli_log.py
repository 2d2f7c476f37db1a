"""Defends: a program that reads the log finds the lines of a video and of a request by their ids."""

from __future__ import annotations

import json
import logging

import pytest

from hibari.cli.server import JsonLines

JOB = f"video_{'0a' * 16}"


@pytest.mark.parametrize(
    ("message", "job_id"),
    [
        (f"job {JOB} attempt 1 begins", JOB),
        (f"GET /v1/videos/{JOB}/content 200 in 3 ms", JOB),
        (f"GET /v1/videos/{JOB}0 404 in 3 ms", None),
        ("worker takes jobs", None),
    ],
)
def test_a_line_is_json_with_the_ids_that_it_names(message: str, job_id: str | None) -> None:
    record = logging.LogRecord("hibari.test", logging.WARNING, "", 0, "%s", (message,), None)
    record.request_id = "req_1"
    line = json.loads(JsonLines().format(record))
    assert line.pop("at") > 1.6e9
    wanted = {"level": "warning", "logger": "hibari.test", "message": message, "request_id": "req_1"}
    assert line == (wanted if job_id is None else {**wanted, "job_id": job_id})
