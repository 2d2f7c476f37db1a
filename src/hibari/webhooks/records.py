"""The frozen nouns: endpoint, delivery and its attempts. Moments are Unix seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

from hibari.db.records import record
from hibari.webhooks import signing


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL that is told of an account's events; its secret is not in here.

    Attributes:
        event_types: what it is told of.
        secret_hint: what may be shown of the secret.
        updated_at: when it, or its secret, was last changed.
        disabled_at: since when it is told nothing; None while it is.
    """

    id: str
    account_id: str
    name: str
    url: str
    event_types: tuple[str, ...]
    secret_hint: str
    created_at: float
    updated_at: float
    disabled_at: float | None

    @classmethod
    def from_row(cls, row: Row[Any]) -> Endpoint:
        """A row of `schema.webhook_endpoints`."""
        return record(cls, row, event_types=tuple(row.event_types), secret_hint=signing.hint(row.secret))


@dataclass(frozen=True, slots=True)
class NewSecret:
    """An endpoint with its new secret, which is shown this once."""

    endpoint: Endpoint
    secret: str = field(repr=False)


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"  # it is not tried again by itself


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to the endpoint. `status_code` is None where no answer came; `error` says why it does not count."""

    at: float
    took_ms: int
    status_code: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint.

    Attributes:
        body: the event as it is sent.
        attempts: what was tried, the oldest first.
        next_at: when it is tried next; None if it is not.
        delivered_at: when the endpoint took it.
    """

    event_id: str
    event_type: str
    body: str
    created_at: float
    attempts: tuple[Attempt, ...]
    next_at: float | None
    delivered_at: float | None

    @property
    def state(self) -> DeliveryState:
        """Where it stands."""
        if self.next_at is not None:
            return DeliveryState.PENDING
        return DeliveryState.FAILED if self.delivered_at is None else DeliveryState.DELIVERED


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An attempt that is to be made, by whoever holds this.

    Attributes:
        number: of the delivery.
        attempt: the fencing token.
        secrets: those that are valid now.
    """

    number: int
    attempt: int
    endpoint_id: str
    account_id: str
    url: str
    event_id: str
    body: str
    secrets: tuple[str, ...] = field(repr=False)
