"""The database: how it is reached, what is in it, and how an older one becomes a newer one.

One schema for SQLite (default, one file, no service) and PostgreSQL (many machines). **Synchronous** SQLAlchemy Core: a
transaction here takes milliseconds, the API calls it from its thread pool, and the worker has no event loop at all.
`engine` opens a database, `schema` is the tables, `migrate` brings them up to date. What the rows mean is known to the
rooms above (`jobs`, `accounts`); nothing but rows and transactions is here.
"""

from hibari.db.engine import Database, insert_if_absent
from hibari.db.migrate import migrate

__all__ = ["Database", "insert_if_absent", "migrate"]
