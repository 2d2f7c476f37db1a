"""How long something is likely to take, from what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, case, func, literal, select, update

from hibari.db import insert_if_absent
from hibari.db.schema import jobs, paces
from hibari.jobs.records import Estimate
from hibari.jobs.states import FINAL, State

NEWEST_SHARE = 0.3  # of the newest measurement in a pace; the rest is what was known before

_running, _queued = jobs.c.state == State.RUNNING.value, jobs.c.state == State.QUEUED.value
_left_s = func.coalesce(jobs.c.steps - jobs.c.step, 0) * func.coalesce(paces.c.step_s, 0)
_alike = and_(_queued, jobs.c.priority == bindparam("priority"), jobs.c.number != bindparam("number"))
# What runs and what waits, an owner a row, and how it stands to a job: in one walk through the queue, and put together
# once, as every poll of a queued job comes by here.
_OWNERS = (
    select(
        jobs.c.owner,
        func.count(case((_running, 1))).label("running"),
        func.coalesce(func.sum(case((_running, _left_s))), 0.0).label("running_s"),
        func.count(case((_queued, 1))).label("queued"),
        func.coalesce(func.sum(case((_queued, _left_s))), 0.0).label("queued_s"),
        func.count(case((and_(_queued, jobs.c.priority > bindparam("priority")), 1))).label("above"),
        func.count(case((and_(_alike, jobs.c.number < bindparam("number")), 1))).label("earlier"),
        func.count(case((_alike, 1))).label("alike"),
    )
    .select_from(jobs.outerjoin(paces, paces.c.name == jobs.c.pace))
    .where(jobs.c.state.in_([State.RUNNING.value, State.QUEUED.value]))
    .group_by(jobs.c.owner)
)
_PACE = select(paces.c.step_s).where(paces.c.name == bindparam("name"))
_LEARN = (
    update(paces)
    .where(paces.c.name == bindparam("this"))
    .values(step_s=(1 - NEWEST_SHARE) * paces.c.step_s + NEWEST_SHARE * bindparam("newest_s"))
)


def estimate(
    connection: Connection, row: Row[*tuple[Any, ...]], now: float, guess_s: float | None = None
) -> Estimate | None:
    """When a job is likely to be finished; None if it is. `guess_s` is what it takes alone, where nothing was measured.

    A queued one waits for what runs and for what is likely to begin before it, on as many lanes as are busy now.
    """
    if State(row.state) in FINAL:
        return None
    pace = connection.execute(_PACE, {"name": row.pace}).scalar_one_or_none()
    if row.state == State.RUNNING.value:
        own = own_pace(row, now)
        step_s = pace if own is None else own
        return Estimate(0, _times(row.steps, row.step, step_s))
    owners = connection.execute(_OWNERS, {"priority": row.priority, "number": row.number}).all()
    position = _position(row.owner, owners)
    own_s = guess_s if pace is None else _times(row.steps, row.step, pace)
    if own_s is None:
        return Estimate(position, None)
    queued_mean_s = sum(owner.queued_s for owner in owners) / max(1, sum(owner.queued for owner in owners))
    ahead_s = sum(owner.running_s for owner in owners) + position * queued_mean_s
    return Estimate(position, ahead_s / max(1, sum(owner.running for owner in owners)) + own_s)


def forecast(
    connection: Connection, owner: str, pace: str, steps: int, now: float, guess_s: float | None = None
) -> Estimate:
    """What `estimate` would say of a job that the owner queued now."""
    last = select(func.coalesce(func.max(jobs.c.number), 0) + 1).scalar_subquery()
    newest = connection.execute(
        select(
            last.label("number"),
            literal(owner).label("owner"),
            literal(0).label("priority"),
            literal(State.QUEUED.value).label("state"),
            literal(pace).label("pace"),
            literal(steps).label("steps"),
            literal(0).label("step"),
        )
    ).one()
    found = estimate(connection, newest, now, guess_s)
    assert found is not None
    return found


def own_pace(row: Row[Any], now: float) -> float | None:
    """Seconds a step of the running attempt; None before its second step."""
    if row.began_at is None or row.step <= row.began_step:
        return None
    return max(0.0, now - row.began_at) / (row.step - row.began_step)


def learn_pace(connection: Connection, row: Row[Any], now: float) -> None:
    """Remember what a finished job took a step, with all that came after its steps.

    Attempts that began in the middle are left out: what comes after the steps would weigh too much.
    """
    if row.pace is None or row.began_at is None or row.began_step != 0 or not row.steps:
        return
    step_s = max(0.0, now - row.began_at) / row.steps
    if not connection.execute(_LEARN, {"this": row.pace, "newest_s": step_s}).rowcount:
        insert_if_absent(
            connection, paces, name=row.pace, step_s=step_s
        )  # of two first ones at once, one counts


def _position(owner: str, owners: Sequence[Row[*tuple[Any, ...]]]) -> int:
    """Jobs likely to begin before this one of `owner`: all of higher priority, the owner's own earlier ones, and as
    owners take turns, of each other owner as many as of this one."""
    own_earlier = next((each.earlier for each in owners if each.owner == owner), 0)
    others = sum(min(each.alike, own_earlier + 1) for each in owners if each.owner != owner)
    return sum(each.above for each in owners) + own_earlier + others


def _times(steps: int | None, step: int, step_s: float | None) -> float | None:
    return None if steps is None or step_s is None else max(0, steps - step) * step_s
