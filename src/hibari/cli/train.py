"""`hibari train ...`: the world, the networks, and the weights file that ships."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from hibari.contracts import InvalidRequest
from hibari.settings import Settings

app = typer.Typer(
    help="Make hibari-mini yourself: look at its world, fit its networks, export the weights.",
    rich_markup_mode=None,
)


class Recipe(str, Enum):  # noqa: UP042 - StrEnum shows in help as its class
    """The training recipes; `hibari.training.recipes` has every number of them."""

    mini = "mini"
    tiny = "tiny"


class TransformerWay(str, Enum):  # noqa: UP042
    """Those of the transformer."""

    mini = "mini"
    tiny = "tiny"
    fast = "fast"


RecipeOption = Annotated[
    Recipe, typer.Option("--recipe", help="mini is what ships; tiny shows that it works.")
]
MinutesOption = Annotated[
    float | None, typer.Option("--budget-minutes", min=0.1, help="Stop after so many minutes of training.")
]
StepsOption = Annotated[int | None, typer.Option("--budget-steps", min=1, help="Stop after so many steps.")]
FolderOption = Annotated[
    Path, typer.Option("--folder", help="The run's folder; a run that is there goes on.")
]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=0, help="Processes that render clips ahead; 0: none.")
]
ProcessesOption = Annotated[
    int, typer.Option("--processes", min=1, help="Processes that share each batch; on a CPU, one a core.")
]
SheetOption = Annotated[
    float, typer.Option("--sheet-minutes", min=0.1, help="A contact sheet each so many minutes.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("autoencoder")
def autoencoder(
    recipe: RecipeOption = Recipe.mini,
    budget_minutes: MinutesOption = None,
    budget_steps: StepsOption = None,
    folder: FolderOption = Path("runs/autoencoder"),
    workers: WorkersOption = 1,
    sheet_minutes: SheetOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Fit the autoencoder on clips rendered as it goes."""
    from hibari.engine.runtime import prepare_torch
    from hibari.training import autoencoder as room
    from hibari.training.recipes import AUTOENCODER_RECIPES
    from hibari.training.run import Budget

    budget = Budget(*_budget(budget_minutes, budget_steps))
    prepare_torch(Settings.from_environment())
    chosen = AUTOENCODER_RECIPES[recipe.value]()
    _say_start(folder, as_json)
    path = room.train(chosen, folder, budget, workers=workers, sheet_every_s=60 * sheet_minutes)
    _say_end(folder, path, as_json)


@app.command("upscaler")
def upscaler(
    recipe: RecipeOption = Recipe.mini,
    budget_minutes: MinutesOption = None,
    budget_steps: StepsOption = None,
    folder: FolderOption = Path("runs/upscaler"),
    autoencoder: Annotated[
        Path, typer.Option("--autoencoder", help="The autoencoder's run folder, finished, or a weights file.")
    ] = Path("runs/autoencoder"),
    workers: WorkersOption = 1,
    processes: ProcessesOption = 1,
    sheet_minutes: SheetOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Fit the upscaler on what the autoencoder gives back of clips rendered as it goes, small and large."""
    from hibari.engine.runtime import prepare_torch
    from hibari.training import upscaler as room
    from hibari.training.recipes import UPSCALER_RECIPES
    from hibari.training.run import Budget

    budget = Budget(*_budget(budget_minutes, budget_steps))
    file = _autoencoder_file(autoencoder)
    prepare_torch(Settings.from_environment())
    _say_start(folder, as_json)
    path = room.train(
        UPSCALER_RECIPES[recipe.value](), folder, file, budget,
        workers=workers, sheet_every_s=60 * sheet_minutes, processes=processes,
    )  # fmt: skip
    _say_end(folder, path, as_json)


@app.command("transformer")
def transformer(
    recipe: Annotated[
        TransformerWay,
        typer.Option(
            "--recipe",
            help="mini is what ships; tiny shows that it works; fast makes one of 4 steps out of --from.",
        ),
    ] = TransformerWay.mini,
    budget_minutes: MinutesOption = None,
    budget_steps: StepsOption = None,
    folder: FolderOption = Path("runs/transformer"),
    autoencoder: Annotated[
        Path,
        typer.Option(
            "--autoencoder", help="The autoencoder's run folder, finished or not, or a weights file."
        ),
    ] = Path("runs/autoencoder"),
    start_from: Annotated[
        Path | None,
        typer.Option(
            "--from", help="A weights file whose transformer a new run begins with, e.g. what ships."
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            "--teacher",
            help="For the recipe fast: the weights file that is imitated; by default --from itself.",
        ),
    ] = None,
    workers: WorkersOption = 1,
    processes: ProcessesOption = 1,
    bfloat16: Annotated[
        bool,
        typer.Option(
            "--bfloat16",
            help="Matrix products in bfloat16: faster on CPUs with AVX-512 BF16 or AMX, far slower on others.",
        ),
    ] = False,
    sheet_minutes: SheetOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Fit the transformer on latents of clips rendered as it goes."""
    from hibari.engine.runtime import prepare_torch
    from hibari.training import transformer as room
    from hibari.training.distil import DistilTask
    from hibari.training.recipes import TRANSFORMER_RECIPES, DistilRecipe
    from hibari.training.run import Budget

    budget = Budget(*_budget(budget_minutes, budget_steps))
    file = _autoencoder_file(autoencoder)
    chosen = TRANSFORMER_RECIPES[recipe.value]()
    distils = isinstance(chosen, DistilRecipe)
    if distils and start_from is None:
        raise InvalidRequest(
            "the recipe fast needs a teacher; name its weights file with --from", field="start_from"
        )
    if teacher and not distils:
        raise InvalidRequest(
            f"the recipe {recipe.value} has no teacher; leave out --teacher", field="teacher"
        )
    prepare_torch(Settings.from_environment())
    _say_start(folder, as_json)
    path = room.train(
        chosen, folder, file, budget,
        workers=workers, sheet_every_s=60 * sheet_minutes, processes=processes, start_from=start_from,
        teacher=teacher, bfloat16=bfloat16, task=DistilTask if distils else room.TransformerTask,
    )  # fmt: skip
    _say_end(folder, path, as_json)


@app.command("export")
def export(
    out: Annotated[Path, typer.Argument(help="The weights file to write.")],
    autoencoder: Annotated[
        Path, typer.Option("--autoencoder", help="Its run folder, or a weights file.")
    ] = Path("runs/autoencoder"),
    transformer: Annotated[Path, typer.Option("--transformer", help="Its run folder.")] = Path(
        "runs/transformer"
    ),
    upscaler: Annotated[
        Path | None,
        typer.Option(
            "--upscaler",
            help="Its run folder, or a weights file; by default the one in the autoencoder's weights file.",
        ),
    ] = None,
    machine: Annotated[
        str, typer.Option("--machine", help="What it was trained on, for the card.")
    ] = "unknown",
    average: Annotated[
        int,
        typer.Option(
            "--average", help="Which of the recipe's weight averages of the transformer; -1: the slowest."
        ),
    ] = -1,
    mean_with: Annotated[
        Path | None,
        typer.Option(
            "--mean-with",
            help="A weights file: write the mean of its transformer and the run's, which can be better than both.",
        ),
    ] = None,
    transformer_only: Annotated[
        bool,
        typer.Option(
            "--transformer-only",
            help="Leave out the rest, to be taken from the --autoencoder weights file beside it: for hibari-mini-fast.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the float16 weights file, its manifest entry, and the facts for its model card."""
    from hibari.training.export import export as write

    facts = write(
        autoencoder, transformer, out,
        upscaler_run=upscaler, average=average, mean_with=mean_with,
        transformer_only=transformer_only, trained_by=machine,
    )  # fmt: skip
    typer.echo(
        json.dumps(facts) if as_json else f"{out}  {facts['bytes'] / 1e6:.1f} MB  sha256 {facts['sha256']}"
    )


@app.command("world")
def world(
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which clip.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write it as a file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a training clip: its captions, its recipe, and its pixels if a file is asked for."""
    from hibari.training.show import show_clip

    facts = show_clip(seed, output)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for line in facts["captions"]:
        typer.echo(line)
    typer.echo(json.dumps(facts["spec"], indent=2))
    if output:
        typer.echo(str(output))


def _autoencoder_file(path: Path) -> Path:
    file = path if path.is_file() else path / "autoencoder.safetensors"
    if not file.exists():
        raise InvalidRequest(f"{file} is missing; run `hibari train autoencoder` first", field="autoencoder")
    return file


def _budget(minutes: float | None, steps: int | None) -> tuple[float | None, int | None]:
    if (minutes is None) == (steps is None):
        raise InvalidRequest("give either --budget-minutes or --budget-steps", field="budget")
    return minutes, steps


def _say_start(folder: Path, as_json: bool) -> None:
    if not as_json:
        typer.echo(f"training in {folder}: log.jsonl has the figures, sheet-*.png the pictures", err=True)


def _say_end(folder: Path, path: Path, as_json: bool) -> None:
    log = (folder / "log.jsonl").read_text().splitlines()
    figures = json.loads(log[-1]) if log else {}
    typer.echo(json.dumps({"path": str(path), "last": figures}) if as_json else f"{path}  {figures}")
