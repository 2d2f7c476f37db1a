"""Whether anything is lost when everything is killed: rounds of 100 videos, with `kill -9` at random moments.

A round kills the server, the worker and both at once, on PostgreSQL also the database and all three at once, each at a
moment drawn from the round's seed, while the worker makes the videos or the client is still asking for them. Afterwards
every video must be there once, completed once, in the bytes of an undisturbed run, and nothing else: no other file, no
process, no job that goes no further. The folder of a round in which something was wrong is kept. Ctrl-C and SIGTERM
give up the round that runs, and those that are over are summed up.

    .venv/bin/python benchmarks/lost.py [--rounds 50] [--database sqlite|postgresql] [--seed N] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
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


def tell(done: killing.Round, folder: Path) -> None:
    """Print a round's line."""
    said = "nothing lost" if not done.problems else f"kept in {folder}: " + "; ".join(done.problems)
    again = done.attempts - killing.JOBS
    print(
        f"seed {done.seed}: {len(done.kills)} kills, {again} begun again, {done.took_s:.0f} s: {said}",
        flush=True,
    )


def main() -> None:
    """Run the rounds and say what came of each; the exit code is 1 if anything was wrong, or none was over."""
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
    rounds: list[killing.Round] = []
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell's background has it ignored
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    own = folder
    try:
        wanted = killing.undisturbed(folder / "undisturbed")
        for seed in range(first, first + options.rounds):
            own = folder / str(seed)
            done = one_round(own, wanted, seed, binaries)
            rounds.append(done)
            if not done.problems:
                shutil.rmtree(own)
            if not options.json:
                tell(done, own)
    except KeyboardInterrupt:
        shutil.rmtree(own, ignore_errors=True)  # what the round had come to says nothing
    bad = [done for done in rounds if done.problems]
    if not bad:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        figures = {"machine": cpu_model(), "database": options.database, "rounds_asked_for": options.rounds}
        figures["lost_in_rounds"] = len(bad)
        print(json.dumps({**figures, "rounds": [asdict(done) for done in rounds]}, indent=2))
    else:
        good = f"{len(rounds) - len(bad)} of {len(rounds)} rounds on {options.database}: nothing lost"
        given_up = "" if len(rounds) == options.rounds else f"; {options.rounds} were asked for"
        print(f"{good}{given_up}; {cpu_model()}")
    sys.exit(1 if bad or not rounds else 0)


if __name__ == "__main__":
    main()
