"""What is asked for: prompts with known ground truth, the same ones every time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from hibari.contracts import InvalidRequest
from hibari.training.evaluate.lessons import UNKNOWN, truth
from hibari.training.world.captions import caption
from hibari.training.world.spec import ClipSpec, draw

SUITE_SEEDS = 3_000_000_000  # the lessons' begin at 3_500_000_000
CASES = 240
GROUPS = {"held-out": "single", "relation": "relation"}
"""Suites, and which clips of the world they ask for."""
SUITES = tuple(GROUPS)


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt.

    Attributes:
        prompt: the caption of `spec`.
        spec: what the prompt asks for; a combination that training never sees.
        seed: of the spec and of the caption.
    """

    prompt: str
    spec: ClipSpec
    seed: int


@lru_cache(maxsize=4)
def cases(suite: str = "held-out", count: int = CASES) -> tuple[Case, ...]:
    """The first `count` cases of a suite.

    "held-out": held-out specs of one figure, of successive seeds. Colours are seldom named, so every fourth
    case passes over the seeds whose clip shows no named colour; nothing else is chosen. "relation": held-out specs of
    two figures with a relation, of successive seeds.

    Raises:
        InvalidRequest: for an unknown suite, or for a count below 1.
    """
    if suite not in SUITES:
        raise InvalidRequest(f"no suite {suite!r}; there is {', '.join(SUITES)}", field="suite")
    if count < 1:
        raise InvalidRequest(f"the limit is {count}; must be 1 or more", field="limit")
    found: list[Case] = []
    seed = SUITE_SEEDS
    while len(found) < count:
        spec = draw(seed, "held_out", group=GROUPS[suite])
        if suite != "held-out" or len(found) % 4 != 1 or truth(spec)["colour"] != UNKNOWN:
            found.append(Case(caption(spec, seed), spec, seed))
        seed += 1
    return tuple(found)
