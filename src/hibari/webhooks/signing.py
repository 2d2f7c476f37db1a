"""Signatures as Standard Webhooks has them: HMAC-SHA256 over id, time and body, with a secret that both sides know."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable

SECRET_BYTES = 32
_PREFIX = "whsec_"


def new_secret() -> str:
    """`whsec_` and 32 random bytes as base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def hint(secret: str) -> str:
    """What may be shown of a secret, for people to recognise it."""
    return f"{_PREFIX}...{secret[-5:-1]}"  # the last character is always the padding


def headers(event_id: str, body: str, at: float, keys: Iterable[str]) -> dict[str, str]:
    """The three headers of an attempt at Unix time `at`: a signature for each of the secrets that are valid now."""
    timestamp = str(int(at))
    signed = f"{event_id}.{timestamp}.{body}".encode()
    signatures = [
        base64.b64encode(hmac.digest(base64.b64decode(key.removeprefix(_PREFIX)), signed, hashlib.sha256))
        for key in keys
    ]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature.decode()}" for signature in signatures),
    }
