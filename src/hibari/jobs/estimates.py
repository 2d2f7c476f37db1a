"""How long something is likely to take, from what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, literal, select, union_all, update

from hibari.db import insert_if_absent
from hibari.db.schema import jobs, paces
from hibari.jobs.records import Estimate
from hibari.jobs.states import State

NEWEST_SHARE = 0.3  # of the newest measurement in a pace; the rest is what was known before

# Put together once: see `moves`. What waits is counted within an index, without looking at a job: every poll of a
# queued one comes by here. What a checkpoint saves of a job that waits again is left out, which that index has not.
_queued, _running = jobs.c.state == State.QUEUED.value, jobs.c.state == State.RUNNING.value
_groups = union_all(
    select(
        literal(State.QUEUED.value).label("state"),
        jobs.c.owner,
        jobs.c.priority,
        jobs.c.pace,
        func.count().label("jobs"),
        func.coalesce(func.sum(jobs.c.steps), 0).label("steps"),
    )
    .where(_queued)
    .group_by(jobs.c.owner, jobs.c.priority, jobs.c.pace),
    select(
        literal(State.RUNNING.value),
        jobs.c.owner,
        jobs.c.priority,
        jobs.c.pace,
        func.count(),
        func.coalesce(func.sum(jobs.c.steps - jobs.c.step), 0),
    )
    .where(_running)
    .group_by(jobs.c.owner, jobs.c.priority, jobs.c.pace),
).subquery()
_GROUPS = select(_groups, paces.c.step_s).outerjoin(paces, paces.c.name == _groups.c.pace)
_one = jobs.alias()
_EARLIER = select(
    _one.c.number,
    # For each by itself, and a sum in it: so SQLite counts in the index of the queue, and fetches no job by its number.
    select(func.count())
    .where(
        _queued,
        jobs.c.owner == _one.c.owner,
        jobs.c.priority == _one.c.priority,
        jobs.c.number + 0 < _one.c.number,
    )
    .correlate(_one)
    .scalar_subquery()
    .label("jobs"),
).where(_one.c.number.in_(bindparam("numbers", expanding=True)))
_PACES = select(paces.c.name, paces.c.step_s).where(paces.c.name.in_(bindparam("names", expanding=True)))
_LEARN = (
    update(paces)
    .where(paces.c.name == bindparam("this"))
    .values(step_s=(1 - NEWEST_SHARE) * paces.c.step_s + NEWEST_SHARE * bindparam("newest_s"))
)


def estimates(
    connection: Connection, rows: Sequence[Row[*tuple[Any, ...]]], now: float
) -> dict[int, Estimate]:
    """When jobs are likely to be finished, by their numbers; those that are over have none.

    A queued one waits for what runs and for what is likely to begin before it, on as many lanes as are busy now.
    """
    found: dict[int, Estimate] = {}
    running = {row.number: own_pace(row, now) for row in rows if row.state == State.RUNNING.value}
    step_s = _step_s(connection, {row.pace for row in rows if running.get(row.number, 0) is None} - {None})
    for row in rows:
        if row.number in running:
            own = running[row.number]
            found[row.number] = Estimate(
                0, _times(row.steps, row.step, step_s.get(row.pace) if own is None else own)
            )
    waiting = [row for row in rows if row.state == State.QUEUED.value]
    if waiting:
        queue = _Queue.of(connection)
        numbers = {"numbers": [row.number for row in waiting]}
        earlier: dict[int, int] = {row.number: row.jobs for row in connection.execute(_EARLIER, numbers)}
        for row in waiting:
            own_s = _times(row.steps, row.step, queue.step_s(row.pace))
            found[row.number] = queue.estimate(row.owner, row.priority, earlier[row.number], own_s)
    return found


def estimate(connection: Connection, row: Row[*tuple[Any, ...]], now: float) -> Estimate | None:
    """`estimates` of one job; None if it is over."""
    return estimates(connection, [row], now).get(row.number)


def forecast(
    connection: Connection, owner: str, pace: str, steps: int, guess_s: float | None = None
) -> Estimate:
    """What `estimate` would say of a job that the owner queued now. `guess_s` is what it takes alone, where nothing was
    measured."""
    step_s = _step_s(connection, {pace}).get(pace)
    queue = _Queue.of(connection)
    own_s = guess_s if step_s is None else _times(steps, 0, step_s)
    return queue.estimate(owner, 0, queue.alike(0).get(owner, 0), own_s)


@dataclass(frozen=True, slots=True)
class _Queue:
    """What waits and what runs: a row for the jobs that have owner, priority and pace in common."""

    waiting: Sequence[Row[Any]]
    running: Sequence[Row[Any]]

    @classmethod
    def of(cls, connection: Connection) -> _Queue:
        rows = connection.execute(_GROUPS).all()
        waiting = [row for row in rows if row.state == State.QUEUED.value]
        return cls(waiting, [row for row in rows if row.state == State.RUNNING.value])

    def step_s(self, pace: str | None) -> float | None:
        """Seconds a step of a job that waits, by its pace; None if that was not measured."""
        return next((row.step_s for row in self.waiting if row.pace == pace), None)

    def alike(self, priority: int) -> dict[str, int]:
        """By owner, how many jobs of that priority wait."""
        counts: dict[str, int] = {}
        for row in self.waiting:
            if row.priority == priority:
                counts[row.owner] = counts.get(row.owner, 0) + row.jobs
        return counts

    def estimate(self, owner: str, priority: int, earlier: int, own_s: float | None) -> Estimate:
        """Of a job that takes `own_s` alone, and before which `earlier` of its owner's with its priority wait.

        Before it begin all of higher priority, the owner's own earlier ones, and as owners take turns, of each other
        owner as many as of this one.
        """
        above = sum(row.jobs for row in self.waiting if row.priority > priority)
        others = sum(min(count, earlier + 1) for name, count in self.alike(priority).items() if name != owner)
        position = above + earlier + others
        if own_s is None:
            return Estimate(position, None)
        queued_mean_s = _all_s(self.waiting) / max(1, sum(row.jobs for row in self.waiting))
        ahead_s = _all_s(self.running) + position * queued_mean_s
        return Estimate(position, ahead_s / max(1, sum(row.jobs for row in self.running)) + own_s)


def own_pace(row: Row[Any], now: float) -> float | None:
    """Seconds a step of the running attempt; None before its second step."""
    if row.state != State.RUNNING.value or row.began_at is None or row.step <= row.began_step:
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


def _step_s(connection: Connection, names: set[str]) -> dict[str, float]:
    if not names:
        return {}
    return {row.name: row.step_s for row in connection.execute(_PACES, {"names": sorted(names)})}


def _all_s(groups: Sequence[Row[Any]]) -> float:
    return sum(group.steps * (group.step_s or 0.0) for group in groups)


def _times(steps: int | None, step: int, step_s: float | None) -> float | None:
    return None if steps is None or step_s is None else max(0, steps - step) * step_s
