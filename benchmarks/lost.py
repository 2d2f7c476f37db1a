"""Whether anything is lost when everything is killed: rounds of 100 videos, with `kill -9` at random moments.

A round kills the server, the worker and both at once, on PostgreSQL also the database and all three at once, each at a
moment drawn from the round's seed, while the worker makes the videos or the client is still asking for them. Afterwards
every video must be there once, completed once, in the bytes of an undisturbed run, and nothing else: no other file, no
process, no job that goes no further. The folder of a round in which something was wrong is kept.

    .venv/bin/python benchmarks/lost.py [--rounds 50] [--database sqlite|postgresql] [--seed N] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from generate import cpu_model

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import killing
import postgres_server


def one_round(folder: Path, wanted: list[killing.Hashes], seed: int, binaries: Path | None) -> killing.Round:
    """A round on a database of its own: PostgreSQL if its programs are given, otherwise SQLite."""
    targets = killing.OF_SQLITE if binaries is None else killing.OF_POSTGRESQL
    kills = killing.plan(seed, targets)
    with ExitStack() as stack:
        postgres = None
        if binaries is not None:
            # Committed is written: the processes are killed, and the machine is not.
            postgres = stack.enter_context(postgres_server.running(binaries, synchronous_commit="on"))
        return killing.disturbed(folder, wanted, kills, seed=seed, postgres=postgres)


def main() -> None:
    """Run the rounds and say what came of each; the exit code is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seed", type=int, help="of the first round; each further one has the next")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    binaries = None
    if options.database == "postgresql" and (binaries := postgres_server.programs()) is None:
        parser.error("PostgreSQL is not installed; scripts/need-postgres installs it")
    first = random.randrange(2**31) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="hibari-lost-"))
    wanted = killing.undisturbed(folder / "undisturbed")
    rounds: list[killing.Round] = []
    for seed in range(first, first + options.rounds):
        own = folder / str(seed)
        done = one_round(own, wanted, seed, binaries)
        rounds.append(done)
        if not done.problems:
            shutil.rmtree(own)
        if not options.json:
            said = "nothing lost" if not done.problems else f"kept in {own}: " + "; ".join(done.problems)
            again = done.attempts - killing.JOBS
            print(
                f"seed {seed}: {len(done.kills)} kills, {again} begun again, {done.took_s:.0f} s: {said}",
                flush=True,
            )
    bad = [done for done in rounds if done.problems]
    if not bad:
        shutil.rmtree(folder)
    if options.json:
        figures = {"machine": cpu_model(), "database": options.database, "lost_in_rounds": len(bad)}
        print(json.dumps({**figures, "rounds": [asdict(done) for done in rounds]}, indent=2))
    else:
        print(
            f"{len(rounds) - len(bad)} of {len(rounds)} rounds on {options.database}: nothing lost; {cpu_model()}"
        )
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
