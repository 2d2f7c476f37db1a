"""Defends: whatever of the service is killed, and whenever, every video that was accepted is made, once, and nothing is
left behind. `benchmarks/lost.py` does the same many times."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import killing
import postgres_server
from postgres_server import PostgresServer


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> list[killing.Hashes]:
    return killing.undisturbed(tmp_path_factory.mktemp("undisturbed") / "data")


def one_round(
    folder: Path,
    wanted: list[killing.Hashes],
    targets: tuple[killing.Target, ...],
    postgres: PostgresServer | None = None,
) -> None:
    seed = random.randrange(2**31)
    kills = killing.plan(seed, targets)
    print(f"seed {seed}: {kills}")  # noqa: T201 - shown where the test fails
    done = killing.disturbed(folder / "data", wanted, kills, seed=seed, postgres=postgres)
    assert done.problems == []
    assert done.attempts > killing.JOBS, "nobody was disturbed"


def test_nothing_is_lost_on_sqlite(tmp_path: Path, wanted: list[killing.Hashes]) -> None:
    one_round(tmp_path, wanted, ("server", "worker"))


def test_nothing_is_lost_on_postgresql(tmp_path: Path, wanted: list[killing.Hashes]) -> None:
    binaries = postgres_server.programs()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed; scripts/need-postgres installs it")
    with postgres_server.running(binaries, synchronous_commit="on") as postgres:
        one_round(tmp_path, wanted, ("database", "worker"), postgres)
