"""What was asked, by whom, in which state, with its history. Tables are the only truth; nothing is kept in memory.

    happening    from                to
    created      -                   queued
    claimed      queued              running
    released     running             queued       given back unharmed: a pause, a worker that stops
    retried      running             queued       the attempt failed, or its worker died
    completed    running             completed
    failed       queued, running     failed
    cancelled    queued, running     cancelled

That table is `states.TRANSITIONS`, the only way by which a state changes; each change writes its event in the same
transaction. A pause is not a state: it is a mark on a key, an owner or everything, by which queued jobs are left lying
and workers are told to release what they run. A deleted job is over, hidden from everybody, and removed by the sweeper.

Five views of the same tables, with the same arguments (database, clock, policy): `Jobs` for those who ask, `Claims` for
workers, `Upkeep` for the sweeper, `StoredFiles` for the room that files take, `Gallery` for order. They are safe to
share between threads, and between processes there may be any number of them.

A worker holds a job by a *claim*: a lease that its heartbeats prolong, and the attempt's number as fencing token. When
the lease runs out, the job is someone else's, and whatever the old worker says then is refused with `ClaimLost`.
"""

from hibari.jobs.asks import Jobs, PauseScope
from hibari.jobs.claims import Claims, worker_name
from hibari.jobs.gallery import MAX_AT_ONCE, MAX_SEARCH_CHARS, Gallery, Wanted
from hibari.jobs.records import (
    Claim,
    Created,
    Estimate,
    Event,
    Family,
    Folder,
    Job,
    NewJob,
    Order,
    Page,
)
from hibari.jobs.states import FINAL, Happening, State
from hibari.jobs.stored import StoredFiles
from hibari.jobs.terms import Clock, Policy
from hibari.jobs.upkeep import Measures, QueueStats, Upkeep, Waiting
from hibari.jobs.usage import Usage

__all__ = [
    "FINAL",
    "MAX_AT_ONCE",
    "MAX_SEARCH_CHARS",
    "Claim",
    "Claims",
    "Clock",
    "Created",
    "Estimate",
    "Event",
    "Family",
    "Folder",
    "Gallery",
    "Happening",
    "Job",
    "Jobs",
    "Measures",
    "NewJob",
    "Order",
    "Page",
    "PauseScope",
    "Policy",
    "QueueStats",
    "State",
    "StoredFiles",
    "Upkeep",
    "Usage",
    "Waiting",
    "Wanted",
    "worker_name",
]
