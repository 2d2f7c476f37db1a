"""Defends: only the right key opens, only as far and as long as it may, and no secret is stored."""

from __future__ import annotations

from typing import Any

import pytest
from queue_bench import START, FakeClock
from sqlalchemy import select

from hibari.accounts import LOCAL, SCOPES, Account, Accounts, Role
from hibari.contracts import Conflict, InvalidRequest, KeyRefused, NotFound
from hibari.db import Database
from hibari.db.schema import keys


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def accounts(database: Database, clock: FakeClock) -> Accounts:
    return Accounts(database, clock)


@pytest.fixture
def ann(accounts: Accounts) -> Account:
    return accounts.create("ann", max_running=2)


def test_a_key_opens_its_account(accounts: Accounts, ann: Account, clock: FakeClock) -> None:
    made = accounts.create_key(ann.id, "laptop", role=Role.REVIEWER, requests_per_minute=60)
    assert made.secret.startswith("hb_")
    assert len(made.secret) == 3 + 43
    assert made.secret not in repr(made)
    identity = accounts.authenticate(made.secret)
    assert identity.account == ann
    assert identity.key is not None
    assert (identity.key.role, identity.key.requests_per_minute) == (Role.REVIEWER, 60)
    assert [identity.may(scope) for scope in SCOPES] == [True, True, True, False]
    # When it was used is kept, but not written at each request.
    clock.pass_s(59)
    accounts.authenticate(made.secret)
    assert accounts.keys()[0].used_at == START
    clock.pass_s(1)
    accounts.authenticate(made.secret)
    assert accounts.keys()[0].used_at == START + 60


def test_the_secret_is_nowhere(accounts: Accounts, ann: Account, database: Database) -> None:
    made = accounts.create_key(ann.id, "laptop")
    with database.read() as connection:
        row = connection.execute(select(keys)).one()
    assert made.secret not in str(row)
    assert made.secret[11:] not in str(row)
    assert row.prefix == made.secret[:11] == made.key.prefix


def test_what_is_not_a_key_opens_nothing(accounts: Accounts, ann: Account) -> None:
    made = accounts.create_key(ann.id, "laptop")
    last = "A" if made.secret[-1] != "A" else "B"
    for wrong in (
        "",
        "hb_",
        made.secret[:-1],
        made.secret[:-1] + last,
        made.secret + "A",
        "hb_\0",
        "hb_\ud800é",
    ):
        with pytest.raises(KeyRefused, match="not known here") as caught:
            accounts.authenticate(wrong)
        assert made.secret[:-1] not in str(caught.value)


def test_a_revoked_key_opens_nothing_from_the_next_request_on(
    accounts: Accounts, ann: Account, clock: FakeClock
) -> None:
    first, second = accounts.create_key(ann.id, "a"), accounts.create_key(ann.id, "b")
    accounts.authenticate(first.secret)
    accounts.revoke(first.key.id)
    clock.pass_s(5)
    assert accounts.revoke(first.key.id).revoked_at == START
    with pytest.raises(KeyRefused, match="was revoked"):
        accounts.authenticate(first.secret)
    accounts.authenticate(second.secret)
    with pytest.raises(NotFound):
        accounts.revoke("key_0")


def test_an_expired_key_opens_nothing(accounts: Accounts, ann: Account, clock: FakeClock) -> None:
    made = accounts.create_key(ann.id, "guest", expires_at=START + 10)
    clock.pass_s(9)
    accounts.authenticate(made.secret)
    clock.pass_s(1)
    with pytest.raises(KeyRefused, match="has expired"):
        accounts.authenticate(made.secret)


def test_scopes_narrow_a_role_and_never_widen_it(accounts: Accounts, ann: Account) -> None:
    narrow = accounts.create_key(ann.id, "watch", role=Role.ADMIN, scopes=["videos:read"])
    assert not accounts.authenticate(narrow.secret).may("admin")
    with pytest.raises(InvalidRequest, match="a member cannot have the scope 'admin'"):
        accounts.create_key(ann.id, "x", scopes=["admin"])


def test_the_local_user_needs_no_key_and_may_do_everything(accounts: Accounts) -> None:
    identity = accounts.local()
    assert accounts.local() == identity
    assert (identity.account.id, identity.key) == (LOCAL, None)
    assert all(identity.may(scope) for scope in SCOPES)
    assert not accounts.has_keys()
    accounts.create_key(LOCAL, "first")
    assert accounts.has_keys()


def test_accounts_are_found_and_limited(accounts: Accounts, ann: Account) -> None:
    assert accounts.find("ann") == accounts.get(ann.id) == ann
    assert accounts.find("bob") is None
    bob = accounts.create("bob")
    assert accounts.all() == [ann, bob]
    changed = accounts.set_limits(ann.id, max_running=None, max_queued=5, max_stored_bytes=10**12)
    assert (changed.max_running, changed.max_queued, changed.max_stored_bytes) == (None, 5, 10**12)
    with pytest.raises(Conflict, match="'ann' already"):
        accounts.create("ann")
    for call in (accounts.get, lambda name: accounts.create_key(name, "x")):
        with pytest.raises(NotFound):
            call("acct_0")
    with pytest.raises(NotFound):
        accounts.set_limits("acct_0", max_running=None, max_queued=None, max_stored_bytes=None)


def test_a_key_is_found_by_what_people_know_of_it(accounts: Accounts, ann: Account) -> None:
    old, new = accounts.create_key(ann.id, "laptop"), accounts.create_key(ann.id, "laptop")
    for word in (old.key.id, old.key.prefix):
        assert accounts.find_key(word) == old.key
    with pytest.raises(Conflict, match="several keys are called 'laptop'"):
        accounts.find_key("laptop")
    accounts.revoke(old.key.id)
    assert accounts.find_key("laptop") == new.key
    with pytest.raises(NotFound):
        accounts.find_key("phone")
    assert {key.id for key in accounts.keys(ann.id)} == {old.key.id, new.key.id}
    assert accounts.keys(LOCAL) == []


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"expires_at": START}, "expires_at"),
        ({"expires_at": float("nan")}, "expires_at"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"name": " "}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": "x" * 101}, "name"),
    ],
)
def test_what_cannot_be_is_refused(
    accounts: Accounts, ann: Account, values: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        accounts.create_key(ann.id, **{"name": "laptop", **values})
    assert caught.value.field == field
    with pytest.raises(InvalidRequest, match="max_queued is -1"):
        accounts.create("bob", max_queued=-1)
