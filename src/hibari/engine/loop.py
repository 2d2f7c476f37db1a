"""One update at a time: a pure function from state to state."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hibari.contracts import GenerationRequest
from hibari.diffusion.convention import x0_from_velocity
from hibari.diffusion.guidance import guide, in_interval
from hibari.diffusion.sampler import Evaluation
from hibari.engine.plan import Plan, Stage
from hibari.engine.state import GenerationState
from hibari.models.protocol import Conditioning, Model


@torch.inference_mode()
def encode_request(model: Model, request: GenerationRequest) -> Conditioning:
    """Conditioning whose row 0 is the prompt and, where guidance needs it, row 1 the negative prompt."""
    guided = request.guidance_scale != 1
    return model.encode_text([request.prompt, request.negative_prompt] if guided else [request.prompt])


@torch.inference_mode()
def advance(
    model: Model,
    plan: Plan,
    conditioning: Conditioning,
    request: GenerationRequest,
    state: GenerationState,
) -> GenerationState:
    """Make one sampler update. The state that came in is unchanged, and gives the same result again.

    `conditioning` is that of `encode_request`. Latents stay float32 between updates, whatever the
    model computes in.

    Raises:
        IndexError: the plan is already done.
    """
    if state.step == plan[state.stage].steps:
        state = replace(state, stage=state.stage + 1, step=0, velocity_CFHW=None)
    stage = plan[state.stage]
    latent_CFHW = state.latent_CFHW.to(model.device)
    x = latent_CFHW[None, :, stage.start : stage.end]
    sigma_BF = stage.sigma_at(state.step, model.device)
    sigma_next_BF = stage.sigma_at(state.step + 1, model.device)

    velocity = _velocity(model, stage, conditioning, request, x, sigma_BF, stage.sigmas[state.step])
    previous = None
    if state.velocity_CFHW is not None:
        sigma_before_BF = stage.sigma_at(state.step - 1, model.device)
        previous = Evaluation(state.velocity_CFHW.to(model.device)[None], sigma_before_BF)
    x = stage.sampler(x, velocity, sigma_BF, sigma_next_BF, previous)

    latent_CFHW = torch.cat([latent_CFHW[:, : stage.start], x[0], latent_CFHW[:, stage.end :]], dim=1)
    return replace(state, latent_CFHW=latent_CFHW, step=state.step + 1, velocity_CFHW=velocity[0])


def _velocity(
    model: Model,
    stage: Stage,
    conditioning: Conditioning,
    request: GenerationRequest,
    x_BCFHW: Tensor,
    sigma_BF: Tensor,
    sigma: float,
) -> Tensor:
    """The velocity [1, C, F, H, W] in float32, guided where the model wants it, from one forward pass."""
    guided = request.guidance_scale != 1 and in_interval(sigma, model.spec.guidance_interval)
    rows = 2 if guided else 1
    velocity = model.velocity(
        x_BCFHW.expand(rows, -1, -1, -1, -1).to(model.dtype),
        sigma_BF.expand(rows, -1),
        {name: tensor[:rows] for name, tensor in conditioning.items()},
        torch.full((rows,), stage.start, device=model.device),
    ).float()
    return guide(velocity[:1], velocity[1:], request.guidance_scale) if guided else velocity


def done(plan: Plan, state: GenerationState) -> bool:
    """Whether every update of every stage has been made."""
    return steps_made(plan, state) == total_steps(plan)


def steps_made(plan: Plan, state: GenerationState) -> int:
    """Updates behind `state`, over all stages."""
    return sum(stage.steps for stage in plan[: state.stage]) + state.step


def total_steps(plan: Plan) -> int:
    """Updates of the whole plan."""
    return sum(stage.steps for stage in plan)


def predicted_x0(plan: Plan, state: GenerationState) -> Tensor:
    """The window [C, frames, H, W] in work, as it would come out if the last velocity held to the end.

    Before a stage's first update that is its noise; after its last, its result.
    """
    stage = plan[state.stage]
    x = state.latent_CFHW[:, stage.start : stage.end]
    if state.velocity_CFHW is None:
        return x
    return x0_from_velocity(x[None], state.velocity_CFHW[None], stage.sigma_at(state.step, x.device))[0]
