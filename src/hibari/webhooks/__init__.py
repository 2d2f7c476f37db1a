"""Telling other servers what happened here: endpoints that accounts register, an outbox, and its delivery.

`announce` writes what is to be told into the outbox, in the transaction of the event itself: what has happened is told,
and nothing else is. `Webhooks` is the only way to the tables; `Deliverer`, in the server's process, sends what is due.
An attempt is a lease: when a server dies over it, another one sends it again, so an event comes at least once, always
with the same `webhook-id`. What is sent is signed as Standard Webhooks says (`signing`).
"""

from hibari.webhooks.deliver import Deliverer, send
from hibari.webhooks.outbox import EVENT_TYPES, EventType, announce, forget_endpoints
from hibari.webhooks.records import Attempt, Delivery, DeliveryState, Endpoint, NewSecret
from hibari.webhooks.store import Webhooks

__all__ = [
    "EVENT_TYPES",
    "Attempt",
    "Deliverer",
    "Delivery",
    "DeliveryState",
    "Endpoint",
    "EventType",
    "NewSecret",
    "Webhooks",
    "announce",
    "forget_endpoints",
    "send",
]
