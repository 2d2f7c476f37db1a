"""One writer at a time, and one wait for the disk for all who come meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

from sqlalchemy import Connection

BUSY_TIMEOUT_S = 30  # how long one waits for other writers; each holds the lock for milliseconds
MOST_TOGETHER = 32  # transactions that are committed as one; other processes wait for the lock meanwhile


@dataclass(eq=False)
class _Together:
    """Transactions of several threads that are committed as one. `lost` is why none of them counts."""

    connection: Connection
    parts: int = 0
    over: Event = field(default_factory=Event)
    lost: BaseException | None = None

    @property
    def driver(self) -> Any:
        """The connection of the sqlite3 module: SQLAlchemy's savepoints take longer than what is between them."""
        return self.connection.connection.dbapi_connection

    def end(self) -> None:
        """Commit, or undo what does not count anyway, and tell all who took part."""
        try:
            if self.lost is None:
                self.connection.commit()
        except BaseException as error:  # noqa: BLE001 - raised by everyone who took part
            self.lost = error
            if self.driver.in_transaction:  # SQLite leaves it open, to be tried again
                self.driver.rollback()
        finally:
            self.connection.close()
            self.over.set()


class Writers:
    """The threads of one process that write to SQLite.

    SQLite has one writer, lets those who wait for it sleep and try again, and each commit waits for the disk, which may
    take longer than all the rest. So the threads of a process stand in line, and while somebody stands behind it, a
    transaction is left open for the next to go on with: the last in line, or every MOST_TOGETHER-th, commits for all.
    Nobody returns before that, so that what one has written is durable then, as ever. Each is undone alone (a
    savepoint) if it fails by itself; a commit that fails, or a disk that is full, undoes all, and all are told.
    """

    def __init__(self, begin: Callable[[], Connection]) -> None:
        """`begin` gives a connection on which a transaction has begun that holds the write lock."""
        self._begin = begin
        self._guard = Lock()
        self._line: deque[Event] = deque()
        self._busy = False
        self._open: _Together | None = None  # whoever has the turn may touch it

    @contextmanager
    def turn(self) -> Generator[Connection]:
        """A transaction of one's own, as far as its thread can see.

        Raises:
            TimeoutError: the line did not move for BUSY_TIMEOUT_S.
        """
        self._stand_in_line()
        try:
            together = self._open = self._open or _Together(self._begin())
        except BaseException:
            self._pass_on()
            raise
        try:
            self._begin_part(together)
            yield together.connection
            self._end_part(together)
        except BaseException as error:
            self._undo_part(together, error)
            self._close_or_leave(together)
            raise
        self._close_or_leave(together)
        together.over.wait()
        if together.lost is not None:
            raise together.lost

    def _stand_in_line(self) -> None:
        with self._guard:
            if not self._busy:
                self._busy = True
                return
            called = Event()
            self._line.append(called)
        if called.wait(BUSY_TIMEOUT_S):
            return
        with self._guard:
            if called in self._line:
                self._line.remove(called)
                raise TimeoutError

    def _pass_on(self) -> None:
        with self._guard:
            if self._line:
                self._line.popleft().set()
            else:
                self._busy = False

    def _close_or_leave(self, together: _Together) -> None:
        """Leave it open to whoever is next, who then has the turn for sure; or end it."""
        with self._guard:
            if self._line and 0 < together.parts < MOST_TOGETHER and together.lost is None:
                self._line.popleft().set()
                return
        self._open = None
        try:
            together.end()
        finally:
            self._pass_on()

    def _begin_part(self, together: _Together) -> None:
        # The first needs no savepoint: if it fails, there is nothing else to be undone.
        together.parts += 1
        if together.parts > 1:
            together.driver.execute("SAVEPOINT part")

    def _end_part(self, together: _Together) -> None:
        if together.parts > 1:
            together.driver.execute("RELEASE part")

    def _undo_part(self, together: _Together, error: BaseException) -> None:
        together.parts -= 1
        if not together.driver.in_transaction:
            together.lost = error  # SQLite has undone all of it, as it does where a disk is full
        elif together.parts:
            try:
                together.driver.execute("ROLLBACK TO part")
                together.driver.execute("RELEASE part")
            except Exception as problem:  # noqa: BLE001 - what cannot be undone alone must not be committed
                together.lost = problem
        else:
            together.lost = error  # it was alone, and closing undoes it
