"""Tells the queue that the jobs are alive, and hears what is wanted of them, also while a step takes long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Event, Thread
from time import monotonic

from hibari.contracts import ClaimLost, DatabaseError
from hibari.jobs import Claims, Order
from hibari.worker.held import Held

logger = logging.getLogger(__name__)

BEAT_EVERY_S = 0.5  # a pause or a cancellation is heard that soon


class Heart:
    """A thread."""

    def __init__(
        self,
        claims: Claims,
        held: Callable[[], Sequence[Held]],
        on_order: Callable[[Held, Order], None],
        on_lost: Callable[[Held], None],
    ) -> None:
        """Nothing beats yet.

        Args:
            claims: the queue.
            held: the jobs of now; may be called from this thread at any time.
            on_order: is told what is wanted of a job, once.
            on_lost: is told that a job is no longer ours.
        """
        self._claims = claims
        self._held = held
        self._on_order = on_order
        self._on_lost = on_lost
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for that."""
        self._stopped.set()
        self._thread.join()

    def beat(
        self,
        held: Held,
        *,
        step: int | None = None,
        steps: int | None = None,
        preview: str | None = None,
        checkpoint: str | None = None,
    ) -> None:
        """One word to the queue; from any thread. A database that is away is waited for: the next beat comes soon."""
        if held.over.is_set():
            return
        try:
            order = self._claims.heartbeat(
                held.claim, step=step, steps=steps, preview=preview, checkpoint=checkpoint
            )
        except ClaimLost:
            self._on_lost(held)
            return
        except DatabaseError as error:
            logger.warning("no heartbeat of %s: %s", held.claim.job.id, error)
            return
        held.reported_s = monotonic()
        if order is not Order.GO_ON and held.wanted is Order.GO_ON:
            held.wanted = order
            self._on_order(held, order)

    def _run(self) -> None:
        while not self._stopped.wait(BEAT_EVERY_S):
            for held in self._held():
                if monotonic() - held.reported_s >= BEAT_EVERY_S:
                    self.beat(held)
