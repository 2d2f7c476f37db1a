"""Every refusal has one shape: {"error": {"message", "type", "param", "code"}}. One table, one handler."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from hibari.contracts import (
    Conflict,
    DatabaseError,
    HibariError,
    InputError,
    InvalidRequest,
    InvalidUrl,
    KeyRefused,
    LimitReached,
    NotFound,
    OutputError,
    PrivateAddress,
    QuotaReached,
    UnknownModel,
)

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 30  # of a full queue

# The most special class first.
_KINDS: tuple[tuple[type[HibariError], int, str], ...] = (
    (UnknownModel, 400, "model_not_found"),
    (PrivateAddress, 400, "private_address"),
    (InvalidUrl, 400, "invalid_url"),
    (InvalidRequest, 400, "invalid_value"),
    (InputError, 400, "invalid_file"),
    (KeyRefused, 401, "invalid_api_key"),
    (NotFound, 404, "not_found"),
    (Conflict, 409, "conflict"),
    (QuotaReached, 413, "quota_exceeded"),
    (LimitReached, 429, "limit_reached"),
    (DatabaseError, 503, "database_unavailable"),
    (OutputError, 503, "storage_unavailable"),
)

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class Refused(HibariError):
    """A refusal whose status and code no error of the rooms below has."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = dict(headers or {})


def error_body(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """What every refusal looks like."""
    # A message may quote what came, half surrogate pairs included, which no answer could carry.
    message = message.encode("utf-8", "replace").decode()
    return {"error": {"message": message, "type": _type(status), "param": param, "code": code}}


def install(app: FastAPI) -> None:
    """Make this the application's way to refuse."""
    app.add_exception_handler(HibariError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(Exception, _refuse)


def wrong_value(errors: list[ErrorDetails]) -> Refused:
    """The first of pydantic's complaints, in the words of this API."""
    first = errors[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    param = ".".join(place) or None
    match first["type"]:
        case "missing":
            return Refused(400, "missing_parameter", f"{param} is missing; it is required", param=param)
        case "extra_forbidden":
            return Refused(400, "unknown_parameter", f"there is no parameter {param!r} here", param=param)
        case _:
            return Refused(400, "invalid_value", f"{param or 'the request'}: {first['msg']}", param=param)


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    """The one handler."""
    headers: dict[str, str] = {}
    param: str | None = None
    match error:
        case Refused():
            status, code, message, param = error.status, error.code, str(error), error.param
            headers = error.headers
        case HibariError():
            status, code = _kind(error)
            message = str(error)
            param = error.field if isinstance(error, InvalidRequest) else None
        case RequestValidationError():
            refused = wrong_value(list(error.errors()))
            status, code, message, param = refused.status, refused.code, str(refused), refused.param
        case HTTPException():
            status, code = error.status_code, _CODES.get(error.status_code, "invalid_request")
            message = f"{request.method} {request.url.path}: {error.detail}"
            headers = dict(error.headers or {})
        case _:
            # ServerErrorMiddleware raises it again after this answer, and the server logs it.
            status, code = 500, "server_error"
            message = "something went wrong on the server; its log says what"
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers.setdefault("Retry-After", str(RETRY_AFTER_S if status == 429 else 5))
    if status >= 500 and isinstance(error, HibariError):
        logger.error("%s %s: %s", request.method, request.url.path, error)
    return JSONResponse(error_body(status, code, message, param), status, headers)


def _kind(error: HibariError) -> tuple[int, str]:
    for kind, status, code in _KINDS:
        if isinstance(error, kind):
            return status, code
    return 500, "server_error"


def _type(status: int) -> str:
    if status >= 500:
        return "server_error"
    return {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
        status, "invalid_request_error"
    )
