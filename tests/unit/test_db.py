"""Defends: a database is reached as it was asked for, its transactions hold, and an old one becomes a new one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select, text

from hibari.contracts import DatabaseError, InvalidRequest, OutputError
from hibari.db import Database, insert_if_absent, migrate
from hibari.db.migrate import differences, revisions
from hibari.db.schema import jobs, metadata, switches
from hibari.db.schema import sources as made_of


def _insert_account(connection: Connection) -> None:
    connection.execute(text("INSERT INTO accounts (id, name, created_at) VALUES ('acct_1', 'ann', 1)"))


def _insert_jobs(connection: Connection) -> None:
    _insert_account(connection)
    asked = {"tool": None, "cards": [], "image": None}
    for number, made in enumerate((asked, {**asked, "tool": "remix"}), 1):
        request = json.dumps({"shown": {"prompt": "Ein \uff22är"}, "assignment": made})
        sources = json.dumps(["video_1"] if number == 2 else [])
        connection.execute(
            text(
                "INSERT INTO jobs (number, id, owner, state, model, request, priority, sources, fingerprint, step, "
                "furthest_step, created_at, attempt, not_before, failures, crashes, last_event) VALUES (:number, "
                ":id, 'acct_1', 'queued', 'mini', :request, 0, :sources, '', 0, 0, 1, 0, 1, 0, 0, 1)"
            ),
            {"number": number, "id": f"video_{number}", "request": request, "sources": sources},
        )


# What lies in a database of each revision, for the test that brings it up from there. A new revision adds a line.
ROWS: dict[str, Callable[[Connection], None]] = dict.fromkeys(
    ("0001", "0002", "0003", "0004", "0005", "0006", "0007"), _insert_account
) | {"0004": _insert_jobs}


@pytest.fixture(params=["sqlite", "postgres"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without any table."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path}/folder/hibari.db")
        yield database
        database.close()
        return
    # A schema of its own is as good as a database of its own, and takes no seconds.
    url = f"{request.getfixturevalue('postgres_url')}&options=-csearch_path%3Dbare"
    database = Database(url)
    with database.write() as connection:
        connection.execute(text("CREATE SCHEMA bare"))
    yield database
    with database.write() as connection:
        connection.execute(text("DROP SCHEMA bare CASCADE"))
    database.close()


def test_a_migrated_database_is_the_schema(bare: Database) -> None:
    migrate(bare)
    assert list(differences(bare)) == []
    migrate(bare)  # again: nothing to do
    with bare.read() as connection:
        assert (
            connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
            == revisions()[-1]
        )


def test_a_difference_is_seen(bare: Database) -> None:
    migrate(bare)
    with bare.write() as connection:
        connection.execute(text("ALTER TABLE paces ADD COLUMN more INTEGER"))
        connection.execute(text("DROP TABLE switches"))
    assert len(differences(bare)) == 2


@pytest.mark.parametrize("start", revisions())
def test_every_earlier_revision_comes_up_with_its_rows(bare: Database, start: str) -> None:
    migrate(bare, to=start)
    with bare.write() as connection:
        ROWS[start](connection)
    migrate(bare)
    assert list(differences(bare)) == []
    with bare.read() as connection:
        assert connection.execute(text("SELECT name FROM accounts")).scalars().all() == ["ann"]
        if ROWS[start] is _insert_jobs:
            found = connection.execute(
                select(jobs.c.words, jobs.c.kind, jobs.c.sample).order_by(jobs.c.number)
            )
            assert [tuple(row) for row in found] == [
                ("ein bär", "prompt", False),
                ("ein bär", "remix", False),
            ]
            assert connection.execute(select(made_of)).all() == [(2, "video_1")]


def test_a_database_of_a_newer_hibari_is_left_alone(bare: Database) -> None:
    migrate(bare)
    with bare.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match="use the version that made it, or a newer one"):
        migrate(bare)


def test_servers_that_start_together_migrate_once(bare: Database) -> None:
    with ThreadPoolExecutor(3) as servers:
        for done in [servers.submit(migrate, bare) for _ in range(3)]:
            done.result()
    assert list(differences(bare)) == []


def test_the_folder_of_a_new_database_is_its_users_alone(tmp_path: Path) -> None:
    Database(f"sqlite:///{tmp_path}/new/folder/hibari.db")
    assert (tmp_path / "new" / "folder").stat().st_mode & 0o077 == 0
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    Database(f"sqlite:///{tmp_path}/open/hibari.db")
    assert (tmp_path / "open").stat().st_mode & 0o077 == 0o055, "what is there already is left as it is"


def test_an_exception_undoes_a_transaction(database: Database) -> None:
    def fails() -> None:
        with database.write() as connection:
            connection.execute(insert(switches).values(name="a", since=1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    with database.read() as connection:
        assert connection.execute(select(func.count()).select_from(switches)).scalar_one() == 0


def test_a_row_is_inserted_once(database: Database) -> None:
    with database.write() as connection:
        assert insert_if_absent(connection, switches, name="a", since=1.0)
        assert not insert_if_absent(connection, switches, name="a", since=2.0)
        assert connection.execute(select(switches.c.since)).scalars().all() == [1.0]


def test_writers_on_sqlite_take_turns_and_readers_do_not_wait(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/hibari.db")
    metadata.create_all(database.engine)
    written = threading.Event()

    def second() -> None:
        with database.write() as connection:
            connection.execute(insert(switches).values(name="second", since=2))
            written.set()

    with database.write() as connection:
        thread = threading.Thread(target=second)
        thread.start()
        with database.read() as other:
            assert other.execute(select(switches)).all() == []
        assert not written.wait(0.05)  # even before this transaction has written anything
        connection.execute(insert(switches).values(name="first", since=1))
    thread.join()
    with database.read() as other:
        assert other.execute(select(switches.c.name).order_by(switches.c.since)).scalars().all() == [
            "first",
            "second",
        ]
        assert other.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert other.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
        assert other.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 30_000
    database.close()


@pytest.mark.parametrize("url", ["mysql://root:hunter2@host/name", "hibari.db", ""])
def test_a_url_of_another_kind_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidRequest, match="wanted sqlite:") as caught:
        Database(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_usual_names_of_postgresql_are_taken(scheme: str) -> None:
    database = Database(f"{scheme}://ann:hunter2@host/name")
    assert database.name == "postgresql+psycopg://ann:***@host/name"


def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    database = Database(f"postgresql://ann:hunter2@/name?host={tmp_path}")
    with pytest.raises(DatabaseError, match="cannot be used") as caught:
        migrate(database)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"not a database, whatever it is called" * 100)
    with pytest.raises(DatabaseError, match="cannot be used"):
        migrate(Database(f"sqlite:///{tmp_path}/file"))
    with pytest.raises(OutputError, match="cannot make the folder"):
        Database(f"sqlite:///{tmp_path}/file/below/hibari.db")
