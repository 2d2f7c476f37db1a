"""What hibari-mini will make of a prompt: which words it was taught, what it takes the others for, what is left open.

The model reads token features of its text encoder, so a word that it was never told is read as the words whose
features are near. They are looked for in the same way: each word stands in the same short sentence as the words of
the vocabulary, and the mean of its own tokens' features is compared by cosine.
"""

from __future__ import annotations

from hibari.training.prompt_help.neighbourhoods import Neighbourhoods, neighbourhoods
from hibari.training.prompt_help.reading import Reading
from hibari.training.prompt_help.rewriting import rewritten
from hibari.training.prompt_help.telling import limits, missing
from hibari.training.prompt_help.words import PromptHelp, Word

__all__ = ["WORLD_MODELS", "Neighbourhoods", "PromptHelp", "Word", "explain"]

WORLD_MODELS = frozenset(("mini", "mini-fast"))
"""Models that the rendered world taught."""


def explain(prompt: str, near: Neighbourhoods | None = None) -> PromptHelp:
    """What hibari-mini will make of a prompt; the same prompt gets the same answer."""
    near = near or neighbourhoods()
    words = Reading(prompt, near).words()
    return PromptHelp(
        prompt=prompt,
        words=tuple(words),
        missing=tuple(missing(words)),
        limits=tuple(limits(prompt, words)),
        suggestion=rewritten(prompt, words, near),
    )
