"""One browser and one server for a file's tests, and a page that notices what must not happen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page
from studio import Watched, browsing, chromium

from server_process import Server, start

WAIT_MS = 60_000  # for a hang, and not for a busy machine


# Not for the session: while Playwright runs, its event loop is in the way of other tests of the same process.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("chromium is not installed; scripts/need-chromium installs it")
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the test card that asks for no key."""
    server = start(tmp_path_factory.mktemp("studio") / "data")
    yield server
    server.stop()


@pytest.fixture
def watched(browser: Browser, server: Server) -> Iterator[Watched]:
    """A page on which an error on the console, a dialog, or a word to another host is a failure; as on every other
    page that its test opens beside it."""
    context = browser.new_context(locale="en-GB", viewport={"width": 1100, "height": 800})
    context.set_default_timeout(WAIT_MS)
    noticed: list[str] = []
    context.on("weberror", lambda error: noticed.append(str(error.error)))
    context.on("dialog", lambda dialog: noticed.append(f"a dialog: {dialog.message}") or dialog.dismiss())
    context.on("console", lambda told: noticed.append(told.text) if told.type == "error" else None)
    hosts: set[str] = set()
    context.on("request", lambda request: hosts.add(urlsplit(request.url).hostname or ""))
    watched = Watched(context.new_page())
    yield watched
    context.close()
    unasked = [text for text in noticed if not any(known in text for known in watched.refusals)]
    assert unasked == []
    assert hosts <= {"127.0.0.1", ""}, hosts  # data: and blob: have none


@pytest.fixture
def page(watched: Watched) -> Page:
    return watched.page


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, out of the studio's own development packages."""
    path = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
    if not path.exists():
        pytest.skip("axe-core is not there; scripts/build-studio installs it")
    return path.read_text()
