"""The routes about models."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from hibari.api.keys import Given, allowed
from hibari.api.parts import Parts
from hibari.api.wire import Model, ModelList, ModelPreset
from hibari.contracts import ModelSpec, NotFound, UnknownModel

router = APIRouter(prefix="/models", tags=["models"], dependencies=[Depends(allowed("videos:read"))])


@router.get("")
def page(parts: Given) -> ModelList:
    """All models, and the names that stand for one."""
    named = {spec.name: spec for spec in parts.models()} | {
        alias: parts.spec(alias) for alias in parts.aliases()
    }
    return ModelList(data=[_model(parts, name, spec) for name, spec in named.items()])


@router.get("/{name}")
def retrieve(name: str, parts: Given) -> Model:
    """A model."""
    try:
        return _model(parts, name, parts.spec(name))
    except UnknownModel as error:
        raise NotFound(str(error)) from error


def _model(parts: Parts, name: str, spec: ModelSpec) -> Model:
    stands_for = None if name == spec.name else spec.name
    return Model(
        id=name,
        summary=spec.summary if stands_for is None else f"stands for {spec.name}: {spec.summary}",
        stands_for=stands_for,
        is_default=name == parts.settings.model,
        sizes=[f"{width}x{height}" for width, height in spec.sizes],
        fps=spec.fps,
        default_seconds=spec.default_seconds,
        default_steps=spec.default_steps,
        default_guidance_scale=spec.default_guidance,
        max_seconds=spec.max_seconds,
        licence=spec.licence,
        kinds=list(spec.kinds),
        presets=[
            ModelPreset(
                name=preset.name,
                summary=preset.summary,
                steps=preset.steps,
                guidance_scale=preset.guidance_scale,
                sampler=preset.sampler,
                fixed=preset.fixed,
                missing=preset.missing or None,
            )
            for preset in spec.presets
        ],
    )
