"""Starts, watches and stops workers on Ray.

The cluster keeps no jobs and no record: what is to be done stands in the database, and who does it is known from the
workers themselves. Should this process die, Ray ends its workers, and the leases of their jobs run out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event
from time import monotonic
from typing import Any

from hibari import catalog
from hibari.cluster.member import Member, gpu_bytes
from hibari.cluster.scaling import Scale
from hibari.cluster.share import Share, gpu_share
from hibari.contracts import DatabaseError, InvalidRequest, MissingPart
from hibari.settings import ServerSettings, set_defaults

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
ASK_WITHIN_S = 5.0  # for a worker's own word
STOP_WITHIN_S = 9.0  # a worker stores what it has until then
LIVED_S = 10.0  # whoever lived so long did not die of its beginning
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
# A Ray that this process starts tells nobody anything, and has a loopback address: its variable for that has a name
# from other systems.
OWN_RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
OBJECTS_BYTES = 80 * 2**20  # of a Ray of our own: nothing goes through its store
SMALLEST_PART = 0.01  # of a GPU, to ask its node about it
CALLS_AT_ONCE = 4  # to a worker: `run`, which lasts, and short ones beside it


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker; `host` and `pid` are None until Ray has found a place for it."""

    host: str | None
    pid: int | None
    gpus: float
    stopping: bool


@dataclass(frozen=True, slots=True)
class Status:
    """How things stand.

    Attributes:
        demand: jobs that workers could be busy with; None while the database is away.
        wanted: workers that there should be.
        died: workers that ended by themselves, in all.
    """

    demand: int | None
    wanted: int
    workers: tuple[WorkerStatus, ...]
    died: int


@dataclass(eq=False)
class _Started:
    """A worker of ours. `ended` is Ray's promise of the end of its `run`, `place` that of where it is."""

    actor: Any
    ended: Any
    place: Any
    group: Any
    since_s: float
    at: tuple[str, int] | None = None
    stop_by_s: float | None = None


class Cluster:
    """Keeps as many workers running as the queue needs."""

    def __init__(
        self,
        settings: ServerSettings,
        demand: Callable[[], int],
        scale: Scale,
        *,
        address: str,
        cpus: float = 1.0,
        gpus: float | None = None,
        models: Sequence[str] | None = None,
        on_change: Callable[[Status], None] = lambda _: None,
    ) -> None:
        """Nothing runs yet.

        Args:
            settings: of the server whose jobs are to be made; every worker gets them, the database's URL included.
            demand: how many jobs workers could be busy with; raises DatabaseError.
            scale: how many workers there may be.
            address: "local" starts a Ray in this process, which ends with it; "auto" is the one that runs on this
                machine; otherwise HOST:PORT of a cluster's head.
            cpus: of each, see `Share`.
            gpus: of each; None is what its models need of a GPU where the cluster has any, and none otherwise.
            models: only jobs of these; None is of any.
            on_change: is told how things stand, whenever that changes.

        Raises:
            InvalidRequest: `cpus` or `gpus` is not possible.
            MissingPart: Ray is not installed.
        """
        self._share = Share(cpus, gpus or 0)
        if address == "local":
            set_defaults(**OWN_RAY)
        try:
            import ray
            import ray.exceptions
        except ModuleNotFoundError as error:
            raise MissingPart(
                "a cluster needs the package ray; install it with: pip install 'hibari[cluster]'"
            ) from error
        self._ray: Any = ray  # its decorated functions have types that no checker follows
        self._settings = settings
        self._demand = demand
        self._scale = scale
        self._cpus = cpus
        self._gpus = gpus
        self._models = models
        self._on_change = on_change
        self._address = address
        self._stopping = Event()
        self._started: list[_Started] = []
        self._status: Status | None = None
        self._wanted = scale.least
        self._seen: int | None = None
        self._enough_since_s: float | None = None
        self._died = 0
        self._pause_s = FIRST_PAUSE_S
        self._not_before_s = 0.0

    def stop(self) -> None:
        """Stop all workers in peace, and let `run` return; from any thread or signal."""
        self._stopping.set()

    def connect(self) -> None:
        """Come to the Ray, or start it. Ray takes the termination signal for itself here.

        Raises:
            MissingPart: there is none.
            InvalidRequest: it has several nodes, and the database is of one.
        """
        ray, address = self._ray, self._address
        own = {"include_dashboard": False, "object_store_memory": OBJECTS_BYTES} if address == "local" else {}
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False, **own)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise MissingPart(
                f"there is no Ray at {address}: {error}; start one with `ray start --head`, or say --address local"
            ) from error
        nodes = sum(node["Alive"] for node in ray.nodes())
        if nodes > 1 and self._settings.database.startswith("sqlite"):
            ray.shutdown()
            raise InvalidRequest(
                f"this Ray has {nodes} nodes, and SQLite serves one; set HIBARI_DATABASE to a PostgreSQL",
                field="HIBARI_DATABASE",
            )
        gpus = self._needed_gpus() if self._gpus is None else self._gpus
        self._share = Share(self._cpus, gpus)
        if gpus > 1:
            logger.warning(
                "each worker has a group of %d GPUs on one node, and computes on the first; the others are kept for "
                "it and idle",
                gpus,
            )

    def run(self) -> None:
        """Work until `stop`, after `connect`.

        Raises:
            MissingPart: Ray is gone. The jobs are not: any other worker goes on with them.
        """
        try:
            while not self._stopping.is_set():
                self._look()
                self._stopping.wait(LOOK_EVERY_S)
            self._stop_all()
        except BrokenPipeError:  # of whoever listened to `on_change`
            raise
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise MissingPart(
                f"Ray is gone: {type(error).__name__}; its workers' videos go to any other worker once their leases "
                "are out"
            ) from error
        finally:
            self._ray.shutdown()

    # ------------------------------------------------------------ looking after them

    def _look(self) -> None:
        """One look at the queue and at the workers, and what follows from it."""
        self._bury()
        try:
            self._seen = self._demand()
            self._wanted = self._scale.wanted(self._seen)
        except DatabaseError as error:  # as many as there were
            logger.warning("cannot look at the queue: %s", error)
            self._seen = None
        working = [one for one in self._started if one.stop_by_s is None]
        if len(working) < self._wanted and monotonic() >= self._not_before_s:
            for _ in range(self._wanted - len(working)):
                self._start()
        self._shrink(working)
        self._tell()

    def _start(self) -> None:
        share, group = self._share, None
        options: dict[str, Any] = {"num_cpus": share.cpus, "num_gpus": min(share.gpus, 1)}
        if share.gpus > 1:
            from ray.util.placement_group import placement_group
            from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

            # The GPUs of one generation must reach each other quickly. A bundle each: one process drives one GPU.
            rest = [{"GPU": 1.0}] * (int(share.gpus) - 1)
            group = placement_group([{"GPU": 1.0, "CPU": share.cpus}, *rest], strategy="STRICT_PACK")
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=0
            )
        actor = (
            self._ray.remote(Member)
            .options(max_concurrency=CALLS_AT_ONCE, **options)
            .remote(self._settings, self._models, self._scale.jobs, share)
        )
        self._started.append(_Started(actor, actor.run.remote(), actor.place.remote(), group, monotonic()))

    def _bury(self) -> None:
        """Those that have ended are let go; those that do not stop are ended."""
        for one in list(self._started):
            if one.at is None and self._is_there(one.place):
                one.at = self._word(one.place)
            if self._is_there(one.ended):
                self._ended(one)
            elif one.stop_by_s is not None and monotonic() > one.stop_by_s:
                logger.warning("the worker %s does not stop; it is killed", _name(one))
                self._let_go(one)

    def _ended(self, one: _Started) -> None:
        try:
            self._ray.get(one.ended)
            problem = "without being told to"
        except self._ray.exceptions.RayError as error:
            problem = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
        self._let_go(one)
        if one.stop_by_s is not None:
            logger.info("the worker %s has stopped", _name(one))
            return
        self._died += 1
        lived = monotonic() - one.since_s >= LIVED_S
        self._pause_s = FIRST_PAUSE_S if lived else min(LONGEST_PAUSE_S, 2 * self._pause_s)
        self._not_before_s = monotonic() + self._pause_s
        logger.error(
            "the worker %s ended (%s); another one starts in %.1f s", _name(one), problem, self._pause_s
        )

    def _let_go(self, one: _Started) -> None:
        self._ray.kill(one.actor)
        if one.group is not None:
            from ray.util.placement_group import remove_placement_group

            remove_placement_group(one.group)
        self._started.remove(one)

    def _shrink(self, working: Sequence[_Started]) -> None:
        """Stop workers that are not needed and have nothing in hand, once that has lasted."""
        if len(working) <= self._wanted:
            self._enough_since_s = None
            return
        if self._enough_since_s is None:
            self._enough_since_s = monotonic()
        if monotonic() - self._enough_since_s < self._scale.idle_s:
            return
        too_many = len(working) - self._wanted
        for one in sorted(working, key=lambda one: one.at is not None):
            if too_many == 0:
                return
            if one.at is None:  # it waits for a place, so it has nothing, and cannot be asked
                self._let_go(one)
                too_many -= 1
            elif self._word(one.actor.held.remote()) == 0:
                self._tell_to_stop(one)
                too_many -= 1

    def _tell_to_stop(self, one: _Started) -> None:
        one.actor.stop.remote()
        one.stop_by_s = monotonic() + STOP_WITHIN_S

    def _stop_all(self) -> None:
        for one in list(self._started):
            if one.at is None:
                self._let_go(one)
            elif one.stop_by_s is None:
                self._tell_to_stop(one)
        while self._started:
            self._ray.wait([one.ended for one in self._started], timeout=LOOK_EVERY_S)
            self._bury()
        self._tell()

    # ------------------------------------------------------------ asking

    def _is_there(self, promise: Any) -> bool:
        return bool(self._ray.wait([promise], timeout=0)[0])

    def _word(self, promise: Any) -> Any:
        """What a worker says; None if it does not, which shows soon in its end."""
        try:
            return self._ray.get(promise, timeout=ASK_WITHIN_S)
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.GetTimeoutError):
            return None

    def _needed_gpus(self) -> float:
        """What the models need of this cluster's GPUs; 0 where it has none."""
        if not self._ray.cluster_resources().get("GPU"):
            return 0.0
        ask = self._ray.remote(gpu_bytes).options(num_cpus=0, num_gpus=SMALLEST_PART)
        size = self._ray.get(ask.remote())
        return 1.0 if size is None else self._gpu_share(size)

    def _gpu_share(self, gpu_bytes: int) -> float:
        models = self._settings.models
        return gpu_share(self._models or catalog.names(models), gpu_bytes, models)

    def _tell(self) -> None:
        workers = tuple(
            WorkerStatus(*(one.at or (None, None)), self._share.gpus, one.stop_by_s is not None)
            for one in self._started
        )
        status = Status(self._seen, self._wanted, workers, self._died)
        if status != self._status:
            self._status = status
            self._on_change(status)


def _name(one: _Started) -> str:
    return "that has no place yet" if one.at is None else f"{one.at[1]} on {one.at[0]}"
