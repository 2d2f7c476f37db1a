"""`hibari serve` and `hibari worker`: the service on one machine, or a worker for one that runs elsewhere."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from hibari import catalog
from hibari.cli import stop
from hibari.cli.supervise import STOP_WITHIN_S, Supervisor, stop_all
from hibari.contracts import InvalidRequest, MissingPart, OutputError
from hibari.settings import ServerSettings, Settings, environment_with

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder for the database and the videos.", metavar="FOLDER")
]
JobsOption = Annotated[int, typer.Option(min=1, max=256, help="Videos that a worker makes at a time.")]
ModelOption = Annotated[
    list[str] | None, typer.Option(help="Only videos of this model; can be given again.", metavar="NAME")
]
JOBS = 8
BACKLOG = 2048
NICE_BESIDE_SERVER = 5  # of a worker on the server's machine, where both want the processor
_JOB_ID = re.compile(r"\bvideo_[0-9a-f]{32}\b")
GRACE_S = 3  # for answers that are on their way when the server stops


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 by default.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 8000 by default, 0 is any that is free.")
    ] = None,
    data_dir: DataDir = None,
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            max=64,
            help="Worker processes, on each GPU where there are several; 0 if all run elsewhere.",
        ),
    ] = 1,
    jobs: JobsOption = JOBS,
    no_samples: Annotated[
        bool, typer.Option("--no-samples", help="Make no videos for those who come for the first time.")
    ] = False,
) -> None:
    """Start the server: the Videos API, and a worker beside it that is restarted should it die."""
    settings = ServerSettings.from_environment(
        host=host, port=port, data_dir=data_dir, samples=False if no_samples else None
    )
    for model in (settings.model, settings.sora_model):
        catalog.spec(model, settings.models)  # a wrong HIBARI_MODEL is an error of its own
    try:
        import uvicorn

        from hibari.api import create_app, welcome
    except ModuleNotFoundError as error:
        raise MissingPart(
            f"the server needs the package {error.name}; install it with: pip install 'hibari[server]'"
        ) from error
    from hibari.webhooks import Deliverer

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """Workers stop while answers that are on their way are still given, so that all is over in time."""
            for supervisor in supervisors:
                supervisor.tell()
            await super().shutdown(sockets)

    log()
    with _listening(settings) as listening:
        app = create_app(settings)
        welcome(app)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=GRACE_S
        )
        supervisors = [Supervisor(_worker_command(settings.data_dir, jobs)) for _ in range(workers)]
        deliverer = Deliverer(app.state.parts.webhooks)
        address, bound_port = listening.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        try:
            for supervisor in supervisors:
                supervisor.start()
            deliverer.start()
            typer.echo(f"hibari serves http://{shown}:{bound_port}/v1 from {settings.data_dir}")
            typer.echo(f"studio at http://{_reachable(shown)}:{bound_port}/")
            Server(config).run(sockets=[listening])
        except (KeyboardInterrupt, stop.Terminated):
            pass  # the server has stopped in peace, and only repeats the signal that told it to
        finally:
            for supervisor in supervisors:
                supervisor.tell()
            app.state.readers.close()
            deliverer.stop()
            stop_all(supervisors)


def _worker_command(data_dir: Path, jobs: int, models: Sequence[str] = ()) -> list[str]:
    """`worker` below, as a child of ours."""
    own = [sys.executable, "-m", "hibari", "worker", "--with-parent"]
    named = [word for name in models for word in ("--model", name)]
    return [*own, "--jobs", str(jobs), "--data-dir", str(data_dir), *named]


def worker(
    data_dir: DataDir = None,
    jobs: JobsOption = JOBS,
    model: ModelOption = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", hidden=True, help="Stop when the standard input ends.")
    ] = False,
) -> None:
    """Make the videos that the database has queued, on this machine: on all its GPUs, or on that of HIBARI_DEVICE."""
    settings = ServerSettings.from_environment(data_dir=data_dir)
    machine = Settings.from_environment()
    for name in model or []:
        catalog.spec(name, machine.models)
    from hibari.engine.runtime import gpus
    from hibari.worker import worker_on

    log()
    if with_parent:
        # Beside a server: an answer takes a millisecond and somebody waits for it, a video takes seconds.
        own = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, max(own, NICE_BESIDE_SERVER))
    if (count := gpus(machine)) > 1:
        stopping = threading.Event()
        _listen_for_the_end(stopping.set, with_parent)
        on_each_gpu(_worker_command(settings.data_dir, jobs, model or ()), machine, count, stopping)
    else:
        with worker_on(settings, machine, models=model or None, max_jobs=jobs) as taker:
            _listen_for_the_end(taker.stop, with_parent)
            taker.run()
    if with_parent:
        # All is stored and closed. To take torch apart costs most of a second of processor time: on a busy machine so
        # long that the parent loses patience, and reports a kill.
        os._exit(0)


def on_each_gpu(command: Sequence[str], machine: Settings, count: int, stopping: threading.Event) -> None:
    """Keep a process running for each of `count` GPUs until `stopping` is set. A process has one, by HIBARI_DEVICE, and
    an equal part of the machine's threads: what brings one down, as a GPU that fails, leaves the others alone."""
    threads = str(max(1, machine.threads // count))
    supervisors = [
        Supervisor(
            command,
            environment_with(HIBARI_DEVICE=f"cuda:{number}", HIBARI_THREADS=threads),
            stop_within_s=STOP_WITHIN_S - 1,  # before whoever supervises this process loses patience with it
        )
        for number in range(count)
    ]
    for supervisor in supervisors:
        supervisor.start()
    stopping.wait()
    stop_all(supervisors)


def _listen_for_the_end(stop_worker: Callable[[], None], with_parent: bool) -> None:
    """Signals, and the end of the standard input: its other end is the parent's, however that ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop_worker())

    def wait_for_parent() -> None:
        sys.stdin.read()
        stop_worker()

    if with_parent:
        threading.Thread(target=wait_for_parent, daemon=True).start()


def _reachable(address: str) -> str:
    """An address that a browser of this machine can open."""
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(address, address)  # noqa: S104 - it is only compared


def _listening(settings: ServerSettings) -> socket.socket:
    """A socket that is bound, so that a port that is taken is said before anything begins.

    Raises:
        InvalidRequest: there is no such address here.
        OutputError: the port is taken, or not for us.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise InvalidRequest(f"host is {settings.host!r}, which is no address here", field="host") from error
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(BACKLOG)  # who comes from now on waits, and is not refused
    except OSError as error:
        listening.close()
        raise OutputError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}; choose another with --port"
        ) from error
    return listening


def log() -> None:
    """One JSON object a line on stderr; a line that names a video has its id as `job_id`. No line of ours holds a
    prompt."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if job_id := _JOB_ID.search(line["message"]):
            line["job_id"] = job_id[0]
        if (request_id := record.__dict__.get("request_id")) is not None:
            line["request_id"] = request_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
