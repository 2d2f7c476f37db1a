"""Defends: how many workers there are to be, and what each is given; that of `hibari serve` is told how many videos."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from queue_bench import Queue

from hibari import cluster
from hibari.cli import server
from hibari.cli.app import app
from hibari.cluster import Scale, Share
from hibari.cluster.share import gpu_share
from hibari.contracts import InvalidRequest
from hibari.db import Database
from hibari.jobs import PauseScope, Policy

GB = 10**9


@pytest.mark.parametrize(
    ("demand", "wanted"), [(0, 1), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3), (10**6, 3)], ids=str
)
def test_workers_follow_the_demand_within_bounds(demand: int, wanted: int) -> None:
    assert Scale(1, 3, jobs=4, idle_s=30).wanted(demand) == wanted


def test_no_worker_is_a_possible_number() -> None:
    scale = Scale(0, 2, jobs=1, idle_s=30)
    assert [scale.wanted(demand) for demand in (0, 1, 2, 3)] == [0, 1, 2, 2]


@pytest.mark.parametrize(("least", "most"), [(2, 1), (-1, 1), (0, 0)])
def test_bounds_that_cannot_be(least: int, most: int) -> None:
    with pytest.raises(InvalidRequest, match="0 <= min <= max"):
        Scale(least, most, jobs=1, idle_s=30)


@pytest.mark.parametrize(("cpus", "gpus"), [(0, 0), (1, -1), (1, 1.5)])
def test_shares_that_cannot_be(cpus: float, gpus: float) -> None:
    with pytest.raises(InvalidRequest):
        Share(cpus, gpus)


def test_a_small_model_takes_a_part_of_a_gpu() -> None:
    assert gpu_share(["mini", "testcard"], 24 * GB) == 0.25
    assert gpu_share(["mini"], 3 * GB) == 0.5
    assert gpu_share(["mini"], 2 * GB) == 1.0
    assert gpu_share(["mini"], 1 * GB) == 1.0, "there is no more than one"
    assert [Share(cpus, 0).threads for cpus in (0.5, 1, 3.9)] == [1, 1, 3]


def test_what_workers_could_be_busy_with(database: Database) -> None:
    queue = Queue(database, Policy(max_running=3))
    ada, bob = queue.owner(), queue.owner("bob", max_running=1)
    for _ in range(2):
        queue.add()
        queue.add("bob")
    demand = queue.upkeep.demand
    assert demand() == 3, "bob may have one at a time"
    queue.claim("a")
    assert demand() == 3, "what runs counts as what waits does"
    queue.jobs.pause(PauseScope.owner(bob))
    assert demand() == 2
    queue.jobs.pause(PauseScope.everything())
    assert demand() == 1, "what runs is still to be given back"
    queue.jobs.resume(PauseScope.everything())
    for _ in range(5):
        queue.add()
    assert demand() == 3, "the policy's limit"
    assert demand(["mini"]) == 0
    queue.jobs.cancel_all(PauseScope.owner(ada))
    assert demand() == 1


def test_a_worker_is_told_how_many_videos_and_of_which_models() -> None:
    command = server._worker_command(Path("data"), 3, ["testcard", "mini"])
    assert command[1:3] == ["-m", "hibari"]
    context = typer.main.get_command(app).make_context("hibari", command[3:4])
    worker = context.command.get_command(context, "worker")  # pyright: ignore[reportAttributeAccessIssue]
    given = worker.make_context("worker", command[4:]).params
    assert (given["jobs"], given["with_parent"], given["data_dir"]) == (3, True, Path("data"))
    assert given["model"] == ["testcard", "mini"]


def test_importing_the_room_imports_neither_ray_nor_torch() -> None:
    source = Path(cluster.__file__).parent
    for path in source.glob("*.py"):
        top = [line for line in path.read_text().splitlines() if line.startswith(("import ", "from "))]
        assert not [line for line in top if line.split()[1].split(".")[0] in ("ray", "torch")], path.name
