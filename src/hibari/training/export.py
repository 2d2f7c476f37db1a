"""From runs to what ships: one weights file in float16, and its card."""

from __future__ import annotations

import json
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import torch

from hibari.contracts import InputError
from hibari.models import manifest
from hibari.models.mini import weights
from hibari.models.mini.autoencoder import Autoencoder
from hibari.models.mini.transformer import Transformer
from hibari.models.mini.upscaler import Upscaler
from hibari.training.upscaler import quality
from hibari.training.world.assets import ASSETS
from hibari.training.world.spec import WORLD_VERSION

QUALITY_CLIPS = 48  # held-out ones, on which an upscaler is measured


def export(
    autoencoder_run: Path,
    transformer_run: Path,
    out: Path,
    *,
    upscaler_run: Path | None = None,
    average: int = -1,
    mean_with: Path | None = None,
    transformer_only: bool = False,
    trained_by: str,
) -> dict[str, Any]:
    """Write the shipped weights file from its runs, finished or not, and what the card says of its making beside it.

    Args:
        autoencoder_run, transformer_run: folders of `hibari train`, or a weights file with its card, whose network is
            kept as it is.
        upscaler_run: the same; None for the upscaler that comes with the autoencoder, if one does.
        out: the weights file, e.g. hibari-mini.safetensors.
        average: which of the transformer's weight averages; the last is the slowest.
        mean_with: a weights file; what is written is the mean of its transformer and the run's. Two runs of which one
            began where the other ended can be better together than either (Wortsman et al., "Model soups", 2022).
        transformer_only: leave out all else, which whoever loads the file takes from `autoencoder_run`; that must be a
            weights file beside `out`.
        trained_by: the machine, in words.

    Returns:
        The facts for the model card; also written to `<out>.json`.

    Raises:
        InputError: if a run has no checkpoint yet, or the transformer was trained on other latents, or nothing beside
            `out` has the autoencoder that is left out.
    """
    if transformer_only and not (
        autoencoder_run.is_file() and autoencoder_run.resolve().parent == out.resolve().parent
    ):
        raise InputError(
            f"{autoencoder_run} is no weights file beside {out}; without an autoencoder of its own that needs one"
        )
    autoencoder, autoencoder_facts = _run(autoencoder_run, "autoencoder", -1)
    transformer, transformer_facts = _run(transformer_run, "transformer", average)
    assert isinstance(autoencoder, Autoencoder)
    assert isinstance(transformer, Transformer)
    if mean_with:
        _mix(transformer, mean_with)
        transformer_facts["mean_with"] = manifest.sha256_of(mean_with)
    if autoencoder.config.latent_channels != transformer.config.latent_channels:
        raise InputError(
            f"{autoencoder_run} makes latents of {autoencoder.config.latent_channels} channels, "
            f"{transformer_run} was trained on {transformer.config.latent_channels}"
        )
    facts: dict[str, Any] = {
        "date": date.today().isoformat(),  # noqa: DTZ011 - a day, not a moment
        "commit": _commit(),
        "world_version": WORLD_VERSION,
        "assets": [f"{asset.name} {asset.version} ({asset.licence})" for asset in ASSETS],
        "machine": trained_by,
        "autoencoder": autoencoder_facts,
        "transformer": transformer_facts,
    }
    about = {"date": facts["date"], "commit": facts["commit"], "world_version": str(WORLD_VERSION)}
    networks: dict[str, weights.Network] = {"autoencoder": autoencoder, "transformer": transformer}
    if transformer_only:
        del networks["autoencoder"]
        facts["autoencoder"] = weights.borrowing(autoencoder_run, autoencoder)
        about |= facts["autoencoder"]
    elif upscaler_run is None and autoencoder_run.is_file() and "upscaler" in weights.read(autoencoder_run):
        upscaler_run = autoencoder_run
    if upscaler_run is not None:
        upscaler, facts["upscaler"] = _run(upscaler_run, "upscaler", -1)
        assert isinstance(upscaler, Upscaler)
        if upscaler_run != autoencoder_run:
            figures = quality(autoencoder.eval(), upscaler.eval(), QUALITY_CLIPS)
            facts["upscaler"]["held_out"] = {name: round(value, 4) for name, value in figures.items()}
        networks["upscaler"] = upscaler
    facts["parameters"] = {
        name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()
    }
    facts["sha256"] = weights.ship(out, networks, about)
    facts["bytes"] = out.stat().st_size
    out.with_suffix(".json").write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
    return facts


@torch.no_grad()
def _mix(transformer: Transformer, other: Path) -> None:
    """Make it the mean of itself and the transformer of a weights file."""
    network = weights.read(other).get("transformer")
    if not isinstance(network, Transformer) or network.config != transformer.config:
        raise InputError(f"{other} holds no transformer of the same sizes; a mean needs one")
    for own, others in zip(transformer.parameters(), network.parameters(), strict=True):
        own.lerp_(others, 0.5)


def _run(folder: Path, name: str, average: int) -> tuple[weights.Network, dict[str, Any]]:
    """A run's network with its averaged weights, and what the card says of the run."""
    if folder.is_file():
        card = json.loads(folder.with_suffix(".json").read_text())
        networks = weights.read(folder)
        if name not in networks:
            raise InputError(f"{folder} holds {', '.join(networks)}, and no {name}; name a run's folder")
        return networks[name], card[name]
    checkpoint = folder / "checkpoint.pt"
    if not checkpoint.exists():
        raise InputError(f"{checkpoint} is missing: that run has not saved anything yet")
    state = torch.load(checkpoint, weights_only=True)
    recipe = json.loads((folder / "recipe.json").read_text())
    log = (folder / "log.jsonl").read_text().splitlines()
    network = weights.NETWORKS[name](recipe["config"])
    network.load_state_dict({**state["network"], **state["average"][average]})
    facts = {
        "recipe": recipe,
        "steps": state["step"],
        "minutes": round(state["elapsed_s"] / 60, 1),
        "last_figures": json.loads(log[-1]) if log else {},
    }
    if (start := folder / "start.json").exists():
        facts["started_from"] = json.loads(start.read_text())
    return network, facts


def _commit() -> str:
    """The commit of the code that exports, with a mark if the tree has changes."""
    here = Path(__file__).parent
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607
            cwd=here, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown (not a git checkout)"
    return run.stdout.strip()
