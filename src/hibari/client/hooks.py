"""Webhooks: the calls about endpoints, which are methods of both clients, and reading what arrives at one."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from hibari.client.calls import MOST_OF_A_PAGE, Call, deleted, page_of
from hibari.client.errors import InvalidWebhook
from hibari.client.records import Json, Page, paged

EventType = Literal["video.completed", "video.failed"]
TOLERANCE_S = 300.0  # between the sender's clock and ours


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """A URL that is told of the end of videos. Moments are Unix seconds.

    Attributes:
        secret: what is sent is signed with it; only in the answer that makes it, and None otherwise.
        secret_hint: by which people recognise it.
        enabled: false of one that has answered 410.
    """

    id: str
    name: str
    url: str
    event_types: tuple[str, ...]
    secret: str | None = field(repr=False)
    secret_hint: str
    created_at: int
    updated_at: int
    enabled: bool

    @classmethod
    def from_json(cls, values: Json) -> WebhookEndpoint:
        """Raises KeyError or TypeError for what is none."""
        return cls(
            id=values["id"],
            name=values["name"],
            url=values["url"],
            event_types=tuple(values["event_types"]),
            secret=values.get("signing_secret"),
            secret_hint=values["signing_secret_hint"],
            created_at=values["created_at"],
            updated_at=values["updated_at"],
            enabled=values["enabled"],
        )


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """What an endpoint is told. `id` is the same however often it comes; `type` is one of EventType."""

    id: str
    type: str
    created_at: int
    video_id: str

    @classmethod
    def from_json(cls, values: Json) -> WebhookEvent:
        """Raises KeyError or TypeError for what is none."""
        return cls(values["id"], values["type"], values["created_at"], values["data"]["id"])


@dataclass(frozen=True, slots=True)
class WebhookAttempt:
    """One request to an endpoint. `status_code` is None where no answer came; `error` says why it does not count."""

    at: int
    duration_ms: int
    status_code: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """What became of an event at an endpoint; moments are Unix seconds, None for what has not been or will not be."""

    event: WebhookEvent
    status: Literal["pending", "delivered", "failed"]
    created_at: int
    delivered_at: int | None
    next_attempt_at: int | None
    attempts: tuple[WebhookAttempt, ...]

    @classmethod
    def from_json(cls, values: Json) -> WebhookDelivery:
        """Raises KeyError or TypeError for what is none."""
        return cls(
            event=WebhookEvent.from_json(values["event"]),
            status=values["status"],
            created_at=values["created_at"],
            delivered_at=values["delivered_at"],
            next_attempt_at=values["next_attempt_at"],
            attempts=tuple(
                WebhookAttempt(one["at"], one["duration_ms"], one["status_code"], one["error"])
                for one in values["attempts"]
            ),
        )


def read_webhook(
    body: bytes | str,
    headers: Mapping[str, str],
    secret: str,
    *,
    tolerance_s: float = TOLERANCE_S,
    now: float | None = None,
) -> WebhookEvent:
    """The event of a request that came to an endpoint, if it was signed with its secret.

    Args:
        body: of the request, as it came.
        headers: of the request; upper and lower case are the same.
        secret: `whsec_...`, of `WebhookEndpoint.secret`.
        tolerance_s: how old it may be, so that nobody can send an old one again.
        now: Unix seconds; None is this moment.

    Raises:
        InvalidWebhook: it was not, or was changed, or is too old. Answer with 400.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        event_id, timestamp = given["webhook-id"], given["webhook-timestamp"]
        signatures = [one.partition(",") for one in given["webhook-signature"].split()]
        sent_at = int(timestamp)
    except (KeyError, ValueError) as error:
        raise InvalidWebhook("the request has no headers of a webhook") from error
    content = body.encode() if isinstance(body, str) else body
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise InvalidWebhook("the secret is none; wanted whsec_ and what follows it") from error
    wanted = base64.b64encode(hmac.digest(key, f"{event_id}.{timestamp}.".encode() + content, "sha256"))
    # One for each of the secrets that are valid now; there may be others than v1.
    signed = [one.encode() for kind, _, one in signatures if kind == "v1"]
    if not any(hmac.compare_digest(one, wanted) for one in signed):
        raise InvalidWebhook("the request was not signed with this secret, or was changed on its way")
    if abs((time.time() if now is None else now) - sent_at) > tolerance_s:
        raise InvalidWebhook(f"the request was signed more than {tolerance_s:g} s from now")
    try:
        return WebhookEvent.from_json(json.loads(content))
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidWebhook("the request holds no event of this API") from error


def create_webhook(
    url: str, *, name: str = "webhook", event_types: Sequence[EventType] = ("video.completed", "video.failed")
) -> Call[WebhookEndpoint]:
    """Register a URL that is to be told of the end of videos. The answer has its secret, this once."""
    body = {"url": url, "name": name, "event_types": list(event_types)}
    return Call("POST", _ALL, WebhookEndpoint.from_json, body=body, repeatable=False)


def webhooks() -> Call[tuple[WebhookEndpoint, ...]]:
    """All endpoints, the newest first."""
    return Call(
        "GET",
        _ALL,
        lambda values: tuple(WebhookEndpoint.from_json(one) for one in values["data"]),
        page_of(None, MOST_OF_A_PAGE),  # an account has fewer
    )


def webhook(endpoint: WebhookEndpoint | str) -> Call[WebhookEndpoint]:
    """An endpoint as it is now."""
    return Call("GET", _path(endpoint), WebhookEndpoint.from_json)


def update_webhook(
    endpoint: WebhookEndpoint | str,
    *,
    url: str | None = None,
    name: str | None = None,
    event_types: Sequence[EventType] | None = None,
    enabled: bool | None = None,
) -> Call[WebhookEndpoint]:
    """Change what is given of an endpoint."""
    values: dict[str, Any] = {"url": url, "name": name, "enabled": enabled}
    values["event_types"] = None if event_types is None else list(event_types)
    body = {field: value for field, value in values.items() if value is not None}
    return Call("POST", _path(endpoint), WebhookEndpoint.from_json, body=body)


def delete_webhook(endpoint: WebhookEndpoint | str) -> Call[None]:
    """Forget an endpoint, with its log and all that waits for it."""
    return Call("DELETE", _path(endpoint), deleted)


def rotate_webhook_secret(
    endpoint: WebhookEndpoint | str, *, keep_old: bool = False
) -> Call[WebhookEndpoint]:
    """Give an endpoint a new secret; with `keep_old` what is sent is signed with both for a day."""
    body = {"keep_old_secret_active_for_24_hours": keep_old}
    path = f"{_path(endpoint)}/rotate_secret"
    return Call("POST", path, WebhookEndpoint.from_json, body=body, repeatable=False)


def sample_webhook(endpoint: WebhookEndpoint | str, event_type: EventType = "video.completed") -> Call[int]:
    """Send an event of a video that does not exist, now; the status with which the endpoint took it."""
    body = {"event_type": event_type}
    return Call("POST", f"{_path(endpoint)}/test", lambda values: int(values["status_code"]), body=body)


def webhook_log(
    endpoint: WebhookEndpoint | str, *, after: str | None = None, limit: int = 20
) -> Call[Page[WebhookDelivery]]:
    """A part of what an endpoint was told, the newest first, behind the event `after`."""
    read = paged(WebhookDelivery.from_json)
    return Call("GET", f"{_path(endpoint)}/deliveries", read, page_of(after, limit))


def webhook_delivery(endpoint: WebhookEndpoint | str, event: WebhookEvent | str) -> Call[WebhookDelivery]:
    """What became of one event at an endpoint."""
    return Call("GET", _delivery(endpoint, event), WebhookDelivery.from_json)


def replay_webhook(endpoint: WebhookEndpoint | str, event: WebhookEvent | str) -> Call[WebhookDelivery]:
    """Send an event again, with the same id, however its delivery ended."""
    return Call("POST", f"{_delivery(endpoint, event)}/replay", WebhookDelivery.from_json)


def webhook_event_types() -> Call[tuple[str, ...]]:
    """What an endpoint can be told of."""
    return Call("GET", "/webhook_event_types", lambda values: tuple(values["data"]))


_ALL = "/webhook_endpoints"


def _path(endpoint: WebhookEndpoint | str) -> str:
    return f"{_ALL}/{quote(endpoint if isinstance(endpoint, str) else endpoint.id, safe='')}"


def _delivery(endpoint: WebhookEndpoint | str, event: WebhookEvent | str) -> str:
    return f"{_path(endpoint)}/deliveries/{quote(event if isinstance(event, str) else event.id, safe='')}"
