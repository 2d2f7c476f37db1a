"""Defends: the studio with the model that ships: whoever comes for the first time finds videos that this machine makes;
what the model makes of a prompt is told while it is written, and the video is made."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Page, expect

from server_process import Server, start, until

WAIT_MS = 60_000
FIRST_VISIT_MS = 600_000  # half a minute on an idle machine; this is for a hang
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with hibari-mini."""
    server = start(tmp_path_factory.mktemp("mini") / "data", HIBARI_MODEL="mini")
    yield server
    server.stop()


def test_a_first_visit_shows_three_videos_that_are_made_here(page: Page, server: Server) -> None:
    page.goto(server.origin)
    samples = page.locator('.card[data-status="completed"]').filter(has=page.locator(".badge"))
    expect(samples).to_have_count(3, timeout=FIRST_VISIT_MS)
    until(lambda: all(samples.locator("img").evaluate_all("all => all.map(one => one.naturalWidth > 0)")))
    made = httpx2.get(f"{server.url}/videos", timeout=30).json()["data"]
    assert [video["hibari"]["model"] for video in made if video["hibari"]["sample"]] == ["mini"] * 3
    samples.first.locator("a.picture").click()
    until(lambda: page.evaluate("document.querySelector('.player video')?.videoWidth > 0"))


def test_a_prompt_is_read_as_it_is_written_and_a_storyboard_grows_of_it(page: Page, server: Server) -> None:
    page.goto(server.origin)
    prompt = page.get_by_label("What happens in the video?")
    expect(prompt).to_be_focused()
    page.keyboard.type("a crimson hound jumps by the ocean")
    words = page.get_by_role("list", name="What the model makes of it")
    expect(words).to_contain_text("hound")
    expect(words.locator("li.known").filter(has_text="jumps")).to_contain_text("known")
    expect(words.locator("li.close").filter(has_text="crimson")).to_contain_text("read as red")
    page.locator(".suggestion").click()
    expect(prompt).to_be_focused()
    expect(prompt).not_to_have_value("a crimson hound jumps by the ocean")
    expect(words.locator("li.close")).to_have_count(0)  # all in the model's own words
    sentence = prompt.input_value()

    board = [
        {"id": n, "prompt": f"{sentence} {when}", "seconds": 1} for n, when in ((1, ""), (2, "at night"))
    ]
    page.evaluate("cards => localStorage.setItem('storyboard', JSON.stringify({cards}))", board)
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Steps").fill("3")
    page.goto(server.origin + "/storyboard")
    page.get_by_role("button", name="Make it").click()
    expect(page.locator('.stage[data-status="completed"]')).to_be_visible()
    until(lambda: page.evaluate("document.querySelector('.stage video')?.videoWidth > 0"))
