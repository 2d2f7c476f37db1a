"""What the tests of the studio and its pictures share: a browser, and videos made over the API."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from playwright.sync_api import Browser, Page, sync_playwright

from server_process import Server, until


@dataclass
class Watched:
    """A page, and the refusals that its test has asked for: the browser tells of each on its console."""

    page: Page
    refusals: list[str] = field(default_factory=list[str])


def chromium() -> str | None:
    """Debian's browser, if it is there; scripts/need-chromium installs it."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser without a window."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # root has none
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*sandbox, "--disable-gpu"])
        yield browser
        browser.close()


def make(server: Server, prompt: str, *, path: str = "", key: str | None = None, **values: Any) -> str:
    """Ask for a video over the API, and say its id."""
    answer = httpx2.post(
        f"{server.url}/videos{path}", json={"prompt": prompt, **values}, headers=_by(key), timeout=30
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def wait_until_over(server: Server, video_id: str, *, key: str | None = None) -> None:
    """Until a video is completed or has failed."""

    def over() -> bool:
        answer = httpx2.get(f"{server.url}/videos/{video_id}", headers=_by(key), timeout=30).json()
        return answer["status"] in ("completed", "failed")

    until(over)


def _by(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}
