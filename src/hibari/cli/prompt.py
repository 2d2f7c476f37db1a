"""`hibari prompt`: what the model will make of a prompt, before it is made."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hibari import catalog
from hibari.contracts import GenerationRequest, InvalidRequest, ModelSpec
from hibari.settings import Settings

if TYPE_CHECKING:
    from hibari.training.prompt_help import PromptHelp, Word


def prompt(
    text: Annotated[
        str | None, typer.Argument(help="What you would give to `generate`.", metavar="PROMPT")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A name that `hibari models` lists.", metavar="NAME")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    lines: Annotated[
        bool,
        typer.Option(
            "--lines", help="Read prompts from the standard input, a JSON string a line; answer each."
        ),
    ] = False,
) -> None:
    """Say which words of a prompt the model knows, and offer a fuller wording.

    Each word is known (captions of the training world have it), close to a known one (it is read as that, more or
    less) or far from all of them (it will hardly be read). Then comes what the prompt leaves open, what the model
    has never seen, and the prompt in the model's own words. Nothing is generated and nothing is downloaded.

    Example: hibari prompt "a crimson hound jumps by the ocean"
    """
    settings = Settings.from_environment()
    spec = catalog.spec(model or settings.model)
    if lines == (text is not None):
        raise InvalidRequest(
            "give one PROMPT, or --lines with the prompts on the standard input", field="prompt"
        )
    if text is None:
        for line in sys.stdin:
            typer.echo(json.dumps(_told(spec, json.loads(line), settings).to_dict()))
            sys.stdout.flush()
        return
    told = _told(spec, text, settings)
    if as_json:
        typer.echo(json.dumps(told.to_dict(), ensure_ascii=False))
        return
    for line in _lines(told):
        typer.echo(line)


def _told(spec: ModelSpec, text: str, settings: Settings) -> PromptHelp:
    wish = GenerationRequest.resolve(spec, text, seed=0).prompt  # what `generate` refuses is refused here
    if spec.weights is None:
        raise InvalidRequest(f"{spec.name} draws the prompt's letters; any word will do", field="model")
    from hibari.engine.runtime import prepare_torch
    from hibari.training.prompt_help import WORLD_MODELS, explain

    if spec.name not in WORLD_MODELS:
        raise InvalidRequest(
            f"the words that {spec.name} was taught are not known; prompt help is for "
            f"{', '.join(sorted(WORLD_MODELS))}",
            field="model",
        )
    prepare_torch(settings)
    return explain(wish)


def _lines(told: PromptHelp) -> list[str]:
    """One line a word, then what is left open, what cannot be, and the suggestion."""
    rows = [
        (_short(word.text), word.kind or "", _reading(word))
        for word in told.words
        if word.status != "ignored"
    ]
    rows += [("(not said)", one.kind, _open(one.text, one.options)) for one in told.missing]
    width = max(len(row[0]) for row in rows)
    lines = [f"{text:<{width}}  {kind:<9} {reading}".rstrip() for text, kind, reading in rows]
    lines += [f"{'note':<{width}}  {sentence}" for sentence in told.limits]
    if told.suggestion != told.prompt:
        lines.append(f"{'try':<{width}}  {told.suggestion}")
    return lines


def _reading(word: Word) -> str:
    match word.status:
        case "known":
            return "known"
        case "close":
            also = f" or {word.also!r}" if word.also else ""
            return f"close to {word.nearest!r}{also} ({word.similarity:.2f})"
        case "unread":
            return "not read: it is behind the last token that is read"
        case _ if word.nearest and not word.similarity:
            return f"a picture is not read; write {word.nearest!r}"
        case _:
            nearest = f" (nearest is {word.nearest!r}, {word.similarity:.2f})" if word.nearest else ""
            return f"far: it will hardly be read{nearest}"


def _open(text: str, options: tuple[str, ...]) -> str:
    return f"{text}; or say: {', '.join(options)}" if options else text


def _short(text: str, limit: int = 30) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
