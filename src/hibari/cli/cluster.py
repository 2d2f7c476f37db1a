"""`hibari cluster`: workers on a Ray cluster, as many as the queue needs."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import asdict
from functools import partial
from typing import IO, TYPE_CHECKING, Annotated

import typer

from hibari import catalog
from hibari.cli.server import JOBS, DataDir, JobsOption, ModelOption, log
from hibari.settings import ServerSettings

if TYPE_CHECKING:
    from hibari.cluster import Status


def cluster(
    address: Annotated[
        str,
        typer.Option(
            help="auto: the Ray that runs on this machine; local: one of this command's own; or a head's HOST:PORT.",
            metavar="auto|local|HOST:PORT",
        ),
    ] = "auto",
    least: Annotated[int, typer.Option("--min", min=0, help="Workers that there always are.")] = 1,
    most: Annotated[int, typer.Option("--max", min=1, help="Workers that there may be.")] = 4,
    jobs: JobsOption = JOBS,
    model: ModelOption = None,
    cpus: Annotated[
        float, typer.Option(min=0.01, help="Cores of each worker, and threads of torch in it.")
    ] = 1,
    gpus: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="GPUs of each worker, also a part of one; by default what the models need, if there are any.",
        ),
    ] = None,
    idle: Annotated[
        float, typer.Option(min=0, help="A worker too many is stopped after so long.", metavar="SECONDS")
    ] = 30,
    data_dir: DataDir = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line, whenever something changes.")
    ] = False,
) -> None:
    """Keep workers running on a Ray cluster: more while videos wait, fewer when they do not, and new ones for those
    that die. Each takes its videos from the database as `hibari worker` does, so that nothing is lost with Ray."""
    settings = ServerSettings.from_environment(data_dir=data_dir)
    for name in model or []:
        catalog.spec(name, settings.models)
    from hibari.cluster import Cluster, Scale
    from hibari.db import Database, migrate
    from hibari.jobs import Upkeep

    log()
    database = Database(settings.database)
    migrate(database)
    upkeep = Upkeep(database)
    running = Cluster(
        settings,
        lambda: upkeep.demand(model or None),
        Scale(least, most, jobs, idle),
        address=address,
        cpus=cpus,
        gpus=gpus,
        models=model or None,
        on_change=partial(_print_json if as_json else _print_line, sys.stdout),
    )
    try:
        with redirect_stdout(sys.stderr):  # Ray prints what it has to say, and that is none of our lines
            running.connect()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: running.stop())
            running.run()
    finally:
        database.close()


def _print_json(out: IO[str], status: Status) -> None:
    typer.echo(json.dumps(asdict(status)), file=out)


def _print_line(out: IO[str], status: Status) -> None:
    hosts = Counter(worker.host or "no place yet" for worker in status.workers)
    where = ", ".join(f"{count} on {host}" for host, count in hosts.items())
    videos = "the database is away" if status.demand is None else f"{status.demand} videos to make"
    line = f"{videos}; {len(status.workers)} workers of {status.wanted} wanted" + (
        f": {where}" if where else ""
    )
    typer.echo(line, file=out)
