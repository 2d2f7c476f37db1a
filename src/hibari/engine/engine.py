"""Many generations side by side, a step at a time.

A turn is one forward pass or one decoded chunk. It goes to the generation that policy puts first, and every other one
that can share its forward pass comes along: of the same model and the same window shape, at whatever step.

Policy: higher priority first; then the owner that has had least; of one owner's generations first those that have not
begun, so that each soon has a preview, then the one with least left to do, so that a long one holds up no short one and
of equal ones the first is finished first. What an owner has had is counted in rows x tokens that were computed, and who
arrives or comes back starts level with those that wait: nobody saves up turns, and nobody's hundred jobs starve
another's one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from uuid import uuid4

import numpy as np
import torch

from hibari import catalog
from hibari.contracts import (
    GenerationRequest,
    HibariError,
    InvalidRequest,
    ModelSpec,
    WeightsError,
)
from hibari.diffusion.noise import generator_at
from hibari.engine import memory
from hibari.engine.checkpoints import Checkpoints
from hibari.engine.events import (
    Cancelled,
    Event,
    Failed,
    Finished,
    FramesDecoded,
    Paused,
    Queued,
    Resumed,
    Sampled,
    Started,
    StepDone,
)
from hibari.engine.loop import advance, predicted_x0, prepare
from hibari.engine.preview import preview_image, shown_frames
from hibari.engine.recipe import recipe_of
from hibari.engine.shares import Shares
from hibari.engine.start import Start
from hibari.engine.state import initial_state
from hibari.engine.text_cache import TextCache
from hibari.engine.unfinished import Unfinished, tokens
from hibari.engine.upscaling import upscale_factor, upscaled
from hibari.models.protocol import Model

CHECKPOINT_EVERY_S = 5.0
MAX_ROWS = 16


class Engine:
    """Owns loaded models and a set of generations.

    One thread drives it, by walking `events`; any thread may call `submit`, `cancel`, `pause` and `resume`.
    """

    def __init__(
        self,
        load: Callable[[str], Model],
        *,
        find: Callable[[str], ModelSpec] = catalog.find,
        checkpoints: Path | None = None,
        checkpoint_every_s: float = CHECKPOINT_EVERY_S,
        memory_bytes: int | None = None,
        text_cache: TextCache | None = None,
        max_rows: int = MAX_ROWS,
        previews: bool = True,
    ) -> None:
        """An engine with nothing to do.

        Args:
            load: gives a model by its name.
            find: gives a model's spec by its name.
            checkpoints: folder for the states of unfinished generations; None for none.
            checkpoint_every_s: a generation's state is saved at most this often.
            memory_bytes: what models and generations may take together; by default most of what is free now.
            text_cache: of prompts; by default one in memory.
            max_rows: of one forward pass.
            previews: whether `StepDone` carries one.
        """
        self._load = load
        self._find = find
        self._checkpoints = Checkpoints(checkpoints, checkpoint_every_s)
        self._chooses_budget = memory_bytes is None
        self._budget_bytes = memory.default_budget_bytes() if memory_bytes is None else memory_bytes
        self._text_cache = text_cache or TextCache()
        self._max_rows = max_rows
        self._previews = previews
        self._models: OrderedDict[str, Model] = OrderedDict()  # least recently used first
        self._generations: dict[str, Unfinished] = {}
        self._coming: set[str] = set()  # ids that are being submitted
        self._shares = Shares()
        self._news: deque[Event] = deque()
        self._handed_over: str | None = None  # its frames have been told; its checkpoint is still there
        self._rows_that_fit: dict[
            tuple[str, tuple[int, ...]], int
        ] = {}  # by model and window shape, once it ran out
        self._arrivals = 0
        self._closed = False
        self._changed = threading.Condition()

    def adopt(self, model: Model) -> None:
        """Take a model that is loaded already; the default budget is then that of its device."""
        self._models[model.spec.name] = model
        if self._chooses_budget:
            weights = model.footprint(1, 1, 1).weights
            self._budget_bytes = memory.default_budget_bytes(model.device, weights)

    # ------------------------------------------------------------ from any thread

    def submit(
        self,
        request: GenerationRequest,
        *,
        start: Start | None = None,
        owner: str = "",
        priority: int = 0,
        id: str | None = None,  # noqa: A002 - what it is called everywhere
        extra: Mapping[str, object] | None = None,
    ) -> str:
        """Put a generation in the queue.

        Args:
            request: what to make.
            start: frames that are given or to be changed.
            owner: whose it is; owners share the engine fairly.
            priority: higher goes first, before everything of a lower one.
            id: by default a new random one.
            extra: what its recipe should say besides.

        Returns:
            Its id.

        Raises:
            InvalidRequest: the id is taken, or `start` does not fit.
            UnknownModel: there is none of that name.
            OutputError: its checkpoint cannot be written.
        """
        model = self._models.get(request.model)
        spec = model.spec if model else self._find(request.model)
        if start:
            start.check(spec, request)
        generation = Unfinished(
            id=uuid4().hex if id is None else id,
            request=request,
            start=start,
            owner=owner,
            priority=priority,
            arrival=0,
            state=initial_state(spec, request, start),
            weights_sha256=model.weights_sha256 if model else None,
            extra=dict(extra or {}),
        )
        with self._changed:
            if generation.id in self._generations or generation.id in self._coming:
                raise InvalidRequest(f"there is already a generation {generation.id}", field="id")
            self._coming.add(generation.id)
            generation.arrival = self._arrivals
            self._arrivals += 1
        try:
            self._checkpoints.save(generation)
            self._enqueue(generation)
        finally:
            self._coming.discard(generation.id)
        return generation.id

    def cancel(self, id: str) -> bool:  # noqa: A002
        """End a generation before its next turn and free what it holds. False if there is none of that id (now)."""
        with self._changed:
            generation = self._generations.pop(id, None)
            if generation is None:
                return False
            self._forget(generation)
            self._checkpoints.remove(id)
            self._news.append(Cancelled(id))
            self._changed.notify_all()
            return True

    def pause(self, id: str) -> bool:  # noqa: A002
        """Give a generation no more turns until `resume`. False if there is none of that id (any more)."""
        return self._set_paused(id, True, Paused(id))

    def resume(self, id: str) -> bool:  # noqa: A002
        """Give a paused generation turns again. False if there is none of that id (any more)."""
        return self._set_paused(id, False, Resumed(id))

    def close(self) -> None:
        """`events` ends after the turn in work. Unfinished generations stay on disk, where there are checkpoints."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """Unfinished generations."""
        return len(self._generations)

    def _set_paused(self, id: str, paused: bool, news: Event) -> bool:  # noqa: A002
        with self._changed:
            generation = self._generations.get(id)
            if generation is None:
                return False
            if generation.paused != paused:
                generation.paused = paused
                if not paused:
                    generation.began_s, generation.began_step = monotonic(), generation.steps_made
                    self._level(generation)
                with suppress(HibariError):  # a full disk is told at the next step
                    self._checkpoints.save(generation)
                self._news.append(news)
                self._changed.notify_all()
            return True

    def _enqueue(self, generation: Unfinished) -> None:
        with self._changed:
            self._level(generation)
            self._news.append(Queued(generation.id, ahead=len(self._generations)))
            self._generations[generation.id] = generation
            self._changed.notify_all()

    def _level(self, generation: Unfinished) -> None:
        waiting = {g.owner for g in self._generations.values() if g is not generation and not g.paused}
        self._shares.level(generation.owner, waiting)

    def _is_here(self, generation: Unfinished) -> bool:
        """Whether it has not been cancelled meanwhile: another of the same id may have come since."""
        return self._generations.get(generation.id) is generation

    # ------------------------------------------------------------ the thread that drives it

    def events(self, *, wait: bool = False) -> Iterator[Event]:
        """Work, and tell what happens. Each turn is made when its first event is asked for.

        A finished generation's checkpoint is removed when the event after `Finished` is asked for: whoever stores the
        frames before that loses nothing in a crash.

        Args:
            wait: whether to wait for more when nothing is left to do, until `close`; else the iterator ends.
        """
        while True:
            if self._handed_over:  # whoever comes back for more has taken care of the frames
                self._checkpoints.remove(self._handed_over)
                self._handed_over = None
            with self._changed:
                while wait and not (self._closed or self._news or self._ready()):
                    self._changed.wait()
                if not self._news and (self._closed or not self._ready()):
                    return
                event = self._news.popleft() if self._news else None
            if event is None:
                events = self._turn()
                with self._changed:  # before what other threads did meanwhile
                    self._news.extendleft(reversed(events))
                continue
            if isinstance(event, Finished):
                self._handed_over = event.id
            yield event

    def restore(self) -> list[str]:
        """Take up every generation whose checkpoint lies in the folder, in the order of their submission.

        Returns:
            Their ids. What cannot be read is told as `Failed`, and its file is kept aside.
        """
        found, damaged = self._checkpoints.read_all(but=self._generations)
        with self._changed:
            self._news.extend(Failed(id_, error) for id_, error in damaged)
        for generation in found:
            self._enqueue(generation)
        with self._changed:
            self._arrivals = max([self._arrivals, *(generation.arrival + 1 for generation in found)])
        return [generation.id for generation in found]

    def _ready(self) -> list[Unfinished]:
        """Those that can have a turn, the one whose turn it is first."""
        ready = [generation for generation in self._generations.values() if not generation.paused]
        return sorted(
            ready,
            key=lambda g: (-g.priority, self._shares.had(g.owner), g.run is not None, g.left, g.arrival),
        )

    def _turn(self) -> list[Event]:
        with self._changed:
            ready = self._ready()
        if not ready:
            return []
        lead = ready[0]
        try:
            model = self._model(lead.request.model)
            events = self._started(lead, model)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the others
            return self._failed([lead], error)
        if lead.run is None or not self._is_here(lead):
            return events
        if lead.run.done:
            return events + self._decode(lead, model)
        batch, more = self._batch(lead, ready, model)
        return events + more + self._step(batch, model)

    def _batch(
        self, lead: Unfinished, ready: Sequence[Unfinished], model: Model
    ) -> tuple[list[Unfinished], list[Event]]:
        """The lead and who comes along in its forward pass."""
        assert lead.run is not None
        batch, events, rows, shape = [lead], [], lead.run.rows, lead.run.window_shape
        row = model.footprint(*shape[1:]).row
        most = min(self._max_rows, (self._budget_bytes - self._held_bytes()) // row)
        most = min(most, self._rows_that_fit.get((model.spec.name, shape), most))
        for other in ready[1:]:
            if lead.request.deterministic:
                break
            if other.request.model != lead.request.model or other.request.deterministic:
                continue
            if not self._is_here(other):
                continue
            if other.run and (other.run.done or other.run.kind != lead.run.kind):
                continue
            if not other.run and self._first_shape(other, model) != shape:
                continue
            wanted = rows + (other.run.rows if other.run else memory.most_rows(model.spec, other.request))
            if wanted > most:
                continue
            try:
                events += self._started(other, model)
            except Exception as error:  # noqa: BLE001
                events += self._failed([other], error)
                continue
            if other.run is None or other.run.kind != lead.run.kind:
                continue  # its first stage turned out to be another
            batch.append(other)
            rows = wanted
        return batch, events

    def _first_shape(self, generation: Unfinished, model: Model) -> tuple[int, ...]:
        """The window shape that one that has not begun will most likely have."""
        channels, frames, height, width = generation.state.latent_CFHW.shape
        return channels, min(frames, model.spec.window_frames), height, width

    def _started(self, generation: Unfinished, model: Model) -> list[Event]:
        """Make its run, if that has not been done."""
        if generation.run:
            return []
        memory.check_fits(model, generation.request, self._budget_bytes)
        restored = generation.state.step or generation.state.stage
        if restored and generation.weights_sha256 != model.weights_sha256:
            raise WeightsError(
                f"generation {generation.id} was begun with other weights of {model.spec.name}; make it again"
            )
        self._make_room_for_text(model, generation)
        generation.run = prepare(
            model,
            generation.request,
            generation.start,
            encode=lambda prompt: self._text_cache.encode(model, prompt),
            state=generation.state,
        )
        generation.weights_sha256 = model.weights_sha256
        generation.began_s, generation.began_step = monotonic(), generation.run.steps_made
        return [Started(generation.id, generation.run.steps_made, generation.run.total_steps)]

    def _step(self, batch: list[Unfinished], model: Model) -> list[Event]:
        with self._changed:
            batch = [generation for generation in batch if self._is_here(generation)]
            runs = [generation.run for generation in batch if generation.run]
        if not runs:
            return []
        try:
            advanced = advance(model, runs)
        except Exception as error:  # noqa: BLE001
            ran_out = memory.is_out_of_memory(error)
            if len(batch) == 1:
                return self._failed(batch, memory.out_of_memory(model, runs[0]) if ran_out else error)
            if ran_out:
                rows = sum(run.rows for run in runs)
                self._rows_that_fit[model.spec.name, runs[0].window_shape] = rows - 1
            advanced = None
        if advanced is None:
            # One at a time, so that only whose fault it is is lost. Not inside `except`: the traceback would keep what
            # the failed pass held.
            return [event for generation in batch for event in self._step([generation], model)]
        events: list[Event] = []
        for generation, before, run in zip(batch, runs, advanced, strict=True):
            with self._changed:  # it may have been cancelled meanwhile, and must not come back on disk
                if not self._is_here(generation):
                    continue
                self._shares.charge(generation.owner, before.rows * tokens(before))
                generation.run, generation.state = run, run.state
                generation.batched |= len(batch) > 1
                events.append(self._step_done(generation, model))
                if run.done or self._checkpoints.is_due(generation):
                    try:
                        self._checkpoints.save(generation)
                    except HibariError as error:
                        events += self._failed([generation], error)
        return events

    def _step_done(self, generation: Unfinished, model: Model) -> StepDone:
        run = generation.run
        assert run is not None
        made = run.steps_made - generation.began_step
        pace_s = (monotonic() - generation.began_s) / made
        preview, moments_s = None, ()
        if self._previews:
            stage = run.plan[run.state.stage]
            asked = [index for index, known in enumerate(stage.given) if not known]
            shown, moments_s = shown_frames(model.spec, generation.request, stage.start, asked)
            x0_CFHW = predicted_x0(run)
            preview = np.concatenate(
                [preview_image(x0_CFHW[:, index], model.rgb_from_latent) for index in shown], axis=1
            )
        left = run.total_steps - run.steps_made
        return StepDone(generation.id, run.steps_made, run.total_steps, pace_s * left, preview, moments_s)

    def _decode(self, generation: Unfinished, model: Model) -> list[Event]:
        """One chunk; after the last one the generation is finished."""
        total, events = generation.request.native_frames, list[Event]()
        try:
            with torch.inference_mode():
                if generation.decoder is None:
                    extra = {**generation.extra, "batched": generation.batched}
                    factor = upscale_factor(generation.request, model)
                    recipe = recipe_of(generation.request, model, extra, factor)
                    latent_CFHW = generation.state.latent_CFHW.cpu()
                    events.append(Sampled(generation.id, recipe, latent_CFHW, factor))
                    generation.decoder = model.decode(
                        generation.state.latent_CFHW.to(model.dtype),
                        generator_at(generation.state.generator),
                        preset=generation.request.preset,
                    )
                chunk = next(generation.decoder, None)
            if chunk is None:
                raise RuntimeError(f"{model.spec.name} decoded {generation.frames_done} frames of {total}")
            chunk = upscaled(chunk[: total - generation.frames_done], generation.request, model)
            frames: np.ndarray = chunk.contiguous().cpu().numpy()
        except Exception as error:  # noqa: BLE001
            if memory.is_out_of_memory(error) and generation.run:
                error = memory.out_of_memory(model, generation.run)
            return self._failed([generation], error)
        generation.frames_done += len(frames)
        latent = generation.state.latent_CFHW
        with self._changed:
            if not self._is_here(generation):
                return []
            self._shares.charge(generation.owner, latent[0, 0].numel())
            events.append(FramesDecoded(generation.id, frames, generation.frames_done, total))
            if generation.frames_done == total:
                events.append(Finished(generation.id))
                del self._generations[generation.id]
                self._forget(generation)
        return events

    def _failed(self, generations: Sequence[Unfinished], error: Exception) -> list[Event]:
        events: list[Event] = []
        with self._changed:
            for generation in generations:
                if self._is_here(generation):
                    del self._generations[generation.id]
                    self._forget(generation)
                    self._checkpoints.remove(generation.id)
                    events.append(Failed(generation.id, error))
        return events

    def _forget(self, generation: Unfinished) -> None:
        """After it has left. A turn that still works on it holds the last reference to its tensors."""
        if not any(other.owner == generation.owner for other in self._generations.values()):
            self._shares.forget(generation.owner)

    # ------------------------------------------------------------ models and memory

    def _model(self, name: str) -> Model:
        """The model of that name, loaded if it was not; idle ones make room for it."""
        if name not in self._models:
            self._models[name] = self._load(name)
            self._evict_idle(name)
        self._models.move_to_end(name)
        return self._models[name]

    def _held_bytes(self) -> int:
        """Weights of all loaded models, and states of all generations."""
        weights = sum(model.footprint(1, 1, 1).weights for model in self._models.values())
        with self._changed:
            states = sum(3 * g.state.latent_CFHW.nbytes for g in self._generations.values())
        return weights + states

    def _evict_idle(self, wanted: str) -> None:
        """Unload models that no generation needs, least recently used first, until the budget holds."""
        with self._changed:
            needed = {generation.request.model for generation in self._generations.values()} | {wanted}
        for name in [*self._models]:
            if self._held_bytes() <= self._budget_bytes:
                return
            if name not in needed:
                del self._models[name]

    def _make_room_for_text(self, model: Model, generation: Unfinished) -> None:
        """Without room for text encoder and transformer's work at once, the encoder leaves before the steps begin."""
        request = generation.request
        text = memory.window_footprint(model, request).text_encoder
        turn = memory.turn_bytes(model, request, memory.most_rows(model.spec, request))
        if self._held_bytes() + turn + text > self._budget_bytes:
            for prompt in generation.prompts:
                self._text_cache.encode(model, prompt)
            model.release_text_encoder()
