"""A training clip, shown: where the data comes from, clip by clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hibari.contracts import ClipStream, GenerationRequest, Recipe
from hibari.media import write_clip
from hibari.training.world.captions import caption
from hibari.training.world.render import FPS, render
from hibari.training.world.spec import draw


def show_clip(seed: int, output: Path | None, captions: int = 4) -> dict[str, Any]:
    """Spec and captions of the training clip of a seed; its pixels go to `output`, with the spec inside the file."""
    spec = draw(seed)
    facts = {
        "spec": json.loads(spec.to_json()),
        "captions": [caption(spec, 1000 * seed + k) for k in range(captions)],
    }
    if output:
        frames = render(spec)
        count, height, width = frames.shape[:3]
        request = GenerationRequest(
            prompt=facts["captions"][0], model="world", negative_prompt="", width=width, height=height, fps=FPS,
            seconds=count / FPS, native_width=width, native_height=height, native_frames=count, steps=1,
            guidance_scale=1.0, seed=seed,
        )  # fmt: skip
        recipe = Recipe(request, None, {}, generator="hibari training world", extra={"spec": facts["spec"]})
        write_clip(ClipStream(iter(frames), width, height, FPS, count, recipe), output)
    return facts
