"""Defends: threads that write to SQLite share the wait for the disk, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from time import monotonic, sleep
from typing import Any

import pytest
from sqlalchemy import Connection, event, func, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from hibari.contracts import DatabaseError
from hibari.db import Database, migrate, writers
from hibari.db.schema import keys, switches

Body = Callable[[Connection, int], None]


class Line:
    """A database in a file, and threads that write to it one behind the other."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}/hibari.db"
        self.database = Database(self.url)
        migrate(self.database)
        self.commits = 0
        event.listen(self.database.engine, "commit", self._count)

    def _count(self, _: Connection) -> None:
        self.commits += 1

    def names(self) -> set[str]:
        """What is there for another process."""
        other = Database(self.url)
        with other.read() as connection:
            found = set(connection.execute(select(switches.c.name)).scalars())
        other.close()
        return found

    def together(self, count: int, body: Body) -> list[Future[Any]]:
        """Let `body` write in so many threads; the first ends once all others stand in line."""
        begun, others_stand = Event(), Event()

        def write(number: int) -> set[str]:
            with self.database.write() as connection:
                if number == 0:
                    begun.set()
                    assert others_stand.wait(30)
                body(connection, number)
            return self.names()

        with ThreadPoolExecutor(count) as threads:
            futures = [threads.submit(write, 0)]
            assert begun.wait(30)
            for number in range(1, count):
                futures.append(threads.submit(write, number))
                self._until(lambda number=number: len(self.database._writers._line) == number)
            self.commits = 0
            others_stand.set()
        return futures

    def _until(self, happened: Callable[[], bool]) -> None:
        end = monotonic() + 30
        while not happened():
            assert monotonic() < end
            sleep(0.001)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = Line(tmp_path)
    yield made
    made.database.close()


def _switch(connection: Connection, number: int) -> None:
    connection.execute(insert(switches).values(name=f"s{number}", since=number))


def test_those_who_stand_in_line_are_committed_as_one(line: Line) -> None:
    everything = {f"s{number}" for number in range(10)}
    for future in line.together(10, _switch):
        assert future.result() == everything, "somebody returned before it was there for all"
    assert line.commits == 1


def test_a_long_line_is_committed_in_parts(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "MOST_TOGETHER", 4)
    assert all(future.exception() is None for future in line.together(10, _switch))
    assert len(line.names()) == 10
    assert line.commits == 3


@pytest.mark.parametrize("failing", [0, 2, 4])
def test_one_that_fails_is_undone_alone(line: Line, failing: int) -> None:
    def body(connection: Connection, number: int) -> None:
        _switch(connection, number)
        if number == failing:
            _switch(connection, number)  # the same name again

    futures = line.together(5, body)
    assert [type(future.exception()) for future in futures].count(IntegrityError) == 1
    assert isinstance(futures[failing].exception(), IntegrityError)
    assert line.names() == {f"s{number}" for number in range(5) if number != failing}


def test_a_commit_that_fails_is_told_to_all_and_keeps_no_lock(line: Line) -> None:
    def body(connection: Connection, number: int) -> None:
        _switch(connection, number)
        if number == 1:
            connection.execute(text("PRAGMA defer_foreign_keys = ON"))
            orphan = dict.fromkeys(("id", "name", "prefix", "sha256", "role"), "")
            connection.execute(insert(keys).values(**orphan, account_id="nobody", scopes=[], created_at=0))

    futures = line.together(3, body)
    assert all(isinstance(future.exception(), IntegrityError) for future in futures)
    assert line.names() == set()
    with line.database.write() as connection:
        _switch(connection, 7)
    assert line.names() == {"s7"}


def test_what_sqlite_undoes_as_a_whole_is_told_to_all(line: Line) -> None:
    def body(connection: Connection, number: int) -> None:
        _switch(connection, number)
        if number == 2:
            connection.exec_driver_sql("ROLLBACK")  # as it does itself where a disk is full
            raise OperationalError("INSERT", None, Exception("database or disk is full"))

    for future in line.together(3, body):
        with pytest.raises(DatabaseError, match="database or disk is full"):
            future.result()
    assert line.names() == set()


def test_a_line_that_does_not_move_is_an_error_and_not_a_hang(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "BUSY_TIMEOUT_S", 0.05)
    with ThreadPoolExecutor(1) as thread, line.database.write() as connection:
        with pytest.raises(DatabaseError, match="too busy"):
            thread.submit(lambda: line.database.write().__enter__()).result()
        _switch(connection, 1)
    assert line.names() == {"s1"}


@pytest.mark.parametrize("durable", [True, False])
def test_only_what_need_not_outlive_a_power_cut_does_not_wait_for_the_disk(line: Line, durable: bool) -> None:
    with line.database.write(durable=durable) as connection:
        level = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
        _switch(connection, 1)
    assert level == (2 if durable else 1)  # FULL, NORMAL
    assert line.names() == {"s1"}
    with line.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(switches)).scalar_one() == 1


def test_postgresql_waits_for_its_log_by_the_same_word(postgres_url: str) -> None:
    database = Database(postgres_url)
    with database.write() as connection:
        connection.exec_driver_sql(
            "SET SESSION synchronous_commit TO ON"
        )  # a server for tests may have it off
    for durable, level in ((False, "off"), (True, "on")):
        with database.write(durable=durable) as connection:
            assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == level
    database.close()
