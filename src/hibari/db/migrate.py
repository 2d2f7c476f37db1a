"""Bringing a database's tables up to date, from any earlier revision or from nothing.

Revisions go one way: back is by the backup.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import text

from hibari.contracts import DatabaseError
from hibari.db.engine import Database
from hibari.db.schema import metadata

# Any number; servers that start together take turns by it.
_POSTGRES_LOCK = 0x48_69_62_61_72_69


def migrate(database: Database, to: str = "head") -> None:
    """Bring the tables to revision `to`, all or nothing. Safe to call by several processes at once, and again.

    Raises:
        DatabaseError: the database cannot be reached, or was made by a newer Hibari.
    """
    config = _config()
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _POSTGRES_LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, to)
        except CommandError as error:
            raise DatabaseError(
                f"the database {database.name} is not one that this Hibari knows ({error}); "
                "use the version that made it, or a newer one"
            ) from error


def revisions() -> list[str]:
    """All revisions, the oldest first."""
    script = ScriptDirectory.from_config(_config())
    return [found.revision for found in reversed(list(script.walk_revisions()))]


def differences(database: Database) -> Sequence[Any]:
    """What is in the tables and not in the schema, or the other way round; empty if they are the same."""
    with database.read() as connection:
        return compare_metadata(MigrationContext.configure(connection), metadata)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
