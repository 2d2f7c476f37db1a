"""The worker's loop."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Collection
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Event, Lock
from time import monotonic
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from PIL import Image
from torch import Tensor

from hibari import engine, tools
from hibari.assignment import Assignment, preview_name
from hibari.contracts import (
    ClaimLost,
    DatabaseError,
    HibariError,
    OutputError,
    QuotaReached,
    WeightsError,
)
from hibari.db import Database
from hibari.engine import Engine, TextCache
from hibari.engine.checkpoints import SUFFIX
from hibari.jobs import Claim, Claims, Job, Jobs, Order, Policy, StoredFiles, Upkeep, worker_name
from hibari.media.storage import Storage
from hibari.models.protocol import Model
from hibari.worker.failures import failure_of
from hibari.worker.heart import Heart
from hibari.worker.held import CHECKPOINTS, CLIP, PREVIEWS, SOURCES, Held, tidy
from hibari.worker.housekeeping import Housekeeping
from hibari.worker.output import Aborted, MakeClip, Output, decoded, trimmed
from hibari.worker.scratch import Scratch
from hibari.worker.wishes import wish_of

logger = logging.getLogger(__name__)

MAX_JOBS = 8  # at a time
LOOK_EVERY_S = 0.25  # for new jobs
REPORT_EVERY_S = 0.2  # steps of one job; a step that takes longer is reported as it is done
PREVIEW_EVERY_S = 1.0
CHECKPOINT_EVERY_S = 5.0
STOP_WITHIN_S = 6.0  # for clips that are being written when the worker stops
RETRY_EVERY_S = 0.5


class Worker:
    """Takes jobs until it is told to stop."""

    def __init__(
        self,
        database: Database,
        storage: Storage,
        load: Callable[[str], Model],
        *,
        policy: Policy | None = None,
        models: Collection[str] | None = None,
        max_jobs: int = MAX_JOBS,
        memory_bytes: int | None = None,
        text_cache: TextCache | None = None,
        checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    ) -> None:
        """A worker that has not begun.

        Args:
            database: with its tables.
            storage: where clips go and sources come from.
            load: gives a model by its name.
            policy: of the queue.
            models: only jobs of these; None is of any.
            max_jobs: held at a time, 1 or more.
            memory_bytes: see `Engine`.
            text_cache: see `Engine`.
            checkpoint_every_s: a job's state is stored at most this often.
        """
        self.name = worker_name()
        self._storage = storage
        self._load = load
        self._models = models
        self._max_jobs = max_jobs
        self._checkpoint_every_s = checkpoint_every_s
        self._claims = Claims(database, self.name, policy=policy)
        self._scratch = Scratch()
        self._engine = Engine(
            self._model,
            find=lambda name: self._model(name).spec,
            checkpoints=self._scratch.folder,
            checkpoint_every_s=checkpoint_every_s,
            memory_bytes=memory_bytes,
            text_cache=text_cache,
        )
        # The engine decides which models stay; a job keeps its own.
        self._loaded: WeakValueDictionary[str, Model] = WeakValueDictionary()
        self._held: dict[str, Held] = {}
        self._lock = Lock()
        self._stopping = Event()
        self._looked_s = 0.0
        self._heart = Heart(self._claims, self._all_held, self._obey, self._lose)
        self._housekeeping = Housekeeping(
            Jobs(database, policy=policy), Upkeep(database, policy=policy), StoredFiles(database), storage
        )

    @property
    def held(self) -> int:
        """How many jobs it holds now."""
        with self._lock:
            return len(self._held)

    def stop(self) -> None:
        """Take no more, give back what is held with its state, and let `run` return; from any thread or signal."""
        self._stopping.set()

    def run(self) -> None:
        """Work until `stop`."""
        self._heart.start()
        self._housekeeping.start()
        logger.info("worker %s takes jobs", self.name)
        try:
            while not self._stopping.is_set():
                self._take()
                for event in self._engine.events():
                    self._handle(event)
                    if self._stopping.is_set():
                        break
                    self._take()
                self._stopping.wait(max(0.0, self._looked_s + LOOK_EVERY_S - monotonic()))
        finally:
            self._give_back()
            self._housekeeping.stop()
            self._heart.stop()
            self._scratch.remove()
            logger.info("worker %s has stopped", self.name)

    def _all_held(self) -> list[Held]:
        with self._lock:
            return list(self._held.values())

    # ------------------------------------------------------------ taking

    def _take(self) -> None:
        """New jobs, if it is time to look and there is room."""
        if monotonic() - self._looked_s < LOOK_EVERY_S:
            return
        while len(self._all_held()) < self._max_jobs and not self._stopping.is_set():
            try:
                claim = self._claims.claim(self._models)
            except DatabaseError as error:
                logger.warning("cannot look for jobs: %s", error)
                claim = None
            self._looked_s = monotonic()
            if claim is None:
                return
            self._begin(claim)
        self._looked_s = monotonic()

    def _begin(self, claim: Claim) -> None:
        """From a claim to a generation in the engine."""
        id_ = f"{claim.job.id}-{claim.attempt}"
        held = Held(claim, id_, self._scratch.folder / id_, reported_s=monotonic())
        with self._lock:
            self._held[id_] = held
        logger.info("job %s attempt %d begins", claim.job.id, claim.attempt)
        try:
            sources = held.folder / SOURCES
            sources.mkdir(parents=True)
            assignment = Assignment.from_json(claim.job.request["assignment"])
            if assignment.tool == "trim":
                self._trim(held, assignment)
            else:
                held.model = self._model(claim.job.model)
                held.plan = tools.plan_job(held.model, wish_of(assignment, self._storage, sources))
                shutil.rmtree(sources)
                if not self._restore(held):
                    self._submit(held)
        except Exception as error:  # noqa: BLE001 - this job's end, and not the worker's
            self._fail(held, error)
            return
        # It may have been cancelled, paused or lost while it was prepared, when nothing worked on it yet.
        if held.over.is_set():
            self._obey(held, Order.CANCEL)
        elif held.wanted is not Order.GO_ON:
            self._obey(held, held.wanted)

    def _trim(self, held: Held, assignment: Assignment) -> None:
        """No work of the engine's: from file to file. The worker does not wait for it."""
        clip = trimmed(assignment, self._storage, held.folder / SOURCES)
        self._heart.beat(held, step=0, steps=1)
        self._write(held, clip, None)

    def _model(self, name: str) -> Model:
        model = self._loaded.get(name)
        if model is None:
            self._loaded[name] = model = self._load(name)
        return model

    def _submit(self, held: Held) -> None:
        assert held.plan is not None
        plan = held.plan
        self._engine.submit(
            plan.request, start=plan.start, owner=held.claim.job.owner, id=held.id, extra=plan.extra
        )

    def _restore(self, held: Held) -> bool:
        """Go on from the job's checkpoint, if it has one that can be read."""
        key = held.claim.job.checkpoint
        if key is None or self._storage.find(key) is None:
            return False
        self._storage.copy_to(key, self._file(held))
        if held.id not in self._engine.restore():
            logger.warning("job %s: its checkpoint is damaged; it begins again", held.claim.job.id)
            self._rename(held)
            return False
        held.restored = True
        self._engine.resume(held.id)  # a checkpoint of a pause is paused
        return True

    def _rename(self, held: Held) -> None:
        """Another name in the engine, so that what it still says of the old one concerns nobody."""
        with self._lock:
            del self._held[held.id]
            held.id = f"{held.id}-again"
            self._held[held.id] = held
        held.restored = False

    def _file(self, held: Held) -> Path:
        """The engine's checkpoint of a job."""
        return self._scratch.folder / f"{held.id}{SUFFIX}"

    # ------------------------------------------------------------ what the engine says

    def _handle(self, event: engine.Event) -> None:
        held = self._held.get(event.id)
        if held is None:
            return
        try:
            match event:
                case engine.Started():
                    self._heart.beat(held, step=event.step, steps=event.total)
                case engine.StepDone():
                    self._step_done(held, event)
                case engine.Sampled():
                    self._begin_output(held, event)
                case engine.FramesDecoded():
                    if held.output is not None:
                        held.output.put(event.frames)
                case engine.Finished():
                    # The engine would take it up again at the next `restore`.
                    self._file(held).unlink(missing_ok=True)
                    if held.output is not None:
                        held.output.put(None)
                case engine.Failed():
                    self._failed(held, event.error)
                case engine.Paused():
                    self._paused(held)
                case engine.Cancelled():
                    self._left(held)
                case engine.Queued() | engine.Resumed():
                    pass
        except Exception as error:  # noqa: BLE001 - this job's end, and not the worker's
            self._engine.cancel(held.id)
            self._fail(held, error)

    def _step_done(self, held: Held, event: engine.StepDone) -> None:
        now = monotonic()
        last = event.step == event.total
        if now - held.told_s < REPORT_EVERY_S and not last:
            return
        held.told_s = now
        preview = None
        if event.preview is not None and now - held.shown_s >= PREVIEW_EVERY_S:
            held.shown_s = now
            preview = self._put(
                held, PREVIEWS, event.step, preview_name(event.moments_s), _webp(event.preview)
            )
        checkpoint = self._store_checkpoint(held, event.step) if self._is_due(held) else None
        self._heart.beat(held, step=event.step, steps=event.total, preview=preview, checkpoint=checkpoint)
        if preview is not None:
            held.shown = self._replaced(held.shown, preview)
        if checkpoint is not None:
            held.saved = self._replaced(held.saved, checkpoint)

    def _is_due(self, held: Held) -> bool:
        if held.saved_s == 0.0:
            held.saved_s = monotonic()  # the first one is stored when there is something to lose
        return monotonic() - held.saved_s >= self._checkpoint_every_s

    def _store_checkpoint(self, held: Held, step: int) -> str | None:
        """The engine's latest checkpoint of a job, if it is newer than what is stored."""
        file = self._file(held)
        try:
            changed = file.stat().st_mtime_ns
        except FileNotFoundError:
            return None
        if changed == held.file_changed:
            return None
        held.saved_s, held.file_changed = monotonic(), changed
        return self._put(held, CHECKPOINTS, step, "state", file)

    def _put(self, held: Held, what: str, step: int, name: str, content: bytes | Path) -> str:
        key = f"{held.prefix}/{what}/{step}-{time.time_ns()}/{name}"
        return self._storage.put(key, content).key

    def _replaced(self, old: str | None, new: str) -> str:
        """The new key, now that the queue knows it; the old one's file goes."""
        if old is not None:
            self._storage.remove(old.rsplit("/", 1)[0])
        return new

    def _begin_output(self, held: Held, event: engine.Sampled) -> None:
        assert held.plan is not None
        assert held.model is not None
        clip = decoded(held.plan, held.model.spec, event.recipe, event.upscaled)
        # Where frames are cut out, the latent does not stand for the clip.
        self._write(held, clip, None if held.plan.cut else event.latent_CFHW)

    def _write(self, held: Held, clip: MakeClip, latent_CFHW: Tensor | None) -> None:
        held.output = Output(
            clip,
            self._storage,
            latent_CFHW=latent_CFHW,
            folder=held.folder,
            prefix=f"{held.prefix}/{CLIP}",
            on_end=partial(self._written, held),
        )

    # ------------------------------------------------------------ what the queue says

    def _obey(self, held: Held, order: Order) -> None:
        """From the heart's thread, or from the loop's own. What the engine does not have any more is being written: a
        cancellation ends that, a pause does not, as it is no work of the model's."""
        if order is Order.RELEASE:
            self._engine.pause(held.id)
        elif not self._engine.cancel(held.id) and held.output is not None:
            held.output.abort()

    def _lose(self, held: Held) -> None:
        """The job is somebody else's, or gone. What works on it ends, and then it is dropped."""
        held.over.set()
        logger.info("job %s attempt %d is no longer ours", held.claim.job.id, held.claim.attempt)
        self._obey(held, Order.CANCEL)

    # ------------------------------------------------------------ ends

    def _written(self, held: Held, result: dict[str, Any] | None, problem: BaseException | None) -> None:
        """From the clip's own thread: the files are stored, or something went wrong."""
        if isinstance(problem, Aborted):
            self._conclude(held)
        elif problem is not None:
            self._engine.cancel(held.id)
            self._fail(held, problem)
        elif result is not None:
            self._end(held, lambda: self._complete(held.claim, result))

    def _complete(self, claim: Claim, result: dict[str, Any]) -> Job:
        try:
            job = self._claims.complete(claim, result, stored_bytes=result["bytes"])
        except QuotaReached as error:  # no more is kept than may be, also where an estimate was too low
            failure = failure_of(error)
            logger.warning("job %s fails: %s: %s", claim.job.id, failure.code, error)
            return self._claims.fail(claim, failure.code, failure.message)
        logger.info("job %s is completed", claim.job.id)
        return job

    def _failed(self, held: Held, error: Exception) -> None:
        if held.restored and isinstance(error, WeightsError):
            logger.info("job %s: other weights than its checkpoint's; it begins again", held.claim.job.id)
            self._rename(held)
            self._submit(held)
            return
        self._fail(held, error)

    def _fail(self, held: Held, error: BaseException) -> None:
        failure = failure_of(error)
        if isinstance(error, HibariError):
            logger.warning("job %s fails: %s: %s", held.claim.job.id, failure.code, error)
        else:
            logger.error("job %s fails", held.claim.job.id, exc_info=error)
        self._end(
            held, lambda: self._claims.fail(held.claim, failure.code, failure.message, retry=failure.retry)
        )
        if held.output is not None:
            held.output.abort()

    def _paused(self, held: Held) -> None:
        """Keep its state, and let it leave the engine: what comes of that is `_left`."""
        held.saved = self._store_checkpoint(held, 0) or held.saved
        self._engine.cancel(held.id)

    def _left(self, held: Held) -> None:
        """The engine has let go of it. A clip that is being written has the last word."""
        if held.output is not None:
            held.output.abort()
        else:
            self._conclude(held)

    def _conclude(self, held: Held) -> None:
        """Nothing works on it any more, and it is not finished."""
        if held.wanted is Order.CANCEL:
            logger.info("job %s is cancelled", held.claim.job.id)
            self._end(held, lambda: self._claims.cancelled(held.claim))
        else:
            logger.info("job %s is given back", held.claim.job.id)
            self._end(held, lambda: self._claims.release(held.claim, checkpoint=held.saved))

    def _end(self, held: Held, say: Callable[[], Job]) -> None:
        """The last word on a job, unless that has been spoken or is not ours to speak."""
        with self._lock:
            known = self._held.pop(held.id, None)
        shutil.rmtree(held.folder, ignore_errors=True)
        if known is None:
            return
        job = None
        if not held.over.is_set():
            held.over.set()
            try:
                job = self._say(held, say)
            except DatabaseError as error:
                # Whoever takes it when the lease is out makes it again, from its checkpoint, and tidies up. Its files
                # stay: perhaps it was told, and only the answer was lost.
                logger.warning("job %s: its end cannot be told: %s", held.claim.job.id, error)
                return
        try:
            if job is not None and job.is_final:
                tidy(self._storage, job)
            else:
                # Others go on from a checkpoint of ours, and need nothing else.
                self._storage.remove(f"{held.prefix}/{CLIP}")
                self._storage.remove(f"{held.prefix}/{PREVIEWS}")
        except OutputError as error:  # housekeeping comes by, once the job is over
            logger.warning("job %s: what is over is not removed yet: %s", held.claim.job.id, error)

    def _say(self, held: Held, say: Callable[[], Job]) -> Job | None:
        """Say it, also to a database that is away for a moment; None if the job was not ours any more.

        Raises:
            DatabaseError: it stays away.
        """
        until = monotonic() + STOP_WITHIN_S
        was_away = False
        while True:
            try:
                try:
                    return say()
                except ClaimLost:
                    # If the database went away after it had heard us, it was ours until then.
                    job = self._claims.completed(held.claim) if was_away else None
                    if job is None:
                        logger.info("job %s was no longer ours", held.claim.job.id)
                    return job
            except DatabaseError:
                was_away = True
                if monotonic() >= until:
                    raise
                time.sleep(RETRY_EVERY_S)

    # ------------------------------------------------------------ the end of the worker

    def _give_back(self) -> None:
        """Every job with its state, so that others go on. Clips that are being written get a moment."""
        until = monotonic() + STOP_WITHIN_S
        outputs: list[Output] = []
        for held in self._all_held():
            in_engine = self._engine.pause(held.id)
            if in_engine:
                self._paused(held)
            if held.output is None:
                self._conclude(held)
                continue
            if in_engine:
                held.output.abort()
            outputs.append(held.output)
        for output in outputs:
            if not output.join(max(0.0, until - monotonic())):
                output.abort()
                output.join(1.0)


def _webp(frame: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "WEBP", quality=75)
    return buffer.getvalue()
