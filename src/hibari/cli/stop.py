"""Ctrl-C and termination: an exception at once, and again at the next step should that one get lost.

Python drops an exception that a signal raises while a finaliser or a callback from C runs; it only prints that it was
ignored. So the wish is remembered, and work that takes long asks after it.
"""

from __future__ import annotations

import signal
from types import FrameType


class Terminated(BaseException):
    """A termination signal; a BaseException so that, like Ctrl-C, it passes everything but cleaning up."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. A class of its own, because CPython ends a `python -m` process by SIGINT, whatever exit code it asks for,
    once a plain KeyboardInterrupt has passed through code that `exec` ran (a dataclass being defined, for one)."""


_RAISES: dict[int, type[BaseException]] = {signal.SIGINT: Interrupted, signal.SIGTERM: Terminated}
_wished: list[type[BaseException]] = []


def listen() -> None:
    """From now on both signals stop what runs. Forgets an earlier wish."""
    _wished.clear()
    for number in _RAISES:
        signal.signal(number, _stop)


def check() -> None:
    """Raise what a signal wished for, if one did."""
    if _wished:
        raise _wished[0]


def _stop(number: int, _frame: FrameType | None) -> None:
    _wished.append(_RAISES[number])
    raise _RAISES[number]
