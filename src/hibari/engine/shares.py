"""Who has had how much of the engine."""

from __future__ import annotations

from collections.abc import Collection


class Shares:
    """What each owner has had, in rows x tokens that were computed for it. Who arrives or comes back starts level with
    those that wait: nobody saves up turns."""

    def __init__(self) -> None:
        self._had: dict[str, float] = {}

    def had(self, owner: str) -> float:
        """By an owner that has something in the engine."""
        return self._had[owner]

    def level(self, owner: str, waiting: Collection[str]) -> None:
        """An owner arrives or comes back, and starts no lower than the one of those who wait that has had least."""
        had = self._had.get(owner, 0.0)
        if owner not in waiting:
            had = max(had, min((self._had[other] for other in waiting), default=0.0))
        self._had[owner] = had

    def charge(self, owner: str, cost: float) -> None:
        """Something was computed for it."""
        self._had[owner] += cost

    def forget(self, owner: str) -> None:
        """Its last generation has left."""
        self._had.pop(owner, None)
