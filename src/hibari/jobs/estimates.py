"""How long something is likely to take, from what was measured."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, and_, case, func, literal, select, update

from hibari.db import insert_if_absent
from hibari.db.schema import jobs, paces
from hibari.jobs.records import Estimate
from hibari.jobs.states import FINAL, State

NEWEST_SHARE = 0.3  # of the newest measurement in a pace; the rest is what was known before


def estimate(connection: Connection, row: Row[*tuple[Any, ...]], now: float) -> Estimate | None:
    """When a job is likely to be finished; None if it is.

    A queued one waits for what runs and for what is likely to begin before it, on as many lanes as are busy now.
    """
    if State(row.state) in FINAL:
        return None
    pace = connection.execute(select(paces.c.step_s).where(paces.c.name == row.pace)).scalar_one_or_none()
    if row.state == State.RUNNING.value:
        own = own_pace(row, now)
        step_s = pace if own is None else own
        return Estimate(0, _times(row.steps, row.step, step_s))
    position = _position(connection, row)
    own_s = _times(row.steps, row.step, pace)
    if own_s is None:
        return Estimate(position, None)
    left = func.coalesce(jobs.c.steps - jobs.c.step, 0) * func.coalesce(paces.c.step_s, 0)
    work = select(
        func.count(case((jobs.c.state == State.RUNNING.value, 1))),
        func.sum(case((jobs.c.state == State.RUNNING.value, left), else_=0.0)),
        func.avg(case((jobs.c.state == State.QUEUED.value, left))),
    ).select_from(jobs.outerjoin(paces, paces.c.name == jobs.c.pace))
    lanes, running_s, queued_mean_s = connection.execute(
        work.where(jobs.c.state.in_([State.RUNNING.value, State.QUEUED.value]))
    ).one()
    ahead_s = float(running_s or 0) + position * float(queued_mean_s or 0)
    return Estimate(position, ahead_s / max(1, lanes) + own_s)


def forecast(connection: Connection, owner: str, pace: str, steps: int, now: float) -> Estimate:
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
    found = estimate(connection, newest, now)
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
    mixed = (1 - NEWEST_SHARE) * paces.c.step_s + NEWEST_SHARE * step_s
    if not insert_if_absent(connection, paces, name=row.pace, step_s=step_s):
        connection.execute(update(paces).where(paces.c.name == row.pace).values(step_s=mixed))


def _position(connection: Connection, row: Row[Any]) -> int:
    """Jobs likely to begin before this one: all of higher priority, the owner's own earlier ones, and as owners take
    turns, of each other owner as many as of this one."""
    queued = jobs.c.state == State.QUEUED.value
    higher = jobs.c.priority > row.priority
    alike = and_(jobs.c.priority == row.priority, jobs.c.number != row.number)
    counts = connection.execute(
        select(
            jobs.c.owner,
            func.count(case((higher, 1))),
            func.count(case((and_(alike, jobs.c.number < row.number), 1))),
            func.count(case((alike, 1))),
        )
        .where(queued)
        .group_by(jobs.c.owner)
    ).all()
    own_earlier = next((earlier for owner, _, earlier, _ in counts if owner == row.owner), 0)
    position = own_earlier
    for owner, above, _, same in counts:
        position += above
        if owner != row.owner:
            position += min(same, own_earlier + 1)
    return position


def _times(steps: int | None, step: int, step_s: float | None) -> float | None:
    return None if steps is None or step_s is None else max(0, steps - step) * step_s
