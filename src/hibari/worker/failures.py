"""Why a job failed: stable codes for programs, sentences for people."""

from __future__ import annotations

from dataclasses import dataclass

from hibari.contracts import (
    HibariError,
    InputError,
    InvalidRequest,
    MissingPart,
    OutOfMemory,
    OutputError,
    QuotaReached,
    UnknownModel,
    WeightsError,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """What is told of an error; `retry` where it may pass by itself."""

    code: str
    message: str
    retry: bool


# The most special class first.
_KINDS: tuple[tuple[type[HibariError], str, bool], ...] = (
    (UnknownModel, "model_unavailable", False),
    (InvalidRequest, "invalid_request", False),
    (InputError, "invalid_input", False),
    (MissingPart, "model_unavailable", False),
    (OutOfMemory, "out_of_memory", False),
    (OutputError, "storage_failed", True),
    (QuotaReached, "quota_exceeded", False),
)


def failure_of(error: BaseException) -> Failure:
    """What to tell of an error. Of a bug's own words nothing is told: they may hold anything."""
    if isinstance(error, WeightsError):  # its words name folders of the worker's machine
        message = "the model's files are damaged, or not all there; the worker's log says which"
        return Failure("model_unavailable", message, False)
    for kind, code, retry in _KINDS:
        if isinstance(error, kind):
            return Failure(code, str(error), retry)
    return Failure(
        "server_error", "something went wrong while the video was made; the worker's log says what", True
    )
