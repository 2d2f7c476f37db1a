"""How many workers there should be."""

from __future__ import annotations

from dataclasses import dataclass

from hibari.contracts import InvalidRequest


@dataclass(frozen=True, slots=True)
class Scale:
    """How many workers there may be, and when there are too many.

    Attributes:
        least, most: workers; 0 or more, and at least `least` and 1.
        jobs: that one worker makes at a time.
        idle_s: fewer workers are needed for so long before one is stopped.
    """

    least: int
    most: int
    jobs: int
    idle_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most or self.most < 1:
            raise InvalidRequest(
                f"min is {self.least} and max {self.most}; wanted 0 <= min <= max, and max at least 1",
                field="max",
            )

    def wanted(self, demand: int) -> int:
        """Workers that can have `demand` jobs in hand together, within what may be."""
        return min(self.most, max(self.least, -(-demand // self.jobs)))
