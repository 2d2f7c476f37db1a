"""A PostgreSQL server in a temporary folder, for as long as the tests run: on a Unix socket, without durability."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hibari.db import Database
from hibari.db.schema import metadata

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


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, or None where PostgreSQL is not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = Path("/usr/lib/postgresql").glob("*/bin")  # where Debian keeps them, off the path
    return max((folder for folder in folders if (folder / "initdb").exists()), default=None)


@contextmanager
def running(binaries: Path) -> Iterator[str]:
    """Start a server, yield the URL of its empty database, stop it and remove everything."""
    folder = Path(tempfile.mkdtemp(prefix="hibari-pg-"))  # short: a socket's path has at most 107 characters
    as_user: list[str] = []
    if os.geteuid() == 0:  # initdb refuses root
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data = folder / "data"

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(binaries / program), "-D", str(data), *arguments]
        log = folder / f"{program}.log"
        with log.open("ab") as out:
            done = subprocess.run(command, cwd=folder, stdout=out, stderr=out, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text()}")

    try:
        run("initdb", "--auth=trust", "--username=hibari", "--encoding=UTF8", "--locale=C", "--no-sync")
        options = " ".join(f"-c {name}='{value}'" for name, value in OPTIONS.items())
        run("pg_ctl", "start", "--wait", f"--options=-k {folder} {options}", f"--log={data}/server.log")
        try:
            yield f"postgresql+psycopg://hibari@/postgres?host={folder}"
        finally:
            run("pg_ctl", "stop", "--mode=immediate")
    finally:
        shutil.rmtree(folder)


def emptied(database: Database) -> Database:
    """The database, with no row in any table."""
    with database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    return database
