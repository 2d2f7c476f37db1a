"""What the engine keeps of a generation until it is finished."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from hibari.contracts import GenerationRequest
from hibari.engine.loop import Run
from hibari.engine.start import Start
from hibari.engine.state import GenerationState


@dataclass(eq=False)
class Unfinished:
    """`run` is there once it has started, `decoder` once all steps are made."""

    id: str
    request: GenerationRequest
    start: Start | None
    owner: str
    priority: int
    arrival: int
    state: GenerationState
    weights_sha256: str | None = None  # of the weights that made what a restored state holds
    run: Run | None = None
    decoder: Iterator[Tensor] | None = None
    frames_done: int = 0
    paused: bool = False
    batched: bool = False
    began_s: float = 0.0
    began_step: int = 0
    saved_s: float = 0.0
    extra: dict[str, object] = field(default_factory=dict[str, object])

    @property
    def prompts(self) -> list[str]:
        """All that the text encoder will be asked for."""
        request = self.request
        prompts = [card.prompt for card in request.cards] or [request.prompt]
        return [*prompts, request.negative_prompt] if request.guidance_scale != 1 else prompts

    @property
    def steps_made(self) -> int:
        """0 for one that has not begun."""
        return self.run.steps_made if self.run else 0

    @property
    def left(self) -> int:
        """Tokens that are still to be computed; 0 for one that has not begun."""
        run = self.run
        return (run.total_steps - run.steps_made) * tokens(run) if run and not run.done else 0


def tokens(run: Run) -> int:
    """Of a window."""
    _, frames, height, width = run.window_shape
    return frames * height * width
