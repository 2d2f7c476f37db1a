"""How the service behaves under load, and how soon a pause is heard: `hibari serve` as a process, with its worker.

    load      1,000 videos of the test card asked for by 100 clients, 50 that poll and 50 that listen to events. Ninety
              of the clients are one greedy account's; the ten of a modest one ask once the greedy one's have all been
              accepted. Jobs accepted a second, times of create and retrieve as a client sees them, what failed, the
              processor time and the memory of server and worker, and how the two accounts shared the worker.
    pause     two accounts with two long videos each: `hibari admin pause` of one account's key, and of everybody, from
              the command to the moment when the last of the videos was given back, after its last step.

The clients run on the same machine, and their own time is in the figures; what they took of the processor is told.

    .venv/bin/python benchmarks/service.py [load pause] [--jobs 1000] [--repeats 5] [--json | --markdown]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from threading import Event, Thread
from typing import Any

import httpx2
from generate import cpu_model
from sqlalchemy import func, select

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hibari.accounts import Accounts
from hibari.db import Database
from hibari.db.schema import accounts, events, jobs, keys, switches
from server_process import Server, start, until

CLIENTS, MODEST_CLIENTS = 100, 10  # every second one polls, the others listen
REQUEST = {"model": "testcard", "size": "128x128", "seconds": "1", "steps": 8}
LONG = {"model": "testcard", "size": "128x128", "seconds": "60", "steps": 200}
NO_LIMIT = 10**9  # requests a minute
SAMPLE_EVERY_S = 0.5
LONGEST_S = 3600.0
TICKS = os.sysconf("SC_CLK_TCK")


# ------------------------------------------------------------ what a process takes


def cpu_s(pid: int) -> float:
    """Processor seconds of a process until now."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / TICKS


def memory_mb(pid: int) -> float:
    """Resident memory of a process now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watch:
    """Looks at a process's memory from time to time, in a thread."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.began_cpu_s = cpu_s(pid)
        self.samples_mb = [memory_mb(pid)]
        self._stopped = Event()
        self._thread = Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(SAMPLE_EVERY_S):
            self.samples_mb.append(memory_mb(self.pid))

    def stop(self) -> dict[str, float]:
        """What it took since the beginning."""
        self._stopped.set()
        self._thread.join()
        samples = [*self.samples_mb, memory_mb(self.pid)]
        return {
            "cpu_s": round(cpu_s(self.pid) - self.began_cpu_s, 2),
            "memory_start_mb": round(samples[0], 1),
            "memory_middle_mb": round(samples[len(samples) // 2], 1),
            "memory_end_mb": round(samples[-1], 1),
            "memory_most_mb": round(max(samples), 1),
        }


# ------------------------------------------------------------ load


@dataclass
class Seen:
    """What the clients saw."""

    create_ms: list[float] = field(default_factory=list[float])
    retrieve_ms: list[float] = field(default_factory=list[float])
    failures: list[str] = field(default_factory=list[str])


class Client:
    """One of the hundred."""

    def __init__(self, http: httpx2.AsyncClient, key: str, seen: Seen, count: int, *, listens: bool) -> None:
        self._http = http
        self._headers = _headers(key)
        self._seen = seen
        self._count = count
        self._listens = listens
        self._ids: list[str] = []

    async def ask(self) -> None:
        """Ask for its videos, one after the other."""
        for number in range(self._count):
            async with self._timed(self._seen.create_ms):
                answer = await self._http.post(
                    "/videos", json={"prompt": f"card {number}", **REQUEST}, headers=self._headers
                )
                answer.raise_for_status()
                self._ids.append(answer.json()["id"])

    async def follow(self) -> None:
        """Until all are made, one after the other."""
        for video_id in self._ids:
            status = await (self._listen(video_id) if self._listens else self._poll(video_id))
            if status != "completed":
                self._seen.failures.append(f"{video_id}: {status}")

    async def _poll(self, video_id: str) -> str:
        while True:
            pause_ms, status = 1000, "no answer"
            async with self._timed(self._seen.retrieve_ms):
                answer = await self._http.get(f"/videos/{video_id}", headers=self._headers)
                answer.raise_for_status()
                pause_ms, status = int(answer.headers["openai-poll-after-ms"]), answer.json()["status"]
            if status not in ("queued", "in_progress"):
                return status
            await asyncio.sleep(pause_ms / 1000)

    async def _listen(self, video_id: str) -> str:
        kind = "nothing"
        try:
            async with self._http.stream(
                "GET", f"/videos/{video_id}/events", headers=self._headers
            ) as answer:
                answer.raise_for_status()
                async for line in answer.aiter_lines():
                    if line.startswith("event: "):
                        kind = line.removeprefix("event: ")
        except httpx2.HTTPError as error:
            return type(error).__name__
        return kind

    @asynccontextmanager
    async def _timed(self, times_ms: list[float]) -> Any:
        began_s = time.perf_counter()
        try:
            yield
        except httpx2.HTTPError as error:
            self._seen.failures.append(str(error) or type(error).__name__)
        else:
            times_ms.append((time.perf_counter() - began_s) * 1000)


async def drive(url: str, greedy: str, modest: str, count: int) -> tuple[Seen, float]:
    """All clients at once; what they saw, and seconds until the greedy account's last job was accepted."""
    seen = Seen()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=600, limits=limits, trust_env=False) as http:
        clients = [
            Client(http, modest if number < MODEST_CLIENTS else greedy, seen, count, listens=number % 2 == 1)
            for number in range(CLIENTS)
        ]
        few, many = clients[:MODEST_CLIENTS], clients[MODEST_CLIENTS:]
        began_s = time.perf_counter()
        await asyncio.gather(*(client.ask() for client in many))
        took_s = time.perf_counter() - began_s

        async def ask_and_follow(client: Client) -> None:
            await client.ask()
            await client.follow()

        await asyncio.gather(
            *(ask_and_follow(client) for client in few), *(client.follow() for client in many)
        )
    return seen, took_s


def load(folder: Path, count: int) -> dict[str, Any]:
    """The figures of so many jobs, rounded to whole ones a client."""
    each = max(1, count // CLIENTS)
    server, database = _server(folder)
    try:
        greedy, modest = (_key(database, name) for name in ("greedy", "modest"))
        watches = {"server": Watch(server.process.pid), "worker": Watch(server.worker_pids()[-1])}
        began_s, began_clients_s = time.perf_counter(), time.process_time()
        seen, asked_s = asyncio.run(drive(server.url, greedy, modest, each))
        took_s, clients_s = time.perf_counter() - began_s, time.process_time() - began_clients_s
        processes = {name: watch.stop() for name, watch in watches.items()}
        with database.read() as connection:
            rows = connection.execute(
                select(accounts.c.name, jobs.c.state, jobs.c.created_at, jobs.c.finished_at).join(
                    accounts, accounts.c.id == jobs.c.owner
                )
            ).all()
    finally:
        database.close()
        server.stop()
    failed = [row for row in rows if row.state != "completed"]
    few = [row for row in rows if row.name == "modest"]
    first, last = min(row.created_at for row in few), max(row.finished_at for row in few)
    beside = [row for row in rows if row.name == "greedy" and first <= row.finished_at <= last]
    greedy_end = max(row.finished_at for row in rows if row.name == "greedy")
    return {
        "jobs": len(rows),
        "took_s": round(took_s, 1),
        "accepted_a_second": round((CLIENTS - MODEST_CLIENTS) * each / asked_s, 1),
        "create_ms": _shares(seen.create_ms),
        "retrieve_ms": _shares(seen.retrieve_ms),
        "failures": seen.failures[:10] + [f"{row.name}: {row.state}" for row in failed][:10],
        "failed": len(seen.failures) + len(failed) + CLIENTS * each - len(rows),
        **processes,
        "server_cpu_ms_a_request": round(
            1000 * processes["server"]["cpu_s"] / (len(seen.create_ms) + len(seen.retrieve_ms)), 2
        ),
        "worker_cpu_ms_a_job": round(1000 * processes["worker"]["cpu_s"] / len(rows), 1),
        "clients_cpu_s": round(clients_s, 2),
        "modest_waited_s": round(last - first, 1),
        "greedy_waited_longer_s": round(greedy_end - last, 1),
        "greedy_jobs_a_modest_one": round(len(beside) / len(few), 2),
    }


def _shares(times_ms: list[float]) -> dict[str, float]:
    hundredths = quantiles(times_ms, n=100, method="inclusive")
    return {"count": len(times_ms), "p50": round(hundredths[49], 1), "p99": round(hundredths[98], 1)}


# ------------------------------------------------------------ pause


def pause(folder: Path, repeats: int) -> dict[str, Any]:
    """Seconds from the command, and from its word in the database, until all videos concerned were given back."""
    server, database = _server(folder)
    ada, bob = (_key(database, name) for name in ("ada", "bob"))
    one, everybody = select(keys.c.paused_at).where(keys.c.name == "ada"), select(switches.c.since)
    times: dict[str, list[tuple[float, float]]] = {}
    try:
        with httpx2.Client(base_url=server.url, timeout=600, trust_env=False) as http:
            for name, options, since, stopped in (
                ("key", ("--key", "ada"), one, slice(0, 2)),
                ("all", ("--all",), everybody, slice(0, 4)),
            ):
                times[name] = []
                for _ in range(repeats):
                    videos = [_long(http, key) for key in (ada, ada, bob, bob)]
                    until(lambda videos=videos: all(job.step for job in _rows(database, videos)), LONGEST_S)
                    began = time.time()
                    server.hibari("admin", "pause", *options)
                    concerned, others = videos[stopped], [one for one in videos if one not in videos[stopped]]
                    until(lambda concerned=concerned: _are(database, concerned, "queued"), LONGEST_S)
                    assert not others or _are(database, others, "running"), (
                        "others were stopped, or it was late"
                    )
                    with database.read() as connection:
                        word = connection.execute(since).scalar_one()
                        given_back = connection.execute(
                            select(func.count(), func.max(events.c.at))
                            .join(jobs, jobs.c.number == events.c.job)
                            .where(jobs.c.id.in_(concerned), events.c.kind == "released")
                        ).one()
                    assert given_back[0] == len(concerned)
                    times[name].append((given_back[1] - began, given_back[1] - word))
                    server.hibari("admin", "resume", *options)
                    for video in videos:
                        http.delete(f"/videos/{video}", headers=_headers(bob if video in videos[2:] else ada))
    finally:
        database.close()
        server.stop()
    return {
        f"{name}_from_{beginning}_s": {"median": round(median(column), 2), "longest": round(max(column), 2)}
        for name, rows in times.items()
        for beginning, column in zip(("command", "word"), zip(*rows, strict=True), strict=True)
    }


def _long(http: httpx2.Client, key: str) -> str:
    answer = http.post("/videos", json={"prompt": "a long one", **LONG}, headers=_headers(key))
    return answer.raise_for_status().json()["id"]


def _rows(database: Database, videos: list[str]) -> Sequence[Any]:
    with database.read() as connection:
        return connection.execute(select(jobs.c.state, jobs.c.step).where(jobs.c.id.in_(videos))).all()


def _are(database: Database, videos: list[str], state: str) -> bool:
    return {job.state for job in _rows(database, videos)} == {state}


# ------------------------------------------------------------ both


def _server(folder: Path) -> tuple[Server, Database]:
    """A server whose worker takes jobs, and its database."""
    server = start(folder)
    until(lambda: "takes jobs" in server.log.read_text(), LONGEST_S)
    return server, Database(f"sqlite:///{folder}/hibari.db")


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _key(database: Database, name: str) -> str:
    room = Accounts(database)
    return room.create_key(room.create(name).id, name, requests_per_minute=NO_LIMIT).secret


def markdown(figures: dict[str, Any]) -> str:
    """Beside the aims."""
    rows: list[tuple[str, str, str]] = []
    if of := figures.get("load"):
        server, create, retrieve = of["server"], of["create_ms"], of["retrieve_ms"]
        memory = ", ".join(f"{server[f'memory_{when}_mb']:.0f}" for when in ("start", "middle", "end"))
        cpu = f"{server['cpu_s']}, {of['worker']['cpu_s']}, {of['clients_cpu_s']} s"
        each = f"{of['server_cpu_ms_a_request']}, {of['worker_cpu_ms_a_job']} ms"
        rows += [
            (f"jobs accepted a second, of {of['jobs']}", f"{of['accepted_a_second']}", "200"),
            ("create, p50 / p99", f"{create['p50']:.0f} / {create['p99']:.0f} ms", ""),
            ("retrieve, p50 / p99", f"{retrieve['p50']:.0f} / {retrieve['p99']:.0f} ms", "p99 100"),
            ("failed", f"{of['failed']}", "0"),
            ("server's memory at the start, in the middle, at the end", f"{memory} MB", "flat"),
            (
                "jobs of a greedy owner finished for each of a modest one",
                f"{of['greedy_jobs_a_modest_one']}",
                "1",
            ),
            (f"processor time of server, worker and clients in {of['took_s']} s", cpu, ""),
            ("of the server a request, of the worker a job", each, ""),
        ]
    for name, found in figures.get("pause", {}).items():
        rows.append(
            (f"pause, {name.replace('_', ' ')}", f"{found['median']} (longest {found['longest']})", "1")
        )
    head = [
        f"{figures['cores']} cores of {figures['machine']}",
        "",
        "| | measured | aim |",
        "|---|---:|---:|",
    ]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])


def main() -> None:
    """Measure what is named, or both, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("parts", nargs="*", choices=("load", "pause"), default=("load", "pause"))
    parser.add_argument("--jobs", type=int, default=1000, help="at least 100, one a client")
    parser.add_argument("--repeats", type=int, default=5, help="of each pause")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="a table beside the aims")
    options = parser.parse_args()
    parts: dict[str, Callable[[Path], dict[str, Any]]] = {
        "load": lambda folder: load(folder, options.jobs),
        "pause": lambda folder: pause(folder, options.repeats),
    }
    figures: dict[str, Any] = {"machine": cpu_model(), "cores": len(os.sched_getaffinity(0))}
    for name in options.parts:
        with tempfile.TemporaryDirectory(prefix="hibari-service-") as folder:
            figures[name] = parts[name](Path(folder) / "data")
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    if options.markdown:
        print(markdown(figures))
        return
    for name, value in figures.items():
        print(f"{name}: {value}" if not isinstance(value, dict) else f"{name}:")
        for label, figure in value.items() if isinstance(value, dict) else ():
            print(f"    {label.replace('_', ' ')}: {figure}")


if __name__ == "__main__":
    main()
