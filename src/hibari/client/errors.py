"""What the client raises.

    HibariError
    └── ClientError
        ├── Unreachable             no answer, after all tries
        ├── InvalidWebhook          what came to a webhook endpoint was not sent by the server
        ├── UnexpectedAnswer        an answer that is not the API's: another server, or a proxy between
        ├── VideoFailed             a video was not made; `video.error` says why
        │   └── VideoCancelled
        └── ApiError                the server refused: `status`, `code`, `param`, `request_id`
            ├── BadRequest          400, and every other 4xx without a class of its own
            │   ├── ModelNotFound       code `model_not_found`
            │   └── TooLarge            413
            ├── Unauthenticated     401
            ├── Forbidden           403
            ├── NotFound            404
            ├── Conflict            409
            │   └── VideoNotReady       code `video_not_ready`
            ├── RateLimited         429
            │   └── LimitReached        code `limit_reached`: as many queued videos as may be
            └── ServerError         5xx
                └── Unavailable         503

The code decides first, then the status.
"""

from __future__ import annotations

import json
from typing import Any

import httpx2

from hibari.client.records import Video
from hibari.contracts import HibariError

SHOWN_CHARS = 200  # of an answer that is not the API's


class ClientError(HibariError):
    """Base of what the client raises."""


class Unreachable(ClientError):
    """The server gave no answer, however often it was asked."""


class UnexpectedAnswer(ClientError):
    """An answer that the API does not give."""


class InvalidWebhook(ClientError):
    """A request to a webhook endpoint that was not signed with its secret, or is too old."""


class VideoFailed(ClientError):
    """A video that was waited for was not made. `code` is that of `video.error`."""

    def __init__(self, video: Video) -> None:
        error = video.error
        self.video = video
        self.code = error.code if error is not None else "server_error"
        said = error.message if error is not None else "the server does not say why"
        super().__init__(f"the video {video.id} was not made ({self.code}): {said}")


class VideoCancelled(VideoFailed):
    """A video that was waited for was cancelled."""


class ApiError(ClientError):
    """The server refused.

    Attributes:
        status: of HTTP.
        code: stable, for programs.
        param: the parameter that is wrong, if it is one.
        request_id: by which the server's log knows it.
        retry_after_s: after which it may be tried again, if the server says so.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class BadRequest(ApiError):
    """Something that was sent is wrong."""


class ModelNotFound(BadRequest):
    """There is no model of that name."""


class TooLarge(BadRequest):
    """More was sent than is taken."""


class Unauthenticated(ApiError):
    """No key, or one that opens nothing."""


class Forbidden(ApiError):
    """The key may not do this."""


class NotFound(ApiError):
    """There is no such thing for the one who asks."""


class Conflict(ApiError):
    """The state of something does not allow it."""


class VideoNotReady(Conflict):
    """The video is not finished."""


class RateLimited(ApiError):
    """Too much at a time."""


class LimitReached(RateLimited):
    """The account has as many queued videos as it may."""


class ServerError(ApiError):
    """The server could not do it."""


class Unavailable(ServerError):
    """The server cannot do it now: its database or its storage is away."""


_BY_CODE: dict[str, type[ApiError]] = {
    "model_not_found": ModelNotFound,
    "video_not_ready": VideoNotReady,
    "limit_reached": LimitReached,
}
_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    429: RateLimited,
    503: Unavailable,
}


def refusal(response: httpx2.Response) -> ClientError:
    """The error that an answer without success stands for; its body must have been read."""
    status = response.status_code
    if status < 400:
        return UnexpectedAnswer(f"{response.url} answers with {status}; check the base URL")
    error: dict[str, Any] = {}
    try:
        error = dict(json.loads(response.content)["error"])
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):  # not from the server itself, but from a proxy
        code, message = "unknown", f"status {status}: {response.text[:SHOWN_CHARS]}"
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or (ServerError if status >= 500 else BadRequest)
    return kind(
        status,
        code,
        message,
        param=error.get("param"),
        request_id=response.headers.get("x-request-id"),
        retry_after_s=_retry_after_s(response),
    )


def failed(video: Video) -> VideoFailed:
    """The error that a video with the status `failed` stands for."""
    cancelled = video.error is not None and video.error.code == "cancelled"
    return VideoCancelled(video) if cancelled else VideoFailed(video)


def _retry_after_s(response: httpx2.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdecimal() else None
