"""How often a key may ask: a bucket a key that fills evenly, so that a minute's requests may also come at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil
from threading import Lock

from hibari.accounts import Key
from hibari.api.errors import Refused

PER_MINUTE = 600  # of a key of which nothing else is said
FORGET_ABOVE = 10_000  # buckets; full ones say nothing


class Rates:
    """Of this process: several servers behind one name each allow as much."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._buckets: dict[str, tuple[float, float]] = {}  # key -> requests left, and when that was so

    def check(self, key: Key) -> None:
        """Count a request.

        Raises:
            Refused: 429, with the seconds after which the next one is possible.
        """
        most = key.requests_per_minute or PER_MINUTE
        now = self._clock()
        with self._lock:
            left, then = self._buckets.get(key.id, (float(most), now))
            left = min(float(most), left + (now - then) * most / 60)
            allowed = left >= 1
            self._buckets[key.id] = (left - 1 if allowed else left), now
            if len(self._buckets) > FORGET_ABOVE:
                self._buckets = {
                    name: bucket for name, bucket in self._buckets.items() if now - bucket[1] < 60
                }
        if not allowed:
            raise Refused(
                429,
                "rate_limit_exceeded",
                f"this API key may ask {most} times a minute; wait a moment",
                headers={"Retry-After": str(ceil((1 - left) * 60 / most))},
            )
