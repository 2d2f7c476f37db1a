"""The rows of a database as of one moment, and rows put into another."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import JSON, Connection, MetaData, Table, func, insert, select, text

from hibari.contracts import Conflict, DatabaseError
from hibari.db import Database
from hibari.db.append_only import unprotected
from hibari.db.migrate import revisions
from hibari.db.schema import audit_log, metadata

BATCH_ROWS = 500


@contextmanager
def snapshot(database: Database) -> Generator[Connection]:
    """A connection whose reads are all of the moment at which this began; it holds up nobody.

    Raises:
        DatabaseError: the database cannot be reached, or is of another version.
    """
    if not database.is_sqlite:
        with database.read() as connection:
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            _check_revision(database, connection)
            yield connection
        return
    with tempfile.TemporaryDirectory(prefix="hibari-backup-") as folder:
        path = Path(folder) / "snapshot.db"
        with database.read() as connection:
            _check_revision(database, connection)
            source = connection.connection.driver_connection
            assert isinstance(source, sqlite3.Connection)
            target = sqlite3.connect(path)
            try:
                source.backup(target)  # SQLite's own way, consistent while others write
            finally:
                target.close()
        copy = Database(f"sqlite:///{path}")
        try:
            with copy.read() as connection:
                yield connection
        finally:
            copy.close()


def rows(connection: Connection) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row of every table, those that others refer to first."""
    for table in metadata.sorted_tables:
        found = connection.execution_options(yield_per=BATCH_ROWS).execute(
            select(table).order_by(*table.primary_key.columns)
        )
        for row in found:
            yield table.name, dict(row._mapping)  # pyright: ignore[reportPrivateUsage] - the documented way


def revision(connection: Connection) -> str | None:
    """The revision of a database's schema; None for one that has no tables."""
    return MigrationContext.configure(connection).get_current_revision()


def is_empty(connection: Connection) -> bool:
    """Whether no table has a row."""
    return all(connection.execute(select(table).limit(1)).first() is None for table in _tables(connection))


def replace_all(connection: Connection, lines: Iterator[tuple[str, Mapping[str, Any]]]) -> None:
    """Put rows in the place of all that are there, in the transaction of `connection`."""
    tables = {table.name: table for table in _tables(connection)}
    with unprotected(connection, audit_log.name):
        for table in reversed(tables.values()):
            connection.execute(table.delete())
    batch: list[Mapping[str, Any]] = []
    into: Table | None = None
    for name, row in lines:
        table = tables[name]
        if into is not None and (table is not into or len(batch) >= BATCH_ROWS):
            connection.execute(insert(into), batch)
            batch = []
        into = table
        batch.append(row)
    if into is not None and batch:
        connection.execute(insert(into), batch)
    if connection.dialect.name == "postgresql":
        for table in tables.values():
            _count_on(connection, table)


def _tables(connection: Connection) -> list[Table]:
    """As they are in this database, which may be of an earlier revision; those that others refer to first."""
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name != "alembic_version")
    for table in found.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, JSON):
                column.type.none_as_null = True  # unknown is NULL, as everywhere in the schema
    return found.sorted_tables


def _count_on(connection: Connection, table: Table) -> None:
    """PostgreSQL does not count up by itself from rows that brought their numbers."""
    for column in table.primary_key.columns:
        name = connection.execute(
            select(func.pg_get_serial_sequence(table.name, column.name))
        ).scalar_one_or_none()
        if name is not None:
            highest = select(func.coalesce(func.max(column), 0) + 1).scalar_subquery()
            connection.execute(select(func.setval(name, highest, False)))


def _check_revision(database: Database, connection: Connection) -> None:
    there, ours = revision(connection), revisions()[-1]
    if there is None:
        raise Conflict(f"the database {database.name} has no tables: there is nothing to back up")
    if there != ours:
        raise DatabaseError(
            f"the database {database.name} is of revision {there}, and this Hibari of {ours}; "
            "use the version that serves it"
        )
