"""One update at a time: a pure function from state to state, for one generation or for several in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, ModelSpec
from hibari.diffusion.convention import x0_from_velocity
from hibari.diffusion.guidance import Skip, away_from, guide, projected
from hibari.diffusion.noise import draw, generator_at
from hibari.diffusion.sampler import Evaluation
from hibari.engine.start import Start
from hibari.engine.state import GenerationState, initial_state
from hibari.models.plan import Plan, Stage
from hibari.models.protocol import Conditioning, HasTables, Model


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A generation between two updates: what it is to become, and where it stands.

    Attributes:
        request: what was asked for.
        plan: its stages.
        conditioning: rows 0 to K - 1 are the prompts (one, or the storyboard's cards); row K is the negative prompt,
            where guidance needs it.
        weight_KF: how much each prompt counts in each latent frame of the clip; columns sum to 1.
        state: where it stands.
        levels: the noise levels of the whole plan.
        tables: what the model said before of each row of the conditioning at each of these levels.
    """

    request: GenerationRequest
    plan: Plan
    conditioning: Conditioning
    weight_KF: Tensor
    state: GenerationState
    levels: tuple[float, ...]
    tables: Conditioning

    @property
    def done(self) -> bool:
        """Whether every update of every stage has been made."""
        return self.steps_made == self.total_steps

    @property
    def steps_made(self) -> int:
        """Updates behind the state, over all stages."""
        return sum(stage.steps for stage in self.plan[: self.state.stage]) + self.state.step

    @property
    def total_steps(self) -> int:
        """Updates of the whole plan."""
        return sum(stage.steps for stage in self.plan)

    @property
    def entered(self) -> Run:
        """The same at the beginning of the next stage, if its own is finished."""
        state = self.state
        if state.step < self.plan[state.stage].steps:
            return self
        fresh = replace(
            state, stage=state.stage + 1, step=0, velocity_CFHW=None, x0_CFHW=None, change=inf, reused=False
        )
        return replace(self, state=fresh)

    @property
    def window_shape(self) -> tuple[int, ...]:
        """[C, frames, H, W] of the next update."""
        channels, _, height, width = self.state.latent_CFHW.shape
        stage = self.plan[self.entered.state.stage]
        return channels, stage.frames, height // stage.shrink, width // stage.shrink

    @property
    def kind(self) -> tuple[int, ...]:
        """Runs of one kind can share a forward pass: of one window shape and, where a stage is shown what has been made
        before, with as much before the window; with as many pictures beside the clip; and both with steps that skip
        blocks, or both without."""
        stage = self.plan[self.entered.state.stage]
        before = (stage.start, stage.shrink) if stage.context else ()
        return bool(stage.skips), len(self.state.keyframes_at), *self.window_shape, *before

    @property
    def rows(self) -> int:
        """Rows of the next update's batch: none where it reuses a velocity."""
        entered = self.entered
        return 0 if entered.reuses else len(entered._rows().chosen)

    @property
    def reuses(self) -> bool:
        """Whether the next update takes over the last velocity: never twice in a row, and not at a stage's end, where
        the details come."""
        state = self.state
        is_last = state.step == self.plan[state.stage].steps - 1
        return state.change < self.request.reuse and not state.reused and not is_last

    def _rows(self) -> _Rows:
        stage = self.plan[self.state.stage]
        counts_KF = self.weight_KF[:, stage.start : stage.end].numpy()
        active = [prompt for prompt, counts_F in enumerate(counts_KF) if counts_F.any()]
        guided = self.request.guidance_scale != 1 and stage.guidance[self.state.step] != 1
        skip = stage.skips[self.state.step] if stage.skips else None
        chosen = active + [len(self.weight_KF)] * guided + active * (skip is not None)
        return _Rows(chosen, len(active), guided, skip)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """What the network is asked for one update.

    Attributes:
        chosen: rows of the run's conditioning: the prompts that count in the window, then the negative one if the step
            is guided, then the prompts again if there is a `skip`.
        prompts: how many prompts count.
        guided: whether the negative prompt is among them.
        skip: the guidance by skipped blocks.
    """

    chosen: list[int]
    prompts: int
    guided: bool
    skip: Skip | None


def prepare(
    model: Model,
    request: GenerationRequest,
    start: Start | None = None,
    *,
    encode: Callable[[str], Conditioning] | None = None,
    state: GenerationState | None = None,
) -> Run:
    """A run of a request, at its beginning or at a `state` that was saved.

    `encode` gives the conditioning of one prompt; by default the model's own. Prompts are read one by one: in a batch
    the padding, and with it the rounding, would depend on the neighbours.

    Raises:
        InvalidRequest: `start` does not fit the request.
    """
    if start:
        start.check(model.spec, request)
    plan = plan_of(model, request, start)
    conditioning = _conditioning(model, request, encode or (lambda prompt: encode_prompt(model, prompt)))
    levels = tuple(sorted({sigma for stage in plan for sigma in stage.sigmas[:-1]}))
    return Run(
        request=request,
        plan=plan,
        conditioning=conditioning,
        levels=levels,
        tables=model.tables(conditioning, levels) if isinstance(model, HasTables) else {},
        weight_KF=card_weights(model.spec, request),
        state=state or initial_state(model.spec, request, start),
    )


def plan_of(model: Model, request: GenerationRequest, start: Start | None) -> Plan:
    """The stages of a request with what it starts from."""
    if start is None:
        return model.plan(request)
    return model.plan(request, start.given_F, changes=any(start.changed_F))


@torch.inference_mode()
def encode_prompt(model: Model, prompt: str) -> Conditioning:
    """Conditioning of one prompt, from the model."""
    return model.encode_text([prompt])


def _conditioning(
    model: Model, request: GenerationRequest, encode: Callable[[str], Conditioning]
) -> Conditioning:
    prompts = [card.prompt for card in request.cards] or [request.prompt]
    if request.guidance_scale != 1:
        prompts.append(request.negative_prompt)
    return _stacked([model.prepare(encode(prompt)) for prompt in prompts])


def _taken(tensor: Tensor, rows: list[int]) -> Tensor:
    """These rows; the tensor itself where they are all it has, which is the usual case."""
    return tensor if rows == [*range(len(tensor))] else tensor[rows]


def _stacked(parts: Sequence[Conditioning]) -> Conditioning:
    if len(parts) == 1:
        return parts[0]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def card_weights(spec: ModelSpec, request: GenerationRequest) -> Tensor:
    """[K, F]: how much each card counts in each latent frame. A card fades in around its own time, linearly over its
    `transition_s`; a latent frame is judged by the middle of its pixel frames."""
    frames = spec.latent_frames(request.native_frames)
    if not request.cards:
        return torch.ones(1, frames)
    index = torch.arange(frames)
    middle_s = (index * spec.time_factor - (spec.time_factor - 1) / 2).clamp(min=0) / spec.fps
    # in_KF: how far card k has come in. Each card counts from its own coming to that of the next.
    at_K = torch.tensor([card.at_s for card in request.cards])[:, None]
    widths = [
        request.transition_s if card.transition_s is None else card.transition_s for card in request.cards
    ]
    width_K = torch.tensor(widths)[:, None]
    fading_KF = ((middle_s - at_K) / width_K.clamp(min=1e-6) + 0.5).clamp(0, 1)
    in_KF = torch.where(width_K > 0, fading_KF, (middle_s >= at_K).float())
    in_KF[0] = 1
    weight = in_KF.clone()
    for card in range(len(at_K) - 2, -1, -1):  # a later card covers the earlier ones
        weight[card] = in_KF[card] * (1 - weight[card + 1 :].sum(0)).clamp(min=0)
    return weight


@torch.inference_mode()
def advance(model: Model, runs: Sequence[Run]) -> list[Run]:
    """Make one sampler update of each run, in one forward pass. The runs that came in are unchanged, and give the same
    result again.

    All must be of the same `kind`; steps, prompts, guidance and seeds may differ. Latents stay float32
    between updates, whatever the model computes in.

    Raises:
        IndexError: one of the runs is already done.
    """
    runs = [_begun(model, run.entered) for run in runs]
    stages = [run.plan[run.state.stage] for run in runs]
    windows = [_window(run).to(model.device) for run in runs]
    runs, shown, beside = zip(*map(_stirred, runs, stages, windows), strict=True)
    asked = [index for index, run in enumerate(runs) if not run.reuses]
    velocities = dict(
        zip(
            asked, _velocities(model, [(runs[i], stages[i], shown[i], beside[i]) for i in asked]), strict=True
        )
    )
    # Each update adds its noise to what was given, and not to the one before; the last one's stays.
    kept = [
        stirred if run.state.step == stage.steps - 1 else x
        for run, stage, x, stirred in zip(runs, stages, windows, shown, strict=True)
    ]
    return [
        _updated(model, run, stage, x, velocities.get(index))
        for index, (run, stage, x) in enumerate(zip(runs, stages, kept, strict=True))
    ]


def _begun(model: Model, run: Run) -> Run:
    """The same with its window at the stage's first noise level, if its next update is the stage's first."""
    state = run.state
    stage = run.plan[state.stage]
    if state.step or stage.enter is None:
        return run
    generator = generator_at(state.generator)
    before = None if state.window_CFHW is None else state.window_CFHW.to(model.device)
    x_CFHW = stage.enter(state.latent_CFHW.to(model.device), before, generator)
    state = replace(state, generator=generator.get_state())
    return replace(run, state=_with_window(state, stage, x_CFHW))


def _window(run: Run) -> Tensor:
    """The window in work [C, frames, H, W], wherever it is kept."""
    state, stage = run.state, run.plan[run.state.stage]
    kept = state.window_CFHW
    return state.latent_CFHW[:, stage.start : stage.end] if kept is None else kept


def _stirred(run: Run, stage: Stage, x_CFHW: Tensor) -> tuple[Run, Tensor, Tensor | None]:
    """The window and the keyframes beside it as the network is shown them, with what noise is added to what is given;
    and the run after that was drawn."""
    keyframes = run.state.keyframes_CKHW if stage.shrink == 1 else run.state.first_keyframes_CKHW
    if keyframes is not None:
        keyframes = keyframes.to(x_CFHW.device)
    if not stage.given_noise or not (any(stage.given) or run.state.keyframes_at):
        return run, x_CFHW, keyframes
    generator = generator_at(run.state.generator)
    count, (channels, frames, *cells) = len(run.state.keyframes_at), x_CFHW.shape
    noise_CFHW = draw((channels, count + frames, *cells), "channels-last", generator).to(x_CFHW)
    given_F = torch.tensor(stage.given, device=x_CFHW.device)[:, None, None]
    level = stage.given_noise * stage.sigmas[run.state.step] ** 2
    run = replace(run, state=replace(run.state, generator=generator.get_state()))
    if keyframes is not None:
        keyframes = keyframes + level * noise_CFHW[:, :count]
    return run, torch.where(given_F, x_CFHW + level * noise_CFHW[:, count:], x_CFHW), keyframes


def _with_window(state: GenerationState, stage: Stage, x_CFHW: Tensor) -> GenerationState:
    if stage.shrink > 1:
        return replace(state, window_CFHW=x_CFHW)
    latent_CFHW = state.latent_CFHW.to(x_CFHW.device).clone()
    latent_CFHW[:, stage.start : stage.end] = x_CFHW
    return replace(state, latent_CFHW=latent_CFHW, window_CFHW=None)


def _velocities(model: Model, windows: Sequence[tuple[Run, Stage, Tensor, Tensor | None]]) -> list[Tensor]:
    """Of windows and the keyframes beside them: each one's guided velocity [C, F, H, W] in float32."""
    if not windows:
        return []
    rows = [run._rows() for run, *_ in windows]
    latents, sigmas, conditionings, starts = [], [], [], []
    for (run, stage, x, keyframes), asked in zip(windows, rows, strict=True):
        count = len(asked.chosen)
        level = run.levels.index(stage.sigmas[run.state.step])
        latents.append(x.expand(count, -1, -1, -1, -1))
        sigmas.append(stage.sigma_at(run.state.step, model.device).expand(count, -1))
        conditionings.append(
            {name: _taken(tensor, asked.chosen) for name, tensor in run.conditioning.items()}
            | {name: table[asked.chosen, level] for name, table in run.tables.items()}
            | {
                name: tensor.expand(count, *tensor.shape[1:])
                for name, tensor in _context(model, run, keyframes).items()
            }
            | _skipped(stage, asked)
        )
        starts.append(torch.full((count,), stage.start, device=model.device))
    together = model.velocity(
        torch.cat(latents).to(model.dtype), torch.cat(sigmas), _stacked(conditionings), torch.cat(starts)
    ).float()
    parts = together.split([len(asked.chosen) for asked in rows])
    return [
        _guided(run, stage, asked, part)
        for (run, stage, *_), asked, part in zip(windows, rows, parts, strict=True)
    ]


def _skipped(stage: Stage, asked: _Rows) -> Conditioning:
    """For each row and block, whether it is skipped; nothing where no step of the stage skips any."""
    if not stage.skips:
        return {}
    blocks = next(len(skip.blocks) for skip in stage.skips if skip)
    mask = torch.zeros(len(asked.chosen), blocks, dtype=torch.bool)
    if asked.skip:
        mask[-asked.prompts :] = torch.tensor(asked.skip.blocks)
    return {"skipped": mask}


def _guided(run: Run, stage: Stage, asked: _Rows, velocity_KCFHW: Tensor) -> Tensor:
    """One velocity [C, F, H, W] of all that was asked for."""

    def mixed(rows_KCFHW: Tensor) -> Tensor:
        if len(rows_KCFHW) == 1:
            return rows_KCFHW[0]
        # Each frame follows its cards.
        weight = run.weight_KF[asked.chosen[: asked.prompts], stage.start : stage.end].to(rows_KCFHW)
        return torch.einsum("kcfhw,kf->cfhw", rows_KCFHW, weight)

    cond = velocity = mixed(velocity_KCFHW[: asked.prompts])
    if asked.guided:
        uncond = velocity_KCFHW[asked.prompts]
        uncond = projected(cond, uncond) if stage.projects else uncond
        velocity = guide(cond, uncond, stage.guidance[run.state.step])
    if asked.skip:
        velocity = away_from(mixed(velocity_KCFHW[-asked.prompts :]), cond, velocity, asked.skip)
    return velocity


def _context(model: Model, run: Run, keyframes_CKHW: Tensor | None) -> Conditioning:
    """What the network is shown besides the prompts, one row."""
    state, stage = run.state, run.plan[run.state.stage]
    shown = dict(stage.context(state.latent_CFHW.to(model.device))) if stage.context else {}
    if state.given_CFHW is not None:
        given = state.given_CFHW[None, :, stage.start : stage.end]
        shown["given_BCFHW"] = given.to(model.device, model.dtype)
    if keyframes_CKHW is not None:
        shown["keyframes_BCKHW"] = keyframes_CKHW[None].to(model.dtype)
        shown["keyframes_at_BK"] = torch.tensor([state.keyframes_at], device=model.device)
    return shown


def _updated(model: Model, run: Run, stage: Stage, x_CFHW: Tensor, computed_CFHW: Tensor | None) -> Run:
    """After an update with a velocity that was computed, or with the last one."""
    state = run.state
    last = state.velocity_CFHW
    velocity_CFHW, change = computed_CFHW, state.change
    if velocity_CFHW is None:
        assert last is not None
        velocity_CFHW = last.to(model.device)
    elif last is not None and run.request.reuse:
        before = last.to(model.device)
        change = float((velocity_CFHW - before).norm() / before.norm().clamp(min=1e-12))
    previous = None
    if last is not None and state.x0_CFHW is not None:
        sigma_before_BF = stage.sigma_at(state.step - 1, model.device)
        x0_before = state.x0_CFHW.to(model.device)
        previous = Evaluation(last.to(model.device)[None], sigma_before_BF, x0_before[None])
    generator = generator_at(state.generator)
    sigma_BF = stage.sigma_at(state.step, model.device)
    sigma_next_BF = stage.sigma_at(state.step + 1, model.device)
    x_BCFHW = stage.sampler(
        x_CFHW[None],
        velocity_CFHW[None],
        sigma_BF,
        sigma_next_BF,
        previous,
        lambda: draw(x_CFHW.shape, model.spec.noise, generator).to(x_CFHW)[None],
    )
    after = replace(
        _with_window(state, stage, x_BCFHW[0]),
        step=state.step + 1,
        velocity_CFHW=velocity_CFHW,
        x0_CFHW=x0_from_velocity(x_CFHW[None], velocity_CFHW[None], sigma_BF)[0],
        change=change,
        reused=computed_CFHW is None,
        generator=generator.get_state(),
    )
    return replace(run, state=after)


def predicted_x0(run: Run) -> Tensor:
    """The window [C, frames, H, W] in work, as the last velocity said that it would come out.

    Before a stage's first update that is its noise; after its last, its result.
    """
    stage, state = run.plan[run.state.stage], run.state
    return _window(run) if state.x0_CFHW is None or state.step == stage.steps else state.x0_CFHW
