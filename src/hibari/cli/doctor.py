"""`hibari doctor`: what this machine can run, and why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hibari import catalog, machine
from hibari.contracts import GenerationRequest, HibariError, OutOfMemory
from hibari.machine import Finding
from hibari.settings import Settings


def doctor(
    model: Annotated[
        str | None,
        typer.Option(help="Only of this one: a name, or an open model's path.", metavar="NAME"),
    ] = None,
    quantise: Annotated[
        str | None, typer.Option(help="With its weights in int8 or fp8.", metavar="KIND")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what this machine can run, and why not. Exit code 1 if the model cannot run: the one that is named, or the
    default."""
    settings = Settings.from_environment()
    wanted = model or settings.model
    catalog.find(wanted, settings.models)  # a wrong name is an error of its own
    found = [
        *machine.findings(Path.cwd()),
        Finding("threads", None, f"{settings.threads} are used"),
        _torch(settings),
    ]
    names = [model] if model else list(dict.fromkeys((*catalog.names(), settings.model)))
    models = [_model(name, settings, quantise or "") for name in names]
    able = all(finding.ok for finding in models if finding.name == wanted)
    if as_json:
        report = {
            "machine": [asdict(finding) for finding in found],
            "models": [asdict(finding) for finding in models],
            "default_model": settings.model,
            "ok": able,
        }
        typer.echo(json.dumps(report))
    else:
        for finding in found + [Finding(f"model {f.name}", f.ok, f.text) for f in models]:
            mark = {None: "    ", True: "ok  ", False: "NO  "}[finding.ok]
            typer.echo(f"{mark}{finding.name:<16}{finding.text}")
    if not able:
        raise typer.Exit(1)


def _torch(settings: Settings) -> Finding:
    def load() -> str:
        import torch

        from hibari.engine.runtime import prepare_torch

        device = prepare_torch(settings)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU is used"
        return f"{torch.__version__}, device {device}, {name}"

    return _tried("torch", load)


def _model(name: str, settings: Settings, quantise: str) -> Finding:
    """The only honest answer to whether it can run: it is opened, its weights are checked, and what they and a clip of
    the default size and length take is held against the memory that is free."""

    def load() -> str:
        from hibari.engine.memory import check_fits, default_budget_bytes, turn_bytes, window_footprint
        from hibari.engine.runtime import prepare_torch

        device = prepare_torch(settings)
        model = catalog.load(name, device=device, models=settings.models, quantise=quantise)
        weights = f"weights {model.weights_sha256[:12]}" if model.weights_sha256 else "needs no weights"
        spec = model.spec
        request = GenerationRequest.resolve(spec, "a clip", seed=0)
        needs = window_footprint(model, request)
        rows = 1 + (request.guidance_scale != 1)
        counted = (
            f"estimated for {request.width}x{request.height}, {request.seconds:g} s: weights "
            f"{needs.weights / 1e9:.1f} GB, text encoder {needs.text_encoder / 1e9:.1f} GB, at work "
            f"{turn_bytes(model, request, rows) / 1e9:.1f} GB"
        )
        try:
            budget = settings.memory_bytes or default_budget_bytes(model.device, needs.weights)
            check_fits(model, request, budget)
        except OutOfMemory as error:
            if spec.software and not quantise:
                less = catalog.load(name, device=device, models=settings.models, quantise="int8")
                smaller = window_footprint(less, request).weights / 1e9
                raise OutOfMemory(
                    f"{error}; with --quantise int8 its weights take {smaller:.1f} GB"
                ) from error
            raise
        return f"can run; {weights}; {counted}"

    return _tried(name, load)


def _tried(name: str, load: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, load())
    except HibariError as error:
        return Finding(name, False, str(error))
    except ImportError as error:
        return Finding(name, False, f"a package is missing: {error}")
