"""`kill -9` of everything that the service consists of, at random moments, while it has a hundred videos to make.

One round of it is an acceptance test, many are `benchmarks/lost.py`. A round returns what was wrong, and nothing should
be: each video there once, completed once, in the bytes that an undisturbed server makes of the same request, and
besides them nothing in the storage, in the temporary folder or among the processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Literal

import httpx2
from sqlalchemy import func, select

from hibari.contracts import DatabaseError
from hibari.db import Database
from hibari.db.schema import events, jobs
from postgres_server import PostgresServer
from server_process import Server, start, until

JOBS = 100
KINDS = 8  # of requests; the same request makes the same bytes
LONGEST_DELAY_S = 0.5
LONGEST_OUTAGE_S = 1.0
LEASE_S = "5"  # short, as it is waited for after a kill; longer than a busy machine keeps a worker from its heartbeat
STOP_WITHIN_S = 30.0
LONGEST_S = 600.0  # of anything that is waited for: a hang, and not a busy machine
FILES = ("video", "thumbnail", "spritesheet", "latent")

Target = Literal["server", "worker", "server and worker", "database", "everything"]
OF_SQLITE: tuple[Target, ...] = ("server", "worker", "server and worker")
OF_POSTGRESQL: tuple[Target, ...] = (*OF_SQLITE, "database", "everything")

Hashes = dict[str, str]
"""SHA-256 of a video's files, by what they are."""


@dataclass(frozen=True)
class Kill:
    """What is killed, once so many videos are completed and so much time has passed since."""

    target: Target
    completed: int
    delay_s: float


@dataclass
class Round:
    """What a round was, and what came of it."""

    seed: int
    kills: Sequence[Kill]
    took_s: float = 0.0
    attempts: int = 0
    crashes: int = 0
    problems: list[str] = field(default_factory=list[str])


def plan(seed: int, targets: Sequence[Target]) -> list[Kill]:
    """The moments of a round, in which each of the targets is killed once."""
    chance = random.Random(seed)
    moments = sorted(chance.sample(range(JOBS * 9 // 10), len(targets)))
    shuffled = chance.sample(targets, len(targets))
    return [
        Kill(target, moment, chance.uniform(0, LONGEST_DELAY_S))
        for target, moment in zip(shuffled, moments, strict=True)
    ]


def request(number: int) -> dict[str, Any]:
    """Short ones, and one kind in eight that takes longer."""
    kind = number % KINDS
    shape = {"steps": 60, "seconds": "4"} if kind == 0 else {"steps": 4 + kind, "seconds": "1"}
    return {"prompt": f"card {kind}", "seed": kind, "size": "128x128", "deterministic": True, **shape}


def undisturbed(folder: Path) -> list[Hashes]:
    """What a server that nobody kills makes of each kind of request."""
    server = start(folder)
    try:
        with httpx2.Client() as http:
            ids = [_created(http, server.url, number) for number in range(KINDS)]
        database = _database_of(server)
        until(lambda: _completed(database) == KINDS, LONGEST_S)
        with database.read() as connection:
            found = {row.id: row.result for row in connection.execute(select(jobs.c.id, jobs.c.result))}
        database.close()
        return [_hashes(folder / "files", found[id_]) for id_ in ids]
    finally:
        server.stop()


def disturbed(
    folder: Path,
    wanted: Sequence[Hashes],
    kills: Sequence[Kill],
    *,
    seed: int,
    postgres: PostgresServer | None,
) -> Round:
    """A round: JOBS requests, the kills, and a look at all that is there afterwards.

    Args:
        folder: empty, or not there.
        wanted: what `undisturbed` said.
        kills: what `plan` said, of `seed`.
        postgres: an empty database of its own, which is killed as well; None is SQLite.
    """
    began_s = time.monotonic()
    service = _Service(folder, postgres)
    try:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(service.ask_all)
            try:
                for kill in kills:
                    service.carry_out(kill, random.Random(f"{seed} {kill.completed}"))
            except BaseException:
                service.given_up.set()
                raise
            asked.result()
        service.wait()
        code = service.stop()
        done = service.look(wanted, seed, kills)
        if code:
            done.problems.append(f"the server stopped with code {code}")
    except AssertionError as error:
        done = Round(seed, kills, problems=[f"it came to no end: {error}"])
    finally:
        service.close()
    done.took_s = time.monotonic() - began_s
    return done


class _Service:
    def __init__(self, folder: Path, postgres: PostgresServer | None) -> None:
        self._folder = folder
        self._temporary = folder / "temporary"
        self._temporary.mkdir(parents=True)
        self._postgres = postgres
        self._environment = {"TMPDIR": str(self._temporary), "HIBARI_LEASE_S": LEASE_S}
        if postgres is not None:
            self._environment["HIBARI_DATABASE"] = postgres.url
        self._ids: list[str] = []
        self.given_up = Event()
        self.server = self._start()
        self._database = _database_of(self.server) if postgres is None else Database(postgres.url)

    def _start(self) -> Server:
        return start(self._folder, **self._environment)

    # ------------------------------------------------------------ asking

    def ask_all(self) -> None:
        """Every request, again and again until it is answered: an idempotency key makes that one video."""
        end = time.monotonic() + LONGEST_S
        with httpx2.Client() as http:
            while len(self._ids) < JOBS and not self.given_up.is_set():
                assert time.monotonic() < end, f"only {len(self._ids)} of {JOBS} requests were answered"
                try:
                    self._ids.append(_created(http, self.server.url, len(self._ids)))
                except httpx2.TransportError:
                    time.sleep(0.05)
                except httpx2.HTTPStatusError as error:
                    if error.response.status_code != 503:
                        raise
                    time.sleep(0.05)

    # ------------------------------------------------------------ killing

    def carry_out(self, kill: Kill, chance: random.Random) -> None:
        """Kill when it is time, and start again what nobody else starts again."""
        until(lambda: (_completed(self._database) or 0) >= kill.completed, LONGEST_S)
        time.sleep(kill.delay_s)
        # A job that two workers died with is failed, as it may be what kills them. So who was held by one that was
        # killed gets further before the next one is. Looked at last: where workers start slowly, what a dead one had is
        # found and taken up again only while videos are waited for.
        until(lambda: self._count(jobs.c.crashes > 0, jobs.c.finished_at.is_(None)) == 0, LONGEST_S)
        match kill.target:
            case "server":
                self._kill_server()
            case "worker":
                self._kill_worker()
            case "server and worker":
                self._kill_worker()
                self._kill_server()
            case "database":
                self._kill_database(chance)
            case "everything":
                self._kill_worker()
                self.server.process.kill()
                self._kill_database(chance)
                self._kill_server()

    def _kill_worker(self) -> None:
        with suppress(IndexError, ProcessLookupError):  # none has started yet, or it has just died
            os.kill(self.server.worker_pids()[-1], signal.SIGKILL)

    def _kill_server(self) -> None:
        self.server.process.kill()
        self.server.process.wait()
        assert self.server.process.stdout is not None
        self.server.process.stdout.close()
        self.server = self._start()

    def _kill_database(self, chance: random.Random) -> None:
        assert self._postgres is not None
        self._postgres.kill()
        time.sleep(chance.uniform(0, LONGEST_OUTAGE_S))
        self._postgres.restart()

    # ------------------------------------------------------------ afterwards

    def wait(self) -> None:
        """Until every job is over and what dead workers left has been tidied up."""
        over = jobs.c.finished_at.is_not(None), jobs.c.tidy_at.is_(None)
        until(lambda: self._count(*over) == JOBS, LONGEST_S)

    def stop(self) -> int:
        """The server's exit code, once its worker and those of servers that were killed have had time to go."""
        code = self.server.stop()
        with suppress(AssertionError):  # `look` says which
            until(lambda: not self._workers(), STOP_WITHIN_S)
        return code

    def look(self, wanted: Sequence[Hashes], seed: int, kills: Sequence[Kill]) -> Round:
        """What is there, compared with what should be."""
        done = Round(seed, kills)
        with self._database.read() as connection:
            rows = connection.execute(select(jobs).order_by(jobs.c.number)).all()
            ends = connection.execute(
                select(events.c.job, func.count().label("ends"))
                .where(events.c.kind.in_(["completed", "failed", "cancelled"]))
                .group_by(events.c.job)
            ).all()
        done.attempts = sum(row.attempt for row in rows)
        done.crashes = sum(row.crashes for row in rows)
        if Counter(row.id for row in rows) != Counter(self._ids):
            done.problems.append(f"{len(rows)} videos of {len(self._ids)} that were accepted, or others")
        number_of = {id_: number for number, id_ in enumerate(self._ids)}
        told = {row.job: row.ends for row in ends}
        files: set[Path] = set()
        storage = self._folder / "files"
        for row in rows:
            if row.state != "completed":
                done.problems.append(f"{row.id} is {row.state}: {row.error_message}")
                continue
            if told.get(row.number) != 1:
                done.problems.append(f"{row.id} ended {told.get(row.number, 0)} times")
            files |= {storage / row.result[name] for name in FILES}
            if _hashes(storage, row.result) != wanted[number_of.get(row.id, 0) % KINDS]:
                done.problems.append(f"{row.id} has other bytes than an undisturbed one")
        there = {path for path in storage.rglob("*") if path.is_file()}
        done.problems += [f"{path} is an orphan" for path in sorted(there - files)]
        done.problems += [f"{path} is left behind" for path in sorted(self._temporary.iterdir())]
        done.problems += [f"process {pid} is left behind" for pid in self._workers()]
        return done

    def _workers(self) -> list[int]:
        return [pid for pid in self.server.worker_pids() if _lives(pid, self._folder)]

    def _count(self, *conditions: Any) -> int | None:
        """How many jobs; None while the database is away."""
        with suppress(DatabaseError), self._database.read() as connection:
            return connection.execute(select(func.count()).select_from(jobs).where(*conditions)).scalar_one()
        return None

    def close(self) -> None:
        self._database.close()
        if self.server.process.poll() is None:
            self.server.stop()


def _created(http: httpx2.Client, url: str, number: int) -> str:
    headers = {"Idempotency-Key": f"number-{number}"}
    answer = http.post(f"{url}/videos", json=request(number), headers=headers, timeout=60)
    answer.raise_for_status()
    return answer.json()["id"]


def _database_of(server: Server) -> Database:
    return Database(f"sqlite:///{server.folder}/hibari.db")


def _completed(database: Database) -> int | None:
    with suppress(DatabaseError), database.read() as connection:
        return connection.execute(
            select(func.count()).select_from(jobs).where(jobs.c.state == "completed")
        ).scalar_one()
    return None


def _hashes(storage: Path, result: dict[str, Any]) -> Hashes:
    """A file that is not there has no hash."""
    return {
        name: hashlib.sha256(_comparable(path) if name == "latent" else path.read_bytes()).hexdigest()
        for name in FILES
        if (path := storage / result[name]).is_file()
    }


def _comparable(path: Path) -> bytes:
    """A file of safetensors, which writes its metadata in an order that differs from process to process."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    return json.dumps(json.loads(content[8:begin]), sort_keys=True).encode() + content[begin:]


def _lives(pid: int, folder: Path) -> bool:
    """Whether that process is a worker of the service in `folder`: a number may be given again."""
    with suppress(OSError):
        return str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
