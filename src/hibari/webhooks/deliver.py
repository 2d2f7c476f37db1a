"""Sending what is due, a thread an attempt."""

from __future__ import annotations

import logging
import time
from collections import Counter
from http.client import HTTPException
from threading import Event, Lock, Thread

from hibari.contracts import HibariError, InvalidUrl
from hibari.outbound import checked_url, connection_to, cut_off, target
from hibari.webhooks import signing
from hibari.webhooks.records import Outgoing
from hibari.webhooks.store import Webhooks

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
PURGE_EVERY_S = 3600.0
ANSWER_WITHIN_S = 10.0
AT_ONCE = 16
AT_ONCE_OF_AN_ACCOUNT = 2  # whose endpoint is slow keeps nobody else waiting
STOP_WITHIN_S = 3.0


class Deliverer:
    """Sends what is in the outbox until it is stopped. There may be any number of them, in any number of processes."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks
        self._stopped = Event()
        self._lock = Lock()
        self._going_on: Counter[str] = Counter()  # attempts of each account
        self._thread = Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no more attempts, and give those that go on a moment. One that is left is made again by whoever runs
        then, once its lease is out."""
        self._stopped.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join()
        until = time.monotonic() + STOP_WITHIN_S
        while self._count() and time.monotonic() < until:
            time.sleep(0.05)

    def _run(self) -> None:
        next_purge = time.monotonic()
        while not self._stopped.wait(LOOK_EVERY_S):
            try:
                while not self._stopped.is_set() and self._begin_one():
                    pass
                if time.monotonic() >= next_purge:
                    next_purge = time.monotonic() + PURGE_EVERY_S
                    self._webhooks.purge()
            except HibariError as error:
                logger.warning("webhooks go on later: %s", error)
            except Exception:
                logger.exception("webhooks go on later")

    def _begin_one(self) -> bool:
        """Begin the next attempt, if one is due and may be made now."""
        with self._lock:
            busy = [name for name, count in self._going_on.items() if count >= AT_ONCE_OF_AN_ACCOUNT]
        if self._count() >= AT_ONCE:
            return False
        outgoing = self._webhooks.claim(busy)
        if outgoing is None:
            return False
        self._going_on_changes(outgoing, 1)
        Thread(target=self._make, args=(outgoing,), name=outgoing.event_id, daemon=True).start()
        return True

    def _make(self, outgoing: Outgoing) -> None:
        began_s = time.monotonic()
        status_code: int | None = None
        error: str | None = None
        try:
            try:
                status_code = send(outgoing, private=self._webhooks.private_urls)
            except HibariError as problem:
                error = str(problem)
            except Exception:
                logger.exception("webhook %s fails", outgoing.event_id)
                error = "something went wrong on the server that sends; its log says what"
            took_ms = round((time.monotonic() - began_s) * 1000)
            self._webhooks.record(outgoing, took_ms=took_ms, status_code=status_code, error=error)
            logger.info(
                "webhook %s of %s: attempt %d, %s in %d ms",
                outgoing.event_id,
                outgoing.endpoint_id,
                outgoing.attempt,
                status_code or "no answer",
                took_ms,
            )
        except HibariError as problem:  # the database is away: the lease runs out, and it is sent again
            logger.warning("webhook %s: its outcome cannot be stored: %s", outgoing.event_id, problem)
        finally:
            self._going_on_changes(outgoing, -1)

    def _count(self) -> int:
        with self._lock:
            return self._going_on.total()

    def _going_on_changes(self, outgoing: Outgoing, by: int) -> None:
        with self._lock:
            self._going_on[outgoing.account_id] += by
            if not self._going_on[outgoing.account_id]:
                del self._going_on[outgoing.account_id]


def send(outgoing: Outgoing, *, private: bool) -> int:
    """Make the attempt: the endpoint's status. What else it answers is not read, and no redirect is followed.

    Raises:
        InvalidUrl: it leads where it must not (PrivateAddress unless `private`), there is no such host, or no answer
            came within ANSWER_WITHIN_S.
    """
    parts = checked_url(outgoing.url, "url")
    connection = connection_to(parts, private=private, field="url")
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "hibari",
        **signing.headers(outgoing.event_id, outgoing.body, time.time(), outgoing.secrets),
    }
    try:
        with cut_off(connection, ANSWER_WITHIN_S):
            connection.request("POST", target(parts), outgoing.body.encode(), headers)
            return connection.getresponse().status
    except (OSError, HTTPException) as error:
        reason = type(error).__name__
        raise InvalidUrl(f"the endpoint gives no answer: {reason}", field="url") from error
    finally:
        connection.close()
