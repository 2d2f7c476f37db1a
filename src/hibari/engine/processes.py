"""One generation on several processors or GPUs of a machine.

The first process runs the engine; the others wait for forward passes. The rows of a pass (the guided and the unguided
one, and those of variations) go to different groups of processes; in a group each process has a share of a row's
tokens, see `models.parallel`. The inputs of a pass are sent to all, so that nothing else of a generation need be known
there: progress, cancelling and checkpoints are those of the first process.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from math import gcd
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import FileStore, ProcessGroup  # pyright: ignore[reportPrivateImportUsage]

from hibari.contracts import InvalidRequest, ProcessLost
from hibari.engine.runtime import silence_torchao
from hibari.models.parallel import Tokens
from hibari.models.protocol import Conditioning, HasTables, Model, SplitsTokens

WAIT = timedelta(days=365)  # for the next pass: a paused generation is no error
ENDING_S = 5.0

Load = Callable[..., Model]
"""Called as `load(device=...)` in every process; it must be picklable."""


class _Place(NamedTuple):
    """How the processes meet, and what each does."""

    store: str
    processes: int
    rows: int
    threads: int
    device: str


@contextmanager
def spread(load: Load, *, processes: int, rows: int, threads: int, device: torch.device) -> Iterator[Model]:
    """A model whose forward passes so many processes compute together, until the block is left.

    The model is as exact as in one process, to rounding.

    Args:
        load: gives the model in each of them.
        processes: 1 or more, this one included; on GPUs one for each.
        rows: of the passes that will come, such as 2 with guidance.
        threads: of torch, for all processes together.

    Raises:
        InvalidRequest: so many processes cannot share this model, or there are fewer GPUs.
    """
    gpus = processes
    if device.type == "cuda":
        gpus = torch.cuda.device_count() if device.index is None else 1
    if not 1 <= processes <= gpus:
        raise InvalidRequest(
            f"processes is {processes}; must be 1 to {gpus}, one a GPU"
            if device.type == "cuda"
            else f"processes is {processes}; must be at least 1",
            field="processes",
        )
    model = load(device=device)
    if processes == 1:
        yield model
        return
    groups = gcd(processes, rows)
    _check(model, processes // groups, groups)
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory(prefix="hibari-") as folder:
        meeting = str(Path(folder) / "meeting")
        place = _Place(meeting, processes, groups, max(1, threads // processes), device.type)
        others = [
            context.Process(target=_serve, args=(rank, place, load), daemon=True)
            for rank in range(1, processes)
        ]
        for other in others:
            other.start()
        spread_model: _Spread | None = None
        try:
            spread_model = _Spread(_Member(0, place), model, others)
            yield cast("Model", spread_model)
        finally:
            if spread_model:
                spread_model.end()
            for other in others:
                if spread_model is None:
                    other.terminate()
                other.join(ENDING_S)
                if other.is_alive():
                    other.kill()
            if dist.is_initialized():
                dist.destroy_process_group()
            torch.set_num_threads(threads)


def _check(model: Model, each: int, groups: int) -> None:
    """That groups of so many processes can compute a row of the model.

    Raises:
        InvalidRequest: they cannot.
    """
    if each == 1:
        return
    of_rows = (
        f"{groups * each} processes are {each} for each of the {groups} rows that can be computed apart (2 with "
        "guidance, 1 without, for each variation)"
    )
    if not isinstance(model, SplitsTokens):
        raise InvalidRequest(
            f"{of_rows}, and {model.spec.name} cannot share a row; give it at most {groups}",
            field="processes",
        )
    if model.heads % each:
        fitting = ", ".join(str(n) for n in range(1, model.heads + 1) if model.heads % n == 0)
        raise InvalidRequest(
            f"{of_rows}, and {each} cannot share the {model.heads} attention heads of this model; what can: {fitting}",
            field="processes",
        )


class _Member:
    """One of the processes."""

    def __init__(self, rank: int, place: _Place) -> None:
        """Meet the others."""
        self._rank, self._rows = rank, place.rows
        self._each = place.processes // place.rows
        self.device = torch.device("cuda", rank) if place.device == "cuda" else torch.device("cpu")
        torch.set_num_threads(place.threads)
        if place.device == "cuda":
            torch.cuda.set_device(self.device)
        dist.init_process_group(
            "nccl" if place.device == "cuda" else "gloo",
            store=FileStore(place.store, place.processes),
            rank=rank,
            world_size=place.processes,
            timeout=WAIT,
        )
        groups = [
            cast(
                "ProcessGroup",
                dist.new_group([row * self._each + k for k in range(self._each)], timeout=WAIT),
            )
            for row in range(place.rows)
        ]
        self._tokens = Tokens(groups[rank // self._each]) if self._each > 1 else Tokens()

    def joined(self, model: Model) -> Model:
        """The model, which from now on computes with the others."""
        if self._each > 1:
            assert isinstance(model, SplitsTokens), "it was checked before there were processes"
            model.split(self._tokens)
        return model

    def share(self, inputs: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
        """What the first process says, in every process; None is the end."""
        said: list[Any] = [inputs and [(name, tensor.shape, tensor.dtype) for name, tensor in inputs.items()]]
        dist.broadcast_object_list(said, src=0, device=self.device)
        if said[0] is None:
            return None
        shared: dict[str, Tensor] = {}
        for name, shape, dtype in said[0]:
            if inputs is None:
                tensor = torch.empty(shape, dtype=dtype, device=self.device)
            else:
                tensor = inputs[name].to(self.device).contiguous()
            dist.broadcast(tensor.view(torch.uint8), src=0)  # gloo does not know every dtype
            shared[name] = tensor
        return shared

    @torch.inference_mode()
    def compute(self, model: Model, inputs: dict[str, Tensor]) -> Tensor | None:
        """The velocity of all rows in the first process; in the others None."""
        given = dict(inputs)
        latent, sigma, start = (given.pop(name) for name in _INPUTS)
        parts = torch.arange(len(latent)).tensor_split(self._rows)
        mine = parts[self._rank // self._each].to(self.device)
        own = None
        if len(mine):  # there may be fewer rows than groups
            own = model.velocity(
                latent[mine], sigma[mine], {name: tensor[mine] for name, tensor in given.items()}, start[mine]
            ).contiguous()
        if self._rank == 0:
            assert own is not None, "the first group always has a row"
            answers = [own]
            for group, part in enumerate(parts[1:], 1):
                if len(part):
                    answers.append(own.new_empty(len(part), *own.shape[1:]))
                    dist.recv(answers[-1], src=group * self._each)
            return torch.cat(answers)
        if own is not None and self._rank % self._each == 0:
            dist.send(own, dst=0)
        return None


_INPUTS = ("latent", "sigma", "start")  # the others are the conditioning


class _Spread:
    """`models.protocol.Model` in the first process: all but the forward pass is the model's own."""

    def __init__(self, member: _Member, model: Model, others: Sequence[BaseProcess]) -> None:
        self._member, self._others = member, others
        self._model = member.joined(model)
        self._lost = False
        if isinstance(model, HasTables):  # Python 3.12 and later look for no protocol behind `__getattr__`
            self.tables = model.tables

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def velocity(
        self, latent_BCFHW: Tensor, sigma_BF: Tensor, conditioning: Conditioning, start_B: Tensor
    ) -> Tensor:
        """See the protocol.

        Raises:
            ProcessLost: one of the processes has ended.
        """
        if self._lost:  # the others may be anywhere in the pass that failed
            raise ProcessLost("the processes that share this model no longer work together; start again")
        try:
            inputs = dict(zip(_INPUTS, (latent_BCFHW, sigma_BF, start_B), strict=True))
            shared = self._member.share(inputs | dict(conditioning))
            assert shared is not None
            velocity = self._member.compute(self._model, shared)
            assert velocity is not None
            return velocity
        except BaseException as error:
            self._lost = True
            if isinstance(error, RuntimeError) and (rank := self._ended()):
                raise ProcessLost(
                    f"process {rank} of the {len(self._others) + 1} that share this model has ended (exit code "
                    f"{self._others[rank - 1].exitcode}); what it said is above. Memory may have run out: each has "
                    "the whole of the weights"
                ) from error
            raise

    def end(self) -> None:
        """Let the others go."""
        if self._lost or self._ended():
            for other in self._others:
                other.terminate()
            return
        with suppress(RuntimeError):
            self._member.share(None)

    def _ended(self) -> int | None:
        """The first of the others that is no longer there."""
        for rank, other in enumerate(self._others, 1):
            other.join(0.2)
            if not other.is_alive():
                return rank
        return None


def _serve(rank: int, place: _Place, load: Load) -> None:
    """What the other processes do: compute passes until the first one is done, or gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the first one decides
    silence_torchao()
    member = _Member(rank, place)
    model = member.joined(load(device=member.device))
    while (inputs := member.share(None)) is not None:
        member.compute(model, inputs)
    dist.destroy_process_group()
