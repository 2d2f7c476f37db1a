"""The frozen nouns: who acts, what is done, and to what."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

TargetKind = Literal["account", "key", "video", "webhook", "server"]


class Action(StrEnum):
    """What can be done that is written down."""

    ACCOUNT_CREATED = "account.created"
    ACCOUNT_ROLE = "account.role"
    ACCOUNT_LIMITS = "account.limits"
    ACCOUNT_PAUSED = "account.paused"
    ACCOUNT_RESUMED = "account.resumed"
    ACCOUNT_DELETED = "account.deleted"
    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    KEY_PAUSED = "key.paused"
    KEY_RESUMED = "key.resumed"
    SERVER_PAUSED = "server.paused"
    SERVER_RESUMED = "server.resumed"
    SERVER_LINKS_ENDED = "server.links_ended"
    VIDEO_CANCELLED = "video.cancelled"
    VIDEO_PRIORITY = "video.priority"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_CHANGED = "webhook.changed"
    WEBHOOK_SECRET = "webhook.secret"  # noqa: S105 - that it has a new one
    WEBHOOK_DELETED = "webhook.deleted"
    WEBHOOK_REPLAYED = "webhook.replayed"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts.

    Attributes:
        via: by the API, or at the command line of the machine.
        account_id: None at the command line: whoever can use it may do everything.
        name: for people.
        key_prefix: of the API key that was used; None without one.
    """

    via: Literal["api", "cli"]
    name: str
    account_id: str | None = None
    key_prefix: str | None = None


OPERATOR = Actor("cli", "operator")


@dataclass(frozen=True, slots=True)
class Target:
    """To what it is done.

    Attributes:
        id: None for the server as a whole.
        name: as people call it at that moment; never a prompt.
        account_id: whose it is.
    """

    kind: TargetKind
    id: str | None = None
    name: str | None = None
    account_id: str | None = None
