"""A table whose rows stay as they were written: the database refuses to change or remove one."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import Connection, inspect, text

_EVENTS = ("UPDATE", "DELETE")


def protect(connection: Connection, table: str) -> None:
    """From now on rows can only be added."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            text(
                f"CREATE OR REPLACE FUNCTION {table}_stays() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$"
            )
        )
    for event in _EVENTS:
        body = (
            f"FOR EACH ROW EXECUTE FUNCTION {table}_stays()"
            if connection.dialect.name == "postgresql"
            else f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
        connection.execute(text(f"CREATE TRIGGER {_trigger(table, event)} BEFORE {event} ON {table} {body}"))


@contextmanager
def unprotected(connection: Connection, table: str) -> Generator[None]:
    """Lift the protection within a transaction, as to put a backup in the place of all that is there. A table that is
    not there, as in a database of an earlier revision, has none."""
    if not inspect(connection).has_table(table):
        yield
        return
    on_table = f" ON {table}" if connection.dialect.name == "postgresql" else ""
    for event in _EVENTS:
        connection.execute(text(f"DROP TRIGGER {_trigger(table, event)}{on_table}"))
    yield
    protect(connection, table)


def _trigger(table: str, event: str) -> str:
    return f"{table}_{event.lower()}"
