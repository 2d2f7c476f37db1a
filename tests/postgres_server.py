"""A PostgreSQL server in a temporary folder, for as long as the tests run: on a Unix socket, without durability."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hibari.db import Database
from hibari.db.append_only import unprotected
from hibari.db.schema import audit_log, metadata

# Quick, and safe enough for what is thrown away. No network at all.
OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "timezone": "UTC",
}
RESTART_WITHIN_S = 60


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, or None where PostgreSQL is not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = Path("/usr/lib/postgresql").glob("*/bin")  # where Debian keeps them, off the path
    return max((folder for folder in folders if (folder / "initdb").exists()), default=None)


class PostgresServer:
    """A server of one's own."""

    def __init__(self, binaries: Path, folder: Path, options: dict[str, str]) -> None:
        self.url = f"postgresql+psycopg://hibari@/postgres?host={folder}"
        self._binaries = binaries
        self._folder = folder
        self._data = folder / "data"
        self._options = " ".join(f"-c {name}='{value}'" for name, value in options.items())
        self._as_user: list[str] = []
        if os.geteuid() == 0:  # initdb refuses root
            shutil.chown(folder, "postgres", "postgres")
            self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self._run("initdb", "--auth=trust", "--username=hibari", "--encoding=UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        """Start it."""
        options = f"--options=-k {self._folder} {self._options}"
        self._run("pg_ctl", "start", "--wait", options, f"--log={self._data}/server.log")

    def restart(self) -> None:
        """Start it after it was killed, as soon as the last of its old processes has gone."""
        until = time.monotonic() + RESTART_WITHIN_S
        while True:
            try:
                self.start()
                return
            except RuntimeError:
                if time.monotonic() >= until:
                    raise
                time.sleep(0.2)

    def kill(self) -> None:
        """`kill -9`; its other processes see that, and go."""
        os.kill(int((self._data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def stop(self) -> None:
        """Stop it."""
        self._run("pg_ctl", "stop", "--mode=immediate")

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._binaries / program), "-D", str(self._data), *arguments]
        log = self._folder / f"{program}.log"
        with log.open("ab") as out:
            done = subprocess.run(command, cwd=self._folder, stdout=out, stderr=out, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text()}")


@contextmanager
def running(binaries: Path, **options: str) -> Iterator[PostgresServer]:
    """Start a server with an empty database, stop it and remove everything. `options` are beside OPTIONS."""
    folder = Path(tempfile.mkdtemp(prefix="hibari-pg-"))  # short: a socket's path has at most 107 characters
    try:
        server = PostgresServer(binaries, folder, OPTIONS | options)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def emptied(database: Database) -> Database:
    """The database, with no row in any table."""
    with database.write() as connection, unprotected(connection, audit_log.name):
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    return database
