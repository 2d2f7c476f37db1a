"""Accounts and keys in their tables."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from hibari.accounts.records import LINKS_SECRET, LOCAL, ROLE_SCOPES, Account, Identity, Key, NewKey, Role
from hibari.audit import Action, Actor, Target, note
from hibari.contracts import Conflict, InvalidRequest, KeyRefused, NotFound
from hibari.db import Database, insert_if_absent
from hibari.db.schema import accounts, folders, keys, server_secrets
from hibari.webhooks import forget_endpoints

SECRET_BYTES = 32
PREFIX_CHARS = 11  # of the secret, "hb_" included: 48 of its 256 bits
MAX_NAME_CHARS = 100
USED_EVERY_S = 60.0  # `used_at` is written no more often than that
_REFUSED = "the API key is not known here; check that it was copied in full"

# Put together once, as every request comes by here.
_KEYS_OF_PREFIX = select(keys).where(keys.c.prefix == bindparam("prefix"))
_ACCOUNT = select(accounts).where(accounts.c.id == bindparam("id"), accounts.c.deleted_at.is_(None))


class Accounts:
    """Make, find, check and revoke. Safe to share between threads.

    `by`, where a call takes it, is who does it: it is then in the audit log.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def create(
        self,
        name: str,
        *,
        max_running: int | None = None,
        max_queued: int | None = None,
        max_stored_bytes: int | None = None,
        by: Actor | None = None,
    ) -> Account:
        """A new account.

        Raises:
            InvalidRequest: the name or a limit is not possible.
            Conflict: there is an account of that name.
        """
        limits = _limits(max_running, max_queued, max_stored_bytes)
        values: dict[str, Any] = {
            "id": f"acct_{secrets.token_hex(8)}",
            "name": _name(name),
            "created_at": self._clock(),
            **limits,
        }
        with self._database.write() as connection:
            if not insert_if_absent(connection, accounts, **values):
                raise Conflict(f"there is an account {name!r} already")
            made = Account.from_row(_account(connection, values["id"]))
            given = {name: limit for name, limit in limits.items() if limit is not None}
            note(connection, by, made.created_at, Action.ACCOUNT_CREATED, _target(made), **given)
            return made

    def local(self) -> Identity:
        """The one user of a server that asks for no key, made when it is first needed."""
        with self._database.read() as connection:
            row = connection.execute(select(accounts).where(accounts.c.id == LOCAL)).one_or_none()
        if row is None:
            with self._database.write() as connection:
                insert_if_absent(connection, accounts, id=LOCAL, name="local", created_at=self._clock())
                row = _account(connection, LOCAL)
        return Identity(Account.from_row(row), None)

    def get(self, account_id: str) -> Account:
        """An account.

        Raises:
            NotFound: there is none of that id.
        """
        with self._database.read() as connection:
            return Account.from_row(_account(connection, account_id))

    def find(self, name: str) -> Account | None:
        """The account of that name, if there is one."""
        with self._database.read() as connection:
            row = connection.execute(
                select(accounts).where(accounts.c.name == name, accounts.c.deleted_at.is_(None))
            ).one_or_none()
        return None if row is None else Account.from_row(row)

    def all(self) -> list[Account]:
        """All accounts, by name."""
        with self._database.read() as connection:
            return [
                Account.from_row(row)
                for row in connection.execute(
                    select(accounts).where(accounts.c.deleted_at.is_(None)).order_by(accounts.c.name)
                )
            ]

    def set_limits(
        self,
        account_id: str,
        *,
        max_running: int | None,
        max_queued: int | None,
        max_stored_bytes: int | None,
        by: Actor | None = None,
    ) -> Account:
        """Replace an account's limits; None is the server's default. What runs or waits already goes on.

        Raises:
            InvalidRequest: a limit is below 0.
            NotFound: there is no such account.
        """
        limits = _limits(max_running, max_queued, max_stored_bytes)
        with self._database.write() as connection:
            before = _account(connection, account_id, lock=True)
            connection.execute(update(accounts).where(accounts.c.id == account_id).values(**limits))
            changed = {name: limit for name, limit in limits.items() if limit != getattr(before, name)}
            account = Account.from_row(_account(connection, account_id))
            if changed:
                note(connection, by, self._clock(), Action.ACCOUNT_LIMITS, _target(account), **changed)
            return account

    def set_role(self, account_id: str, role: Role, *, by: Actor | None = None) -> list[Key]:
        """Give all keys of an account that are not revoked a role. One that had all scopes of its role has all of the
        new one's; one that had fewer keeps of them what the new role may have.

        Raises:
            NotFound: there is no such account.
            Conflict: it has no key that a role could be given to.
        """
        with self._database.write() as connection:
            account = Account.from_row(_account(connection, account_id, lock=True))
            rows = connection.execute(
                select(keys).where(keys.c.account_id == account_id, keys.c.revoked_at.is_(None))
            ).all()
            if not rows:
                raise Conflict(f"the account {account.name!r} has no key; make one with the role {role}")
            for key in map(Key.from_row, rows):
                possible = set(ROLE_SCOPES[role])
                had_all = key.scopes == frozenset(ROLE_SCOPES[key.role])
                scopes = possible if had_all else possible & key.scopes
                connection.execute(
                    update(keys).where(keys.c.id == key.id).values(role=role.value, scopes=sorted(scopes))
                )
            note(connection, by, self._clock(), Action.ACCOUNT_ROLE, _target(account), role=role.value)
            return [Key.from_row(_key(connection, row.id)) for row in rows]

    def delete(self, account_id: str, *, by: Actor | None = None) -> None:
        """Delete an account: its keys open nothing from the next request on, its webhooks and folders are forgotten and
        so is its name, which can be given again. The sweeper removes its videos and files (`Upkeep`, `StoredFiles`).

        Raises:
            NotFound: there is no such account.
            Conflict: it is the local account, which every server has.
        """
        if account_id == LOCAL:
            raise Conflict("the local account is that of a server without keys, and stays")
        now = self._clock()
        with self._database.write() as connection:
            account = Account.from_row(_account(connection, account_id, lock=True))
            connection.execute(
                update(accounts).where(accounts.c.id == account_id).values(deleted_at=now, name=account_id)
            )
            connection.execute(
                update(keys)
                .where(keys.c.account_id == account_id, keys.c.revoked_at.is_(None))
                .values(revoked_at=now)
            )
            forget_endpoints(connection, account_id)
            connection.execute(delete(folders).where(folders.c.account_id == account_id))
            note(connection, by, now, Action.ACCOUNT_DELETED, _target(account))

    def create_key(
        self,
        account_id: str,
        name: str,
        *,
        role: Role = Role.MEMBER,
        scopes: Collection[str] | None = None,
        expires_at: float | None = None,
        requests_per_minute: int | None = None,
        by: Actor | None = None,
    ) -> NewKey:
        """A new key: `hb_` and 32 random bytes. Of the secret only its SHA-256 and its prefix are kept.

        Args:
            account_id: whom it stands for.
            name: for people.
            role: what its holder is.
            scopes: what it may do, at most what the role may; None is all of that.
            expires_at: Unix seconds; None is never.
            requests_per_minute: None is the server's default.
            by: who makes it.

        Raises:
            InvalidRequest: a value is not possible; `field` names it.
            NotFound: there is no such account.
        """
        possible = ROLE_SCOPES[role]
        wanted = possible if scopes is None else scopes
        if wrong := sorted(set(wanted) - set(possible)):
            raise InvalidRequest(
                f"a {role} cannot have the scope {wrong[0]!r}; possible are {', '.join(possible)}",
                field="scopes",
            )
        now = self._clock()
        if expires_at is not None and not expires_at > now:
            raise InvalidRequest("the key would have expired already", field="expires_at")
        if requests_per_minute is not None and requests_per_minute < 1:
            raise InvalidRequest(
                f"requests_per_minute is {requests_per_minute}; must be at least 1",
                field="requests_per_minute",
            )
        secret = f"hb_{secrets.token_urlsafe(SECRET_BYTES)}"
        values: dict[str, Any] = {
            "id": f"key_{secrets.token_hex(8)}",
            "account_id": account_id,
            "name": _name(name),
            "prefix": secret[:PREFIX_CHARS],
            "sha256": _sha256(secret),
            "role": role.value,
            "scopes": sorted(set(wanted)),
            "created_at": now,
            "expires_at": expires_at,
            "requests_per_minute": requests_per_minute,
        }
        with self._database.write() as connection:
            account = _account(connection, account_id, lock=True)
            connection.execute(insert(keys).values(**values))
            key = Key.from_row(_key(connection, values["id"]))
            details = {"account": account.name, "role": role.value, "scopes": values["scopes"]}
            note(connection, by, now, Action.KEY_CREATED, _key_target(key), **details)
            return NewKey(key, secret)

    def authenticate(self, secret: str) -> Identity:
        """`identify`, and a note that the key was used.

        Raises:
            KeyRefused: it is not a key of this server, has expired, or was revoked.
        """
        identity = self.identify(secret)
        if identity.key is not None and self.is_to_be_noted(identity.key):
            self.note_use(identity.key)
        return identity

    def identify(self, secret: str) -> Identity:
        """Whose key this is; it only reads. Nothing is remembered: what was revoked a moment ago is refused.

        The time it takes says nothing about how much of the secret is right beyond its prefix, which is no secret.

        Raises:
            KeyRefused: it is not a key of this server, has expired, or was revoked.
        """
        digest = _sha256(secret)
        prefix = secret[:PREFIX_CHARS]
        if not (prefix.isascii() and prefix.isprintable()):  # what comes over the wire may hold anything
            raise KeyRefused(_REFUSED)
        with self._database.read() as connection:
            rows = connection.execute(_KEYS_OF_PREFIX, {"prefix": prefix}).all()
            matching = [row for row in rows if hmac.compare_digest(row.sha256, digest)]
            if not matching:
                raise KeyRefused(_REFUSED)
            key = Key.from_row(matching[0])
            if key.revoked_at is not None:
                raise KeyRefused(f"the API key {prefix}... was revoked; ask for a new one")
            account = Account.from_row(_account(connection, key.account_id))
        if key.expires_at is not None and key.expires_at <= self._clock():
            raise KeyRefused(f"the API key {prefix}... has expired; ask for a new one")
        return Identity(account, key)

    def is_to_be_noted(self, key: Key) -> bool:
        """Whether it is so long that the use of a key was noted that it should be again."""
        return key.used_at is None or self._clock() - key.used_at >= USED_EVERY_S

    def note_use(self, key: Key) -> None:
        """Note that a key was used just now."""
        with self._database.write(durable=False) as connection:
            connection.execute(update(keys).where(keys.c.id == key.id).values(used_at=self._clock()))

    def keys(self, account_id: str | None = None) -> list[Key]:
        """The keys of an account, or all, the oldest first, with those that no longer open anything."""
        query = select(keys).order_by(keys.c.created_at, keys.c.id)
        if account_id is not None:
            query = query.where(keys.c.account_id == account_id)
        with self._database.read() as connection:
            return [Key.from_row(row) for row in connection.execute(query)]

    def get_key(self, key_id: str) -> Key:
        """A key.

        Raises:
            NotFound: there is none of that id.
        """
        with self._database.read() as connection:
            return Key.from_row(_key(connection, key_id))

    def find_key(self, word: str) -> Key:
        """The key with that id or prefix, or the only one of that name that is not revoked.

        Raises:
            NotFound: there is none.
            Conflict: there are several.
        """
        found = [
            key
            for key in self.keys()
            if word in (key.id, key.prefix) or (word == key.name and key.revoked_at is None)
        ]
        if not found:
            raise NotFound(f"there is no key {word!r}; wanted its id, its prefix or its name")
        if len(found) > 1:
            ids = ", ".join(key.id for key in found)
            raise Conflict(f"several keys are called {word!r}: {ids}; give the id")
        return found[0]

    def revoke(self, key_id: str, *, by: Actor | None = None) -> Key:
        """Close a key for good, from the next request on. Jobs that came by it go on; `Jobs.cancel_all` ends them.
        Revoking twice is no error.

        Raises:
            NotFound: there is no such key.
        """
        with self._database.write() as connection:
            now = self._clock()
            revoked = connection.execute(
                update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=now)
            ).rowcount
            key = Key.from_row(_key(connection, key_id))
            if revoked:
                note(connection, by, now, Action.KEY_REVOKED, _key_target(key))
            return key

    def give_samples(self, account_id: str) -> bool:
        """Whether an account is still to get its samples. It is asked once: from now on it is not."""
        with self._database.write() as connection:
            given = update(accounts).where(accounts.c.id == account_id, accounts.c.samples_at.is_(None))
            return connection.execute(given.values(samples_at=self._clock())).rowcount == 1

    def server_secret(self, name: str) -> bytes:
        """A secret of the server's own, made when it is first needed, the same in all processes: to sign what needs no
        key. 32 random bytes."""
        query = select(server_secrets.c.secret).where(server_secrets.c.name == name)
        with self._database.read() as connection:
            found = connection.execute(query).scalar_one_or_none()
        if found is None:
            with self._database.write() as connection:
                insert_if_absent(
                    connection, server_secrets, name=name, secret=secrets.token_hex(SECRET_BYTES)
                )
                found = connection.execute(query).scalar_one()
        return bytes.fromhex(found)

    def end_links(self, *, by: Actor | None = None) -> None:
        """Forget the secret with which links to files are signed. Another one is made when it is next needed: what was
        signed with this one holds no more, from now on and in all processes."""
        with self._database.write() as connection:
            connection.execute(delete(server_secrets).where(server_secrets.c.name == LINKS_SECRET))
            note(connection, by, self._clock(), Action.SERVER_LINKS_ENDED, Target("server"))

    def has_keys(self) -> bool:
        """Whether any key was ever made: until then, a server on loopback has one user and asks for none."""
        with self._database.read() as connection:
            return connection.execute(select(keys.c.id).limit(1)).first() is not None


def _account(connection: Connection, account_id: str, *, lock: bool = False) -> Row[Any]:
    row = None
    if _is_plain(account_id):
        query = _ACCOUNT.with_for_update() if lock else _ACCOUNT
        row = connection.execute(query, {"id": account_id}).one_or_none()
    if row is None:
        raise NotFound(f"there is no account {account_id[:60]!r}")
    return row


def _key(connection: Connection, key_id: str) -> Row[Any]:
    row = None
    if _is_plain(key_id):
        row = connection.execute(select(keys).where(keys.c.id == key_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no key {key_id[:60]!r}")
    return row


def _is_plain(text: str) -> bool:
    """Whether every database can be asked for it: PostgreSQL refuses some characters."""
    return text.isascii() and text.isprintable()


def _target(account: Account) -> Target:
    return Target("account", account.id, account.name, account.id)


def _key_target(key: Key) -> Target:
    return Target("key", key.id, f"{key.name} ({key.prefix}...)", key.account_id)


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _name(name: str) -> str:
    if not name.strip() or len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise InvalidRequest(
            f"the name is {name[:MAX_NAME_CHARS]!r}; must be 1 to {MAX_NAME_CHARS} printable characters",
            field="name",
        )
    return name.strip()


def _limits(
    max_running: int | None, max_queued: int | None, max_stored_bytes: int | None
) -> dict[str, int | None]:
    limits = {"max_running": max_running, "max_queued": max_queued, "max_stored_bytes": max_stored_bytes}
    for field, value in limits.items():
        if value is not None and value < 0:
            raise InvalidRequest(f"{field} is {value}; must be 0 or more", field=field)
    return limits
