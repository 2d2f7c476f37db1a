"""What there is to tell, and how it gets into the outbox."""

from __future__ import annotations

import json
import secrets
from typing import Literal, get_args

from sqlalchemy import Connection, bindparam, delete, insert, select

from hibari.db.schema import webhook_deliveries, webhook_endpoints

EventType = Literal["video.completed", "video.failed"]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)

_LISTENING = (
    select(webhook_endpoints.c.id, webhook_endpoints.c.event_types)
    .where(webhook_endpoints.c.account_id == bindparam("account"), webhook_endpoints.c.disabled_at.is_(None))
    # An endpoint that is deleted meanwhile must not make the event itself fail.
    .with_for_update(read=True, key_share=True)
)


def announce(
    connection: Connection, account_id: str, event_type: EventType, object_id: str, now: float
) -> None:
    """Have those endpoints of an account that asked for it be told of an event, once this transaction commits.

    Args:
        account_id: whose event it is.
        event_type: what happened.
        object_id: to what, such as a video's id.
        now: when, Unix seconds.
    """
    rows = connection.execute(_LISTENING, {"account": account_id}).all()
    wanted = [row.id for row in rows if event_type in row.event_types]
    if not wanted:
        return
    event_id, body = event_of(event_type, object_id, now)
    connection.execute(
        insert(webhook_deliveries),
        [
            {
                "endpoint_id": endpoint_id,
                "event_id": event_id,
                "event_type": event_type,
                "body": body,
                "created_at": now,
                "attempt": 0,
                "failures": 0,
                "next_at": now,
            }
            for endpoint_id in wanted
        ],
    )


def forget_endpoints(connection: Connection, account_id: str) -> None:
    """Forget all endpoints of an account, with their logs, once this transaction commits."""
    connection.execute(delete(webhook_endpoints).where(webhook_endpoints.c.account_id == account_id))


def event_of(event_type: EventType, object_id: str, now: float) -> tuple[str, str]:
    """An event's id, and its body as it will be signed."""
    event_id = f"evt_{secrets.token_hex(16)}"
    body = {
        "id": event_id,
        "object": "event",
        "created_at": int(now),
        "type": event_type,
        "data": {"id": object_id},
    }
    return event_id, json.dumps(body, separators=(",", ":"))
