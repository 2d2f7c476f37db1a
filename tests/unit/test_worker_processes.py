"""Defends: a worker process for each GPU, each on its own and with its share of the threads, started again by itself;
and however many there are, they are stopped in the time of one. No GPU is needed: only their number is made up."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from threading import Event, Thread

import pytest
import torch

from hibari.cli.server import on_each_gpu
from hibari.cli.supervise import Supervisor, stop_all
from hibari.contracts import InvalidRequest, MissingPart
from hibari.engine import memory
from hibari.engine.processes import spread
from hibari.engine.runtime import gpus, prepare_torch
from hibari.settings import Settings
from server_process import until

# It says who it is, and lives until its parent lets go of it.
CHILD = (
    "import os, pathlib, sys; own = pathlib.Path(sys.argv[1], f'{os.getpid()}');"
    "own.write_text(os.environ['HIBARI_DEVICE'] + ' ' + os.environ['HIBARI_THREADS']);"
    "sys.stdin.read(); own.unlink()"
)
DEAF = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(''); time.sleep(60)"


def settings(device: str = "auto", threads: int = 1) -> Settings:
    return Settings.from_environment({"HIBARI_DEVICE": device, "HIBARI_THREADS": str(threads)})


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Three GPUs, as torch would count them, and which of them became its current one."""
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


def test_what_there_is_to_choose_from(three: list[torch.device]) -> None:
    assert [gpus(settings(device)) for device in ("auto", "cuda", "cuda:1", "cpu")] == [3, 3, 0, 0]


@pytest.mark.usefixtures("one_thread")
def test_a_gpu_by_its_number(three: list[torch.device]) -> None:
    assert prepare_torch(settings("cuda:2")) == torch.device("cuda:2")
    assert three == [torch.device("cuda:2")]
    assert prepare_torch(settings("auto")) == prepare_torch(settings("cuda")) == torch.device("cuda")
    assert prepare_torch(settings("cpu")) == torch.device("cpu")
    with pytest.raises(MissingPart, match=r"HIBARI_DEVICE is cuda:3, but the last GPU .* is cuda:2"):
        prepare_torch(settings("cuda:3"))


@pytest.mark.usefixtures("one_thread")
def test_where_there_is_none() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert gpus(settings()) == 0
    for device in ("cuda", "cuda:0"):
        with pytest.raises(MissingPart, match=f"HIBARI_DEVICE is {device}, but torch finds no CUDA GPU here"):
            prepare_torch(settings(device))


def test_what_is_no_device() -> None:
    for device in ("gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:1,2", "cuda:1\n"):
        with pytest.raises(InvalidRequest, match="must be auto, cpu, cuda, or a GPU as cuda:1"):
            settings(device)


def test_processes_of_one_generation_take_the_first_gpus(three: list[torch.device]) -> None:
    def load(**_: object) -> None:
        raise AssertionError("nothing is loaded for what cannot be")

    named = torch.device("cuda:1")
    with (
        pytest.raises(InvalidRequest, match="processes is 2; must be 1 to 1"),
        spread(load, processes=2, rows=2, threads=1, device=named),  # pyright: ignore[reportArgumentType]
    ):
        pass


def test_the_memory_of_a_gpu_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {torch.device("cuda"): 10 * 2**30, torch.device("cuda:1"): 20 * 2**30}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device], 2**40))
    for device, free_bytes in free.items():
        assert memory.default_budget_bytes(device) == int(memory.SHARE_OF_FREE * free_bytes)


def test_each_gpu_has_a_process(tmp_path: Path) -> None:
    def told() -> list[str]:
        return sorted(text for path in tmp_path.iterdir() if (text := path.read_text()))

    stopping = Event()
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    thread = Thread(target=on_each_gpu, args=(command, settings(threads=8), 3, stopping))
    thread.start()
    wanted = ["cuda:0 2", "cuda:1 2", "cuda:2 2"]
    try:
        until(lambda: told() == wanted)
        died = next(path for path in tmp_path.iterdir() if path.read_text().startswith("cuda:1"))
        others = set(tmp_path.iterdir()) - {died}
        died.unlink()
        os.kill(int(died.name), 9)
        until(lambda: told() == wanted)  # another one, on the same GPU
        assert others < set(tmp_path.iterdir()), "nobody else was disturbed"
    finally:
        stopping.set()
        thread.join(60)
    assert not thread.is_alive()
    assert list(tmp_path.iterdir()) == [], "all stopped in peace"


def test_many_stop_in_the_time_of_one(tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(4)]
    deaf = [Supervisor([sys.executable, "-c", DEAF, str(file)], stop_within_s=2.0) for file in files]
    for supervisor in deaf:
        supervisor.start()
    until(lambda: all(file.exists() for file in files))
    began_s = time.monotonic()
    deaf[0].tell()
    stop_all(deaf)
    assert 1.9 < time.monotonic() - began_s < 5
