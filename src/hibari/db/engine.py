"""Opening a database and its two kinds of transaction. Only this module knows how SQLite and PostgreSQL differ."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, QueuePool, Table, create_engine, event, exc, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from hibari.contracts import DatabaseError, InvalidRequest, MissingPart, OutputError
from hibari.db.writers import BUSY_TIMEOUT_S, Writers

CONNECT_TIMEOUT_S = 5
POOL_CONNECTIONS, POOL_OVERFLOW = 10, 40
_WRITES, _DURABLE = "hibari_writes", "hibari_durable"


class Database:
    """A database and its connections; safe to share between threads, not between processes."""

    def __init__(self, url: str) -> None:
        """Nothing is connected yet, except that a SQLite file's folder is made if it is not there.

        Args:
            url: `sqlite:////var/lib/hibari/hibari.db` (four slashes: an absolute path), `sqlite://` for one in memory
                that lives as long as this object, or `postgresql://user:password@host/name`.

        Raises:
            InvalidRequest: it is no such URL.
            MissingPart: the driver for PostgreSQL is not installed.
            OutputError: the folder cannot be made.
        """
        parsed = _parse(url)
        self.name = parsed.render_as_string(hide_password=True)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            in_memory = parsed.database in (None, "", ":memory:")
            if not in_memory:
                _make_folder(Path(str(parsed.database)))
            self.engine = create_engine(
                parsed,
                connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
                poolclass=QueuePool,
                # One in memory belongs to its connection: there is one, and threads take turns.
                pool_size=1 if in_memory else POOL_CONNECTIONS,
                max_overflow=0 if in_memory else POOL_OVERFLOW,
            )
            event.listen(self.engine, "connect", _set_up_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
            self._writers = Writers(self._begin_together)
        else:
            try:
                self.engine = create_engine(
                    parsed,
                    connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
                    pool_size=POOL_CONNECTIONS,
                    max_overflow=POOL_OVERFLOW,
                    pool_pre_ping=True,  # a server that was restarted costs nobody an error
                )
            except ModuleNotFoundError as error:
                raise MissingPart(
                    "PostgreSQL needs the package psycopg; install it with: pip install 'hibari[postgres]'"
                ) from error

    @contextmanager
    def write(self, *, durable: bool = True) -> Generator[Connection]:
        """A transaction that may write: committed at the end, rolled back by an exception.

        On SQLite it holds the only write lock from its first moment on (`BEGIN IMMEDIATE`), so that what it reads stays
        true until it commits; on PostgreSQL it is READ COMMITTED, and rows that must stay are read `FOR UPDATE`.
        On SQLite several threads' transactions may be committed as one: see `Writers`.

        Args:
            durable: what was written survives a power cut. Without, the last seconds of such writes may be lost to one
                (and to nothing else), all in order: for what is soon said again or means nothing without this machine.

        Raises:
            DatabaseError: the database cannot be reached, or is too busy.
        """
        if self.is_sqlite and durable:
            with self._told(), self._writers.turn() as connection:
                yield connection
            return
        with self._transaction(writes=True, durable=durable) as connection:
            if not self.is_sqlite and not durable:
                connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")
            yield connection

    def _begin_together(self) -> Connection:
        connection = self.engine.connect()
        try:
            connection.execution_options(**{_WRITES: True, _DURABLE: True})
            connection.begin()
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def read(self) -> Generator[Connection]:
        """A transaction that only reads; it waits for no writer.

        Raises:
            DatabaseError: the database cannot be reached.
        """
        with self._transaction(writes=False) as connection:
            yield connection

    @contextmanager
    def _transaction(self, *, writes: bool, durable: bool = True) -> Generator[Connection]:
        with self._told(), self.engine.connect() as connection:
            connection.execution_options(**{_WRITES: writes, _DURABLE: durable})
            with connection.begin():
                yield connection

    @contextmanager
    def _told(self) -> Generator[None]:
        """What goes wrong with the world, told as such."""
        try:
            yield
        except DBAPIError as error:
            if _is_of_the_world(error):
                reason = str(error.orig).strip().split("\n", 1)[0]
                raise DatabaseError(f"the database {self.name} cannot be used: {reason}") from error
            raise
        except PoolTimeoutError as error:
            raise DatabaseError(
                f"the database {self.name} is too busy: all {POOL_CONNECTIONS + POOL_OVERFLOW} connections are taken"
            ) from error
        except TimeoutError as error:
            raise DatabaseError(
                f"the database {self.name} is too busy: {BUSY_TIMEOUT_S} s were not enough"
            ) from error

    def close(self) -> None:
        """Close all connections. The object can still be used: it connects again."""
        self.engine.dispose()


def insert_if_absent(connection: Connection, table: Table, **values: Any) -> bool:
    """Insert a row unless one with the same unique values is there; whether it was inserted."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).values(**values).on_conflict_do_nothing()
    return connection.execute(statement.returning(*table.primary_key)).first() is not None


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidRequest(_not_a_url(url), field="database") from error
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite":
        return parsed
    raise InvalidRequest(_not_a_url(url), field="database")


def _not_a_url(url: str) -> str:
    kind = url.split("://", 1)[0][:20]  # what follows may hold a password
    return (
        f"the database's URL begins with {kind!r}; wanted sqlite:////path/to/file.db "
        "or postgresql://user:password@host/name"
    )


def _make_folder(file: Path) -> None:
    try:
        # Its user's alone: prompts are in the database, and secrets that sign.
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {file.parent} for the database: {error.strerror}"
        ) from error


def _is_of_the_world(error: DBAPIError) -> bool:
    """Whether the server, the disk or the network is to blame, and not a statement of ours."""
    # sqlite3 says DatabaseError itself, and none of its kinds, of a file that is no database.
    return error.connection_invalidated or type(error) in (
        OperationalError,
        InterfaceError,
        exc.DatabaseError,
    )


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # The driver must not begin transactions by itself, or it begins them without the lock: _begin_sqlite does.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    # By the driver itself: every request comes by here, and SQLAlchemy's own way takes as long as a small query.
    driver: Any = connection.connection.dbapi_connection
    try:
        if options.get(_WRITES, True):
            # FULL: a job that was accepted survives a power cut. NORMAL waits for no disk: a power cut takes the last
            # of it, in order, up to the next FULL one. A process that dies takes nothing.
            driver.execute(f"PRAGMA synchronous = {'FULL' if options.get(_DURABLE, True) else 'NORMAL'}")
            driver.execute("BEGIN IMMEDIATE")
        else:
            driver.execute("BEGIN")
    except sqlite3.OperationalError as error:
        raise OperationalError("BEGIN", None, error) from error
