"""What all tests share: the tier is the folder, and clips that no model had to make."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

import postgres_server
from hibari import catalog
from hibari.contracts import ClipStream, GenerationRequest, Recipe
from hibari.db import Database, migrate
from hibari.db.schema import metadata

# Tests run side by side, and what they compute is small: threads would wait for each other. torch reads it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("hibari", deadline=None)  # what else this machine does is not the code's fault
settings.register_profile("doors", deadline=None)  # of benchmarks/doors.py: many more cases
settings.load_profile("hibari")

TESTS = Path(__file__).parent

ClipMaker = Callable[..., ClipStream]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test in tests/unit is a `unit` test, and so on."""
    for item in items:
        tier = item.path.relative_to(TESTS).parts[0]
        item.add_marker(tier)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """What computes a lot in this process computes alone: commands give torch all cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL server of these tests' own; they clean up what they make in it."""
    binaries = postgres_server.programs()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed; scripts/need-postgres installs it")
    with postgres_server.running(binaries) as server:
        yield server.url


@pytest.fixture(scope="session")
def postgres(postgres_url: str) -> Iterator[Database]:
    """A migrated database on PostgreSQL, the same for all tests; `postgres_server.emptied` makes it anyone's own."""
    database = Database(postgres_url)
    migrate(database)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database of either kind, with all tables; the one of SQLite is in memory."""
    if request.param == "postgres":
        yield postgres_server.emptied(request.getfixturevalue("postgres"))
        return
    database = Database("sqlite://")
    metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgres"])
def shared_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Like `database`, but threads do not take turns at it: SQLite is a file."""
    if request.param == "postgres":
        yield postgres_server.emptied(request.getfixturevalue("postgres"))
        return
    database = Database(f"sqlite:///{tmp_path}/hibari.db")
    migrate(database)
    yield database
    database.close()
