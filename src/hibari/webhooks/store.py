"""Endpoints, the outbox and the log in their tables."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from hibari.audit import Action, Actor, Target, note
from hibari.contracts import InvalidRequest, InvalidUrl, NotFound
from hibari.db import Database
from hibari.db.records import record
from hibari.db.schema import accounts, webhook_attempts, webhook_deliveries, webhook_endpoints
from hibari.outbound import checked_url, connection_to
from hibari.webhooks import signing
from hibari.webhooks.outbox import EVENT_TYPES, EventType, event_of
from hibari.webhooks.records import Attempt, Delivery, Endpoint, NewSecret, Outgoing

MAX_ENDPOINTS = 8  # of an account
MAX_NAME_CHARS = 100
MAX_PAGE = 100
# After each failure; one more is the last.
PAUSES_S = (5.0, 60.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0)
LEASE_S = 60.0  # longer than an attempt can take
KEPT_S = 30 * 86400.0  # what is in the log
GONE = 410  # by this an endpoint says that it wants no more
OLD_SECRET_KEPT_S = 86400.0

_endpoints, _deliveries, _attempts = webhook_endpoints.c, webhook_deliveries.c, webhook_attempts.c
_EVENT_ID = re.compile(r"evt_[0-9a-f]{32}")
_ENDPOINT_ID = re.compile(r"webhook_[0-9a-f]{32}")


class Webhooks:
    """Register, look, and send again; and for the `Deliverer`: what is due, and what came of it.

    `by`, where a call takes it, is who does it: it is then in the audit log.
    """

    def __init__(
        self, database: Database, clock: Callable[[], float] = time.time, *, private_urls: bool = False
    ) -> None:
        """`private_urls`: endpoints may be on private addresses."""
        self._database = database
        self._clock = clock
        self.private_urls = private_urls

    # ------------------------------------------------------------ endpoints

    def create(
        self,
        account_id: str,
        url: str,
        *,
        name: str = "webhook",
        event_types: Iterable[str] = EVENT_TYPES,
        by: Actor | None = None,
    ) -> NewSecret:
        """Register an endpoint. Its secret is stored as it is, because what is sent is signed with it.

        Raises:
            InvalidRequest: a value is not possible; `field` names it. InvalidUrl and PrivateAddress are of the URL.
            NotFound: there is no such account.
        """
        now = self._clock()
        secret = signing.new_secret()
        values: dict[str, Any] = {
            "id": f"webhook_{secrets.token_hex(16)}",
            "account_id": account_id,
            "name": _name(name),
            "url": self._url(url),
            "event_types": _event_types(event_types),
            "secret": secret,
            "created_at": now,
            "updated_at": now,
        }
        with self._database.write() as connection:
            account = connection.execute(
                select(accounts.c.id).where(accounts.c.id == account_id).with_for_update()
            ).first()
            if account is None:
                raise NotFound(f"there is no account {account_id!r}")
            count = connection.execute(
                select(func.count()).select_from(webhook_endpoints).where(_endpoints.account_id == account_id)
            ).scalar_one()
            if count >= MAX_ENDPOINTS:
                raise InvalidRequest(f"there are {count} webhook endpoints, the most; delete one first")
            connection.execute(insert(webhook_endpoints).values(**values))
            endpoint = _endpoint(connection, account_id, values["id"])
            note(connection, by, now, Action.WEBHOOK_CREATED, _target(endpoint))
            return NewSecret(Endpoint.from_row(endpoint), secret)

    def all(self, account_id: str | None = None) -> list[Endpoint]:
        """The endpoints of an account, or of everybody, the newest first."""
        query = select(webhook_endpoints).order_by(_endpoints.created_at.desc(), _endpoints.id)
        if account_id is not None:
            query = query.where(_endpoints.account_id == account_id)
        with self._database.read() as connection:
            return [Endpoint.from_row(row) for row in connection.execute(query)]

    def get(self, account_id: str, endpoint_id: str) -> Endpoint:
        """An endpoint.

        Raises:
            NotFound: the account has none of that id.
        """
        with self._database.read() as connection:
            return Endpoint.from_row(_endpoint(connection, account_id, endpoint_id))

    def update(
        self,
        account_id: str,
        endpoint_id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        event_types: Iterable[str] | None = None,
        enabled: bool | None = None,
        by: Actor | None = None,
    ) -> Endpoint:
        """Change what is given. What waits for an endpoint while it is disabled is sent once it is enabled again.

        Raises:
            InvalidRequest: a value is not possible; `field` names it.
            NotFound: the account has none of that id.
        """
        now = self._clock()
        values: dict[str, Any] = {}
        if name is not None:
            values["name"] = _name(name)
        if url is not None:
            values["url"] = self._url(url)
        if event_types is not None:
            values["event_types"] = _event_types(event_types)
        if enabled is not None:
            values["disabled_at"] = None if enabled else now
        with self._database.write() as connection:
            row = _endpoint(connection, account_id, endpoint_id)
            if values:
                connection.execute(
                    update(webhook_endpoints).where(_endpoints.id == row.id).values(**values, updated_at=now)
                )
                changed = sorted(values)  # not to what: a URL may be a secret
                note(connection, by, now, Action.WEBHOOK_CHANGED, _target(row), changed=changed)
            return Endpoint.from_row(_endpoint(connection, account_id, endpoint_id))

    def rotate_secret(
        self, account_id: str, endpoint_id: str, *, keep_old: bool = False, by: Actor | None = None
    ) -> NewSecret:
        """Give an endpoint a new secret; with `keep_old` what is sent is signed with both for OLD_SECRET_KEPT_S.

        Raises:
            NotFound: the account has none of that id.
        """
        now = self._clock()
        secret = signing.new_secret()
        with self._database.write() as connection:
            row = _endpoint(connection, account_id, endpoint_id)
            connection.execute(
                update(webhook_endpoints)
                .where(_endpoints.id == row.id)
                .values(
                    secret=secret,
                    old_secret=row.secret if keep_old else None,
                    old_secret_until=now + OLD_SECRET_KEPT_S if keep_old else None,
                    updated_at=now,
                )
            )
            note(connection, by, now, Action.WEBHOOK_SECRET, _target(row))
            return NewSecret(Endpoint.from_row(_endpoint(connection, account_id, endpoint_id)), secret)

    def delete(self, account_id: str, endpoint_id: str, *, by: Actor | None = None) -> None:
        """Forget an endpoint, with its log and all that waits for it.

        Raises:
            NotFound: the account has none of that id.
        """
        with self._database.write() as connection:
            row = _endpoint(connection, account_id, endpoint_id)
            connection.execute(delete(webhook_endpoints).where(_endpoints.id == row.id))
            note(connection, by, self._clock(), Action.WEBHOOK_DELETED, _target(row))

    # ------------------------------------------------------------ the log

    def deliveries(
        self, account_id: str, endpoint_id: str, *, after: str | None = None, limit: int = 20
    ) -> tuple[list[Delivery], bool]:
        """A page of an endpoint's log, the newest first, and whether it goes on.

        Args:
            account_id, endpoint_id: whose.
            after: the event's id after which the page begins.
            limit: 1 to MAX_PAGE.

        Raises:
            InvalidRequest: the limit is out of range, or there is no event `after` in this log.
            NotFound: the account has no such endpoint.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidRequest(f"limit is {limit}; must be 1 to {MAX_PAGE}", field="limit")
        with self._database.read() as connection:
            endpoint = _endpoint(connection, account_id, endpoint_id)
            query = select(webhook_deliveries).where(_deliveries.endpoint_id == endpoint.id)
            if after is not None:
                try:
                    place = _delivery(connection, endpoint.id, after).number
                except NotFound as error:
                    raise InvalidRequest(
                        f"after is {after[:60]!r}; must be the id of an event of this list", field="after"
                    ) from error
                query = query.where(_deliveries.number < place)
            rows = connection.execute(query.order_by(_deliveries.number.desc()).limit(limit + 1)).all()
            found = _with_attempts(connection, rows[:limit])
        return found, len(rows) > limit

    def delivery(self, account_id: str, endpoint_id: str, event_id: str) -> Delivery:
        """What became of an event at an endpoint.

        Raises:
            NotFound: there is none in this log.
        """
        with self._database.read() as connection:
            endpoint = _endpoint(connection, account_id, endpoint_id)
            return _with_attempts(connection, [_delivery(connection, endpoint.id, event_id)])[0]

    def replay(
        self, account_id: str, endpoint_id: str, event_id: str, *, by: Actor | None = None
    ) -> Delivery:
        """Send an event again, now, with the same id, however its delivery ended; it has all its attempts again.

        Raises:
            NotFound: there is none in this log.
        """
        now = self._clock()
        with self._database.write() as connection:
            endpoint = _endpoint(connection, account_id, endpoint_id)
            row = _delivery(connection, endpoint.id, event_id, lock=True)
            connection.execute(
                update(webhook_deliveries)
                .where(_deliveries.number == row.number)
                # Another attempt's number: one that is being made now does not end this.
                .values(next_at=now, failures=0, delivered_at=None, attempt=row.attempt + 1)
            )
            note(connection, by, now, Action.WEBHOOK_REPLAYED, _target(endpoint), event=event_id)
            return _with_attempts(connection, [_delivery(connection, endpoint.id, event_id)])[0]

    # ------------------------------------------------------------ sending

    def claim(self, without: Collection[str] = ()) -> Outgoing | None:
        """The attempt that has been due for longest, or None. Others can have it after LEASE_S.

        Args:
            without: accounts that have enough attempts going on.
        """
        now = self._clock()
        due = (
            select(webhook_deliveries)
            .join(webhook_endpoints)
            .where(
                _deliveries.next_at <= now,
                _endpoints.disabled_at.is_(None),
                _endpoints.account_id.not_in(without),
            )
            .order_by(_deliveries.next_at, _deliveries.number)
            .limit(1)
        )
        with (
            self._database.read() as connection
        ):  # nearly always there is nothing, and then nobody is kept waiting
            if connection.execute(due).first() is None:
                return None
        with self._database.write() as connection:
            row = connection.execute(
                due.with_for_update(of=webhook_deliveries, skip_locked=True)
            ).one_or_none()
            if row is None:
                return None
            connection.execute(
                update(webhook_deliveries)
                .where(_deliveries.number == row.number)
                .values(attempt=row.attempt + 1, next_at=now + LEASE_S)
            )
            endpoint = connection.execute(
                select(webhook_endpoints).where(_endpoints.id == row.endpoint_id)
            ).one()
            return Outgoing(
                number=row.number,
                attempt=row.attempt + 1,
                endpoint_id=endpoint.id,
                account_id=endpoint.account_id,
                url=endpoint.url,
                event_id=row.event_id,
                body=row.body,
                secrets=_valid_secrets(endpoint, now),
            )

    def record(
        self, outgoing: Outgoing, *, took_ms: int, status_code: int | None, error: str | None = None
    ) -> None:
        """What came of an attempt: any status of 200 to 299 is a delivery, GONE disables the endpoint. Nothing is
        written of an attempt whose delivery was given on, replayed or removed meanwhile."""
        now = self._clock()
        delivered = status_code is not None and 200 <= status_code < 300
        if not delivered and error is None:
            error = f"the endpoint answers with {status_code}"
        with self._database.write() as connection:
            row = connection.execute(
                select(webhook_deliveries)
                .where(_deliveries.number == outgoing.number, _deliveries.attempt == outgoing.attempt)
                .with_for_update()
            ).one_or_none()
            if row is None:
                return
            values: dict[str, Any] = {"next_at": None}
            if delivered:
                values["delivered_at"] = now
            elif status_code != GONE:
                values["failures"] = row.failures + 1
                if row.failures < len(PAUSES_S):
                    values["next_at"] = now + PAUSES_S[row.failures]
            connection.execute(
                update(webhook_deliveries).where(_deliveries.number == row.number).values(**values)
            )
            connection.execute(
                insert(webhook_attempts).values(
                    delivery=row.number,
                    attempt=outgoing.attempt,
                    at=now,
                    took_ms=took_ms,
                    status_code=status_code,
                    error=error,
                )
            )
            if status_code == GONE:
                connection.execute(
                    update(webhook_endpoints)
                    .where(_endpoints.id == row.endpoint_id)
                    .values(disabled_at=now, updated_at=now)
                )

    def sample(self, account_id: str, endpoint_id: str, event_type: EventType) -> Outgoing:
        """An event of something that is not there, for an endpoint to be tried with; it is not in the outbox.

        Raises:
            NotFound: the account has no such endpoint.
        """
        now = self._clock()
        with self._database.read() as connection:
            row = _endpoint(connection, account_id, endpoint_id)
        event_id, body = event_of(event_type, f"video_{'0' * 32}", now)
        return Outgoing(0, 0, row.id, account_id, row.url, event_id, body, _valid_secrets(row, now))

    def pending(self) -> int:
        """How many deliveries are still to be made."""
        with self._database.read() as connection:
            return connection.execute(
                select(func.count()).select_from(webhook_deliveries).where(_deliveries.next_at.is_not(None))
            ).scalar_one()

    def purge(self) -> int:
        """Remove from the log what is older than KEPT_S; how much it was."""
        with self._database.write() as connection:
            return connection.execute(
                delete(webhook_deliveries).where(_deliveries.created_at <= self._clock() - KEPT_S)
            ).rowcount

    def _url(self, url: str) -> str:
        parts = checked_url(url, "url")
        if parts.username is not None or parts.password is not None:
            raise InvalidUrl("the URL holds a user or a password; leave them out", field="url")
        connection_to(parts, private=self.private_urls, field="url")
        return url


def _endpoint(connection: Connection, account_id: str, endpoint_id: str) -> Row[Any]:
    row = None
    if _ENDPOINT_ID.fullmatch(endpoint_id):
        row = connection.execute(
            select(webhook_endpoints).where(_endpoints.id == endpoint_id, _endpoints.account_id == account_id)
        ).one_or_none()
    if row is None:
        raise NotFound(f"there is no webhook endpoint {endpoint_id[:60]!r}")
    return row


def _target(row: Row[Any]) -> Target:
    return Target("webhook", row.id, row.name, row.account_id)


def _delivery(connection: Connection, endpoint_id: str, event_id: str, *, lock: bool = False) -> Row[Any]:
    row = None
    if _EVENT_ID.fullmatch(event_id):
        query = select(webhook_deliveries).where(
            _deliveries.endpoint_id == endpoint_id, _deliveries.event_id == event_id
        )
        row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound(f"there is no event {event_id[:60]!r} in the log of this endpoint")
    return row


def _with_attempts(connection: Connection, rows: Sequence[Row[Any]]) -> list[Delivery]:
    made: dict[int, list[Attempt]] = {row.number: [] for row in rows}
    for attempt in connection.execute(
        select(webhook_attempts)
        .where(_attempts.delivery.in_(list(made)))
        .order_by(_attempts.delivery, _attempts.attempt)
    ):
        made[attempt.delivery].append(
            Attempt(attempt.at, attempt.took_ms, attempt.status_code, attempt.error)
        )
    return [record(Delivery, row, attempts=tuple(made[row.number])) for row in rows]


def _valid_secrets(endpoint: Row[Any], now: float) -> tuple[str, ...]:
    if endpoint.old_secret is not None and now < endpoint.old_secret_until:
        return endpoint.secret, endpoint.old_secret
    return (endpoint.secret,)


def _name(name: str) -> str:
    if not name.strip() or len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise InvalidRequest(
            f"the name is {name[:MAX_NAME_CHARS]!r}; must be 1 to {MAX_NAME_CHARS} printable characters",
            field="name",
        )
    return name.strip()


def _event_types(event_types: Iterable[str]) -> list[EventType]:
    wanted = list(dict.fromkeys(event_types))
    wrong = [one for one in wanted if one not in EVENT_TYPES]
    if wrong or not wanted:
        came = repr(wrong[0][:60]) if wrong else "empty"
        raise InvalidRequest(
            f"event_types is {came}; possible are {', '.join(EVENT_TYPES)}", field="event_types"
        )
    return cast(list[EventType], wanted)
