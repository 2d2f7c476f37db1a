"""What all tests share: the tier is the folder, and clips that no model had to make."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from hibari import catalog
from hibari.contracts import ClipStream, GenerationRequest, Recipe

settings.register_profile("hibari", deadline=None)  # what else this machine does is not the code's fault
settings.load_profile("hibari")

TESTS = Path(__file__).parent

ClipMaker = Callable[..., ClipStream]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test in tests/unit is a `unit` test, and so on."""
    for item in items:
        tier = item.path.relative_to(TESTS).parts[0]
        item.add_marker(tier)


@pytest.fixture
def recipe() -> Recipe:
    """A recipe whose prompt has what files and shells stumble over."""
    prompt = 'it\'s 5 $ for "日本" \\ 50 % <b>&amp;</b>\n🎈 two lines'
    request = GenerationRequest.resolve(catalog.spec("testcard"), prompt, seed=7)
    return Recipe(request=request, weights_sha256=None, versions={"hibari": "test"})


@pytest.fixture
def make_clip(recipe: Recipe) -> ClipMaker:
    """Clips out of a list (or any other iterable) of frames."""

    def make(frames: Iterable[np.ndarray], *, fps: int = 8, count: int | None = None) -> ClipStream:
        frames = list(frames) if count is None else frames
        first = frames[0] if isinstance(frames, list) else np.zeros((64, 96, 3), np.uint8)
        return ClipStream(
            frames=iter(frames),
            width=first.shape[1],
            height=first.shape[0],
            fps=fps,
            frame_count=len(frames) if isinstance(frames, list) else count or 0,
            recipe=recipe,
        )

    return make
