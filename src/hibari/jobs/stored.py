"""How much room the files of an owner take, and how much they may.

Counted are the files of completed jobs, what those of unfinished jobs are expected to be, and what was uploaded.
Deleted jobs and samples are not counted; checkpoints and previews, which go by themselves, are not either.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from hibari.contracts import NotFound, QuotaReached
from hibari.db import Database
from hibari.db.schema import accounts, jobs, stored_files
from hibari.jobs.terms import Clock, Policy


class StoredFiles:
    """What owners have in the storage beside their jobs' own files: uploads and characters."""

    def __init__(self, database: Database, clock: Clock = time.time, policy: Policy | None = None) -> None:
        self._database = database
        self._clock = clock
        self._policy = policy or Policy()

    def add(self, owner: str, key: str, size_bytes: int) -> None:
        """Count a file, before it is stored under `key`.

        Raises:
            QuotaReached: there is no room for it.
            NotFound: there is no such owner.
        """
        with self._database.write() as connection:
            account = connection.execute(
                select(accounts)
                .where(accounts.c.id == owner, accounts.c.deleted_at.is_(None))
                .with_for_update()
            ).one_or_none()
            if account is None:
                raise NotFound(f"there is no account {owner!r}")
            check_room(connection, account, size_bytes, self._policy)
            connection.execute(
                insert(stored_files).values(
                    key=key, account_id=owner, size_bytes=size_bytes, created_at=self._clock()
                )
            )

    def forget(self, key: str) -> None:
        """Count a file no more, after it was removed. One that is not counted is no error."""
        with self._database.write() as connection:
            connection.execute(delete(stored_files).where(stored_files.c.key == key))

    def ownerless(self, limit: int = 100) -> list[str]:
        """Keys of files whose account was deleted. Remove them from the storage, then `forget` them."""
        query = (
            select(stored_files.c.key)
            .join(accounts, accounts.c.id == stored_files.c.account_id)
            .where(accounts.c.deleted_at.is_not(None))
            .order_by(stored_files.c.key)
        )
        with self._database.read() as connection:
            return list(connection.execute(query.limit(limit)).scalars())

    def counted_by(self, moment: float) -> list[str]:
        """Keys of files that were counted up to that Unix time. Where one is not in the storage, whoever counted it
        died before it was stored, and it is to be forgotten."""
        query = select(stored_files.c.key).where(stored_files.c.created_at <= moment)
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def used_bytes(self, owner: str) -> int:
        """What all files of an owner take, those of their jobs included."""
        with self._database.read() as connection:
            return _used_bytes(connection, owner)


def check_room(
    connection: Connection,
    account: Row[Any],
    size_bytes: int,
    policy: Policy,
    *,
    what: str = "this takes about",
) -> None:
    """Refuse `size_bytes` more for an account, whose row is locked, if they are too many. `what` begins the message.

    Raises:
        QuotaReached: they are.
    """
    most = policy.max_stored_bytes if account.max_stored_bytes is None else account.max_stored_bytes
    if most is None:
        return
    used = _used_bytes(connection, account.id)
    if used + size_bytes > most:
        raise QuotaReached(
            f"{what} {_mb(size_bytes)}, and {_mb(used)} of {_mb(most)} are taken; delete videos first"
        )


def _used_bytes(connection: Connection, owner: str) -> int:
    of_jobs = select(func.coalesce(func.sum(jobs.c.stored_bytes), 0)).where(
        jobs.c.owner == owner, jobs.c.deleted_at.is_(None), ~jobs.c.sample
    )
    of_files = select(func.coalesce(func.sum(stored_files.c.size_bytes), 0)).where(
        stored_files.c.account_id == owner
    )
    return int(connection.execute(of_jobs).scalar_one()) + int(connection.execute(of_files).scalar_one())


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"
