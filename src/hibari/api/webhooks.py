"""The routes about webhooks, as the official client's `webhooks` calls them; the log and replay are ours beyond it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from hibari.api import asked
from hibari.api.body import Body, read_body
from hibari.api.keys import Given, Reader, Writer, actor_of, allowed
from hibari.api.making import described
from hibari.contracts import InvalidRequest
from hibari.webhooks import (
    EVENT_TYPES,
    Delivery,
    DeliveryState,
    Endpoint,
    EventType,
    NewSecret,
    send,
)

router = APIRouter(tags=["webhooks"])

MAX_BODY_BYTES = 64 * 1024


class WebhookEndpoint(BaseModel):
    """A URL that is told of events. `enabled` is ours: an endpoint that answers 410 is disabled."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    name: str
    url: str
    event_types: list[EventType]
    signing_secret_hint: str
    created_at: int
    updated_at: int
    enabled: bool


class WebhookEndpointWithSecret(WebhookEndpoint):
    """An endpoint, with the secret that is shown this once."""

    signing_secret: str


class WebhookEndpointList(BaseModel):
    """A page of endpoints."""

    object: Literal["list"] = "list"
    data: list[WebhookEndpoint]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedWebhookEndpoint(BaseModel):
    """An endpoint that is gone."""

    id: str
    deleted: Literal[True] = True
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"


class WebhookTest(BaseModel):
    """What an endpoint answered to a sample."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: EventType
    status_code: int
    success: Literal[True] = True


class WebhookEventTypes(BaseModel):
    """What there is to be told of."""

    object: Literal["list"] = "list"
    data: list[EventType]


class WebhookAttempt(BaseModel):
    """One request to an endpoint; `status_code` is null where no answer came."""

    at: int
    duration_ms: int
    status_code: int | None
    error: str | None


class WebhookDelivery(BaseModel):
    """What became of an event at an endpoint. `id` is the event's, which each attempt has as `webhook-id`."""

    id: str
    object: Literal["webhook_endpoint.delivery"] = "webhook_endpoint.delivery"
    status: DeliveryState
    event: dict[str, Any]
    created_at: int
    delivered_at: int | None
    next_attempt_at: int | None
    attempts: list[WebhookAttempt]


class WebhookDeliveryList(BaseModel):
    """A page of an endpoint's log."""

    object: Literal["list"] = "list"
    data: list[WebhookDelivery]
    first_id: str | None
    last_id: str | None
    has_more: bool


Limit = Annotated[int, Query(ge=1, le=100)]


@router.get("/webhook_event_types", dependencies=[Depends(allowed("videos:read"))])
def event_types() -> WebhookEventTypes:
    """What an endpoint can be told of."""
    return WebhookEventTypes(data=list(EVENT_TYPES))


@router.post("/webhook_endpoints", openapi_extra=described(asked.NewEndpoint))
async def create(request: Request, parts: Given, identity: Writer) -> WebhookEndpointWithSecret:
    """Register a URL that is to be told of events. The answer has the secret that they are signed with, this once."""
    wish = (await read_body(request, MAX_BODY_BYTES)).parse(asked.NewEndpoint)
    made = await run_in_threadpool(
        parts.webhooks.create,
        identity.account.id,
        wish.url,
        name=wish.name,
        event_types=wish.event_types,
        by=actor_of(identity),
    )
    return _with_secret(made)


@router.get("/webhook_endpoints")
def page(parts: Given, identity: Reader, after: str | None = None, limit: Limit = 20) -> WebhookEndpointList:
    """The endpoints of the one who asks, the newest first."""
    found = parts.webhooks.all(identity.account.id)
    if after is not None:
        ids = [endpoint.id for endpoint in found]
        if after not in ids:
            raise InvalidRequest(
                f"after is {after[:60]!r}; must be the id of an endpoint of this list", field="after"
            )
        found = found[ids.index(after) + 1 :]
    data = [_endpoint(endpoint) for endpoint in found[:limit]]
    return WebhookEndpointList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > limit,
    )


@router.get("/webhook_endpoints/{endpoint_id}")
def retrieve(endpoint_id: str, parts: Given, identity: Reader) -> WebhookEndpoint:
    """An endpoint."""
    return _endpoint(parts.webhooks.get(identity.account.id, endpoint_id))


@router.post("/webhook_endpoints/{endpoint_id}", openapi_extra=described(asked.ChangedEndpoint))
async def update(endpoint_id: str, request: Request, parts: Given, identity: Writer) -> WebhookEndpoint:
    """Change what is given of an endpoint."""
    wish = (await read_body(request, MAX_BODY_BYTES)).parse(asked.ChangedEndpoint)
    changed = await run_in_threadpool(
        parts.webhooks.update,
        identity.account.id,
        endpoint_id,
        name=wish.name,
        url=wish.url,
        event_types=wish.event_types,
        enabled=wish.enabled,
        by=actor_of(identity),
    )
    return _endpoint(changed)


@router.delete("/webhook_endpoints/{endpoint_id}")
def delete(endpoint_id: str, parts: Given, identity: Writer) -> DeletedWebhookEndpoint:
    """Forget an endpoint, with its log and all that waits for it."""
    parts.webhooks.delete(identity.account.id, endpoint_id, by=actor_of(identity))
    return DeletedWebhookEndpoint(id=endpoint_id)


@router.post(
    "/webhook_endpoints/{endpoint_id}/rotate_secret",
    openapi_extra=described(asked.NewEndpointSecret, required=False),
)
async def rotate_secret(
    endpoint_id: str, request: Request, parts: Given, identity: Writer
) -> WebhookEndpointWithSecret:
    """Give an endpoint a new secret, which the answer has, this once."""
    is_empty = (
        request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers
    )
    body = Body({}) if is_empty else await read_body(request, MAX_BODY_BYTES)
    wish = body.parse(asked.NewEndpointSecret)
    made = await run_in_threadpool(
        parts.webhooks.rotate_secret,
        identity.account.id,
        endpoint_id,
        keep_old=wish.keep_old_secret_active_for_24_hours,
        by=actor_of(identity),
    )
    return _with_secret(made)


@router.post("/webhook_endpoints/{endpoint_id}/test", openapi_extra=described(asked.EndpointTest))
async def test(endpoint_id: str, request: Request, parts: Given, identity: Writer) -> WebhookTest:
    """Send an event of a video that does not exist, now, and say what the endpoint answers."""
    wish = (await read_body(request, MAX_BODY_BYTES)).parse(asked.EndpointTest)

    def work() -> int:
        outgoing = parts.webhooks.sample(identity.account.id, endpoint_id, wish.event_type)
        return send(outgoing, private=parts.webhooks.private_urls)

    status_code = await run_in_threadpool(work)
    return WebhookTest(webhook_endpoint_id=endpoint_id, event_type=wish.event_type, status_code=status_code)


@router.get("/webhook_endpoints/{endpoint_id}/deliveries")
def deliveries(
    endpoint_id: str, parts: Given, identity: Reader, after: str | None = None, limit: Limit = 20
) -> WebhookDeliveryList:
    """What an endpoint was told, or will be, and what it answered; the newest first."""
    found, has_more = parts.webhooks.deliveries(identity.account.id, endpoint_id, after=after, limit=limit)
    data = [_delivery(delivery) for delivery in found]
    return WebhookDeliveryList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=has_more,
    )


@router.get("/webhook_endpoints/{endpoint_id}/deliveries/{event_id}")
def delivery(endpoint_id: str, event_id: str, parts: Given, identity: Reader) -> WebhookDelivery:
    """What became of one event at an endpoint."""
    return _delivery(parts.webhooks.delivery(identity.account.id, endpoint_id, event_id))


@router.post("/webhook_endpoints/{endpoint_id}/deliveries/{event_id}/replay")
def replay(endpoint_id: str, event_id: str, parts: Given, identity: Writer) -> WebhookDelivery:
    """Send an event again, with the same id, however its delivery ended."""
    by = actor_of(identity)
    return _delivery(parts.webhooks.replay(identity.account.id, endpoint_id, event_id, by=by))


def _endpoint(endpoint: Endpoint) -> WebhookEndpoint:
    return WebhookEndpoint.model_validate(_values(endpoint))


def _with_secret(made: NewSecret) -> WebhookEndpointWithSecret:
    return WebhookEndpointWithSecret.model_validate({**_values(made.endpoint), "signing_secret": made.secret})


def _values(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": endpoint.event_types,
        "signing_secret_hint": endpoint.secret_hint,
        "created_at": int(endpoint.created_at),
        "updated_at": int(endpoint.updated_at),
        "enabled": endpoint.disabled_at is None,
    }


def _delivery(delivery: Delivery) -> WebhookDelivery:
    return WebhookDelivery(
        id=delivery.event_id,
        status=delivery.state,
        event=json.loads(delivery.body),
        created_at=int(delivery.created_at),
        delivered_at=None if delivery.delivered_at is None else int(delivery.delivered_at),
        next_attempt_at=None if delivery.next_at is None else int(delivery.next_at),
        attempts=[
            WebhookAttempt(
                at=int(attempt.at),
                duration_ms=attempt.took_ms,
                status_code=attempt.status_code,
                error=attempt.error,
            )
            for attempt in delivery.attempts
        ],
    )
