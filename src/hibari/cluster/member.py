"""A worker as a Ray actor."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from hibari.cluster.share import Share
from hibari.settings import ServerSettings, Settings


class Member:
    """The worker of `hibari worker`, in a process that Ray has placed. The actor's calls come from several threads."""

    def __init__(
        self, settings: ServerSettings, models: Sequence[str] | None, max_jobs: int, share: Share
    ) -> None:
        """Put a worker together. The server's settings are those of `hibari cluster`; threads are what Ray was asked
        for, and everything else about the machine is read where this runs.

        Raises:
            HibariError: the database, the storage or the device cannot be had.
        """
        from hibari.worker import worker_on

        logging.basicConfig(level=logging.INFO)
        machine = replace(Settings.from_environment(), threads=share.threads)
        if 0 < share.gpus < 1:
            _limit_gpu(machine, share.gpus)
        with ExitStack() as stack:
            self._worker = stack.enter_context(worker_on(settings, machine, models=models, max_jobs=max_jobs))
            self._closing = stack.pop_all()

    def place(self) -> tuple[str, int]:
        """Host and process id."""
        return socket.gethostname(), os.getpid()

    def run(self) -> None:
        """Work until `stop`."""
        with self._closing:
            self._worker.run()

    def stop(self) -> None:
        """Take no more, and give back what is held with its state; `run` returns then."""
        self._worker.stop()

    def held(self) -> int:
        """How many jobs it holds now."""
        return self._worker.held


def gpu_bytes() -> int | None:
    """Memory of this node's smallest GPU; None if torch finds none. For a Ray task."""
    import torch

    if not torch.cuda.is_available():
        return None
    return min(torch.cuda.get_device_properties(n).total_memory for n in range(torch.cuda.device_count()))


def _limit_gpu(machine: Settings, part: float) -> None:
    """Ray only counts parts of GPUs: that a worker keeps to its own is torch's to see to."""
    import torch

    if machine.device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(part)
