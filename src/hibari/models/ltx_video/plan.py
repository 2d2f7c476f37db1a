"""A request with a preset as its stages: one pass, or a small one, an enlargement and a second one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from hibari.contracts import GenerationRequest, InvalidRequest, ModelSpec
from hibari.diffusion.guidance import Skip, in_interval
from hibari.models import plan as plans
from hibari.models.ltx_video.presets import CONFIGURATIONS, Pass
from hibari.models.plan import Plan, Stage

Enlarge = Callable[[Tensor], Tensor]


def plan(
    spec: ModelSpec,
    request: GenerationRequest,
    given_F: tuple[bool, ...],
    *,
    changes: bool,
    blocks: int,
    levels: Callable[[int, int], Sequence[float]],
    enlarge: Enlarge,
) -> Plan:
    """The stages of a request that names a preset.

    Args:
        blocks: of the network.
        levels: the scheduler's noise levels, from 1 to 0, of so many steps for a window of so many cells a frame.
        enlarge: latent [B, C, F, H, W] to [B, C, F, 2H, 2W].

    Raises:
        InvalidRequest: the preset is to do what takes one pass in two.
    """
    published = CONFIGURATIONS[request.preset]
    cells = request.native_height * request.native_width // spec.space_factor**2
    if not published.first_pass:
        (one,) = published.passes
        stages = plans.plan(spec, request, given_F, changes=changes, sigmas=_sigmas(one, levels, cells))
        return tuple(_guided(stage, one, request, blocks) for stage in stages)
    frames = spec.latent_frames(request.native_frames)
    if changes or frames > spec.window_frames:
        raise InvalidRequest(
            f"the preset {request.preset} makes a clip twice, which works for one of at most {spec.max_seconds:g} s "
            "that is not changed from another; take a preset of one pass",
            field="preset",
        )
    given = given_F or (False,) * frames
    first, second = published.passes
    low = _sigmas(second, levels, cells)
    small = Stage(0, given, _sigmas(first, levels, cells // 4), (), plans.SAMPLERS[request.sampler], shrink=2)
    large = replace(small, sigmas=low, shrink=1, enter=partial(_enter, given, low[0], enlarge))
    return _guided(small, first, request, blocks), _guided(large, second, request, blocks)


def _sigmas(one: Pass, levels: Callable[[int, int], Sequence[float]], cells: int) -> tuple[float, ...]:
    if one.sigmas:
        return (*one.sigmas, 0.0)
    return (*levels(one.steps, cells)[one.leave_first : one.steps - one.leave_last], 0.0)


def _guided(stage: Stage, one: Pass, request: GenerationRequest, blocks: int) -> Stage:
    """The stage with the guidance of its noise levels."""
    levels = stage.sigmas[:-1]
    inside = [in_interval(sigma, request.guidance_interval) for sigma in levels]
    skips = tuple(
        Skip(
            tuple(block in one.at(one.skip_blocks, sigma) for block in range(blocks)),
            one.at(one.skip_scale, sigma),
            one.at(one.rescale, sigma),
        )
        if one.at(one.skip_scale, sigma) and acts
        else None
        for sigma, acts in zip(levels, inside, strict=True)
    )
    return replace(
        stage,
        guidance=tuple(
            one.at(one.guidance, sigma) if acts else 1.0 for sigma, acts in zip(levels, inside, strict=True)
        ),
        skips=skips if any(skips) else (),
        projects=one.projects,
    )


def _enter(
    given_F: tuple[bool, ...],
    sigma: float,
    enlarge: Enlarge,
    latent_CFHW: Tensor,
    before_CFHW: Tensor | None,
    generator: torch.Generator,  # noqa: ARG001 - the clip holds the noise already
) -> Tensor:
    """The beginning of the second pass: the first one's end, twice as large, and noise."""
    assert before_CFHW is not None
    large_CFHW = as_spread(enlarge(before_CFHW[None]), before_CFHW[None])[0]
    mixed_CFHW = sigma * latent_CFHW + (1 - sigma) * large_CFHW
    return torch.where(
        torch.tensor(given_F, device=latent_CFHW.device)[:, None, None], latent_CFHW, mixed_CFHW
    )


def as_spread(latent_BCFHW: Tensor, like_BCFHW: Tensor) -> Tensor:
    """With the mean and spread of each channel of another latent (Huang & Belongie 2017, "AdaIN")."""
    axes = (2, 3, 4)
    std, mean = torch.std_mean(latent_BCFHW, axes, keepdim=True)
    wanted_std, wanted_mean = torch.std_mean(like_BCFHW, axes, keepdim=True)
    return (latent_BCFHW - mean) / std * wanted_std + wanted_mean


def pressed(latent: Tensor, tone: float) -> Tensor:
    """Large values nearer to 0, as the authors do before decoding (`tone_map_compression_ratio`, 0 to 1)."""
    strength = 0.75 * tone
    return latent * (1 - 0.8 * strength * torch.sigmoid(4 * strength * (latent.abs() - 1)))
