"""What is tried again, and after how long."""

from __future__ import annotations

import random

import httpx2

from hibari.client.errors import ApiError, Unreachable, refusal

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
LONGEST_RETRY_AFTER_S = 60.0  # a server that wants more is not waited for
_PASSING = frozenset({429, 502, 503, 504})
# Nothing of the request had reached the server.
_BEFORE_SENDING = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Tries:
    """Of one call. The pauses double, and are a little uneven, so that clients that were cut off together do not come
    back together."""

    def __init__(self, retries: int, server: str) -> None:
        self._retries = retries
        self._server = server  # for messages
        self._left = retries

    def reset(self) -> None:
        """Something got through: the count begins anew."""
        self._left = self._retries

    def after_loss(self, error: httpx2.TransportError, *, repeatable: bool = True) -> float:
        """Seconds to wait after there was no answer, or no whole one.

        Raises:
            Unreachable: it is not to be tried again.
        """
        if self._left == 0 or not (repeatable or isinstance(error, _BEFORE_SENDING)):
            reason = str(error) or type(error).__name__
            raise Unreachable(f"there is no answer from {self._server}: {reason}") from error
        return self._pause_s()

    def after_refusal(self, response: httpx2.Response) -> float:
        """Seconds to wait after an answer without success; its body must have been read.

        Raises:
            ClientError: what the answer says, if it would say the same again.
        """
        error = refusal(response)
        if response.status_code not in _PASSING or self._left == 0 or not isinstance(error, ApiError):
            raise error
        if error.retry_after_s is None:
            return self._pause_s()
        if error.retry_after_s > LONGEST_RETRY_AFTER_S:
            raise error
        return max(error.retry_after_s, self._pause_s())

    def after_end(self) -> float:
        """Seconds to wait after a stream has ended too soon.

        Raises:
            Unreachable: it is not to be tried again.
        """
        if self._left == 0:
            raise Unreachable(f"{self._server} ends the stream of events each time before the last event")
        return self._pause_s()

    def _pause_s(self) -> float:
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (self._retries - self._left))
        self._left -= 1
        return pause_s * random.uniform(0.75, 1.0)
