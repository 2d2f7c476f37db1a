"""The routes about models."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from hibari import catalog
from hibari.api.keys import Given, allowed
from hibari.api.parts import Parts
from hibari.api.wire import Model, ModelList
from hibari.contracts import NotFound, UnknownModel

router = APIRouter(prefix="/models", tags=["models"], dependencies=[Depends(allowed("videos:read"))])


@router.get("")
def page(parts: Given) -> ModelList:
    """All models, and the names that stand for one."""
    return ModelList(data=[_model(parts, name) for name in (*catalog.names(), *parts.aliases())])


@router.get("/{name}")
def retrieve(name: str, parts: Given) -> Model:
    """A model."""
    try:
        return _model(parts, name)
    except UnknownModel as error:
        raise NotFound(str(error)) from error


def _model(parts: Parts, name: str) -> Model:
    spec = parts.spec(name)
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
    )
