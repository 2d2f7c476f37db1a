"""Defends: every tool of a video's page asks for what it says and gives a video that plays; files for elsewhere are
what their names say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image
from playwright.sync_api import Page, expect
from studio import Watched, make, wait_until_over

from hibari import media
from server_process import Server, start, until

WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)


def video(server: Server, video_id: str) -> dict[str, Any]:
    return httpx2.get(f"{server.url}/videos/{video_id}", timeout=30).json()


def used(page: Page, server: Server, source: str, tool: str, set_up: Callable[[], None]) -> str:
    """Choose a tool on the source's page, set it up, send it; the new video's id, once it has its own page."""
    page.goto(f"{server.origin}/videos/{source}")
    page.locator(".tools .segments label").get_by_text(tool, exact=True).first.click()
    set_up()
    page.locator("form.tools button.primary").click()
    page.wait_for_url(lambda url: "/videos/" in url and not url.endswith(source))
    return page.url.rsplit("/", 1)[1]


def test_every_tool_asks_for_what_it_says(page: Page, server: Server, axe: str) -> None:
    one, two = (make(server, prompt, seconds="1", steps=2) for prompt in ("a cat", "a dog"))
    for source in (one, two):
        wait_until_over(server, source)

    said = ""

    def says(text: str) -> None:
        nonlocal said
        said = text
        page.get_by_label("Prompt", exact=True).fill(text)

    def edit() -> None:
        says("a cat at night")
        page.get_by_text("A little", exact=True).click()

    def back() -> None:
        says("a cat wakes")
        page.get_by_text("Before its beginning").click()
        page.get_by_label("New seconds").select_option("2")

    def other() -> None:
        says("a cat becomes a dog")
        page.get_by_title("a dog", exact=True).click()

    def blend() -> None:
        other()
        page.get_by_text("At once").click()
        page.get_by_text("Some", exact=True).click()

    def trim() -> None:
        page.get_by_role("slider", name=re.compile("^First frame")).fill("3")
        page.get_by_role("slider", name=re.compile("^Last frame")).fill("6")
        expect(page.locator(".trim")).to_contain_text("4 frames stay, 0.50 s")
        expect(page.locator(".controls output")).to_have_text("6 / 8")  # the player shows what is cut
        page.evaluate(axe)
        found = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})")
        assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]] == []

    wishes: list[tuple[str, Callable[[], None], str, dict[str, object]]] = [
        ("Edit", edit, "edit", {"strength": "subtle"}),
        ("Extend", lambda: says("a cat runs"), "extend", {"added_s": 1}),
        ("Extend", back, "extend_back", {"added_s": 2}),
        ("Loop", lambda: says("a cat turns around"), "loop", {"added_s": 1}),
        ("Connect", other, "connect", {"added_s": 1}),
        ("Blend", blend, "blend", {"curve": "step", "strength": "mild"}),
        ("Trim", trim, "trim", {"kept": [2, 5]}),
    ]
    ids: list[str] = []
    for tool, set_up, name, recipe in wishes:
        said = "a cat"  # the source's, unless there is something else to say
        ids.append(used(page, server, one, tool, set_up))
        made = video(server, ids[-1])
        assert (made["hibari"]["tool"], made["prompt"]) == (name, said)
        assert {key: made["hibari"]["recipe"][key] for key in recipe} == recipe, name
        assert made["hibari"]["sources"] == ([one, two] if name in ("connect", "blend") else [one])
    for video_id in ids:
        wait_until_over(server, video_id)
        assert video(server, video_id)["status"] == "completed", video(server, video_id)["error"]
    assert video(server, ids[-1])["hibari"]["frames"] == 4
    until(lambda: page.evaluate("document.querySelector('.player video')?.videoWidth > 0"))
    expect(page.locator(".recipe")).to_contain_text("3 to 6 of its source")
    expect(page.locator(".lineage")).to_contain_text("a cat")


def test_a_clip_as_gif_and_webp_with_its_recipe(page: Page, server: Server, tmp_path: Path) -> None:
    source = make(server, "<b>ein Hund</b>", seconds="1", steps=2)
    wait_until_over(server, source)
    page.goto(f"{server.origin}/videos/{source}")
    expect(page.locator("#marks")).to_contain_text("carries its recipe")
    for kind in ("GIF", "WebP", "MP4"):
        with page.expect_download() as downloading:
            page.locator(".download").get_by_text(kind, exact=True).click()
        assert downloading.value.suggested_filename == f"{source}.{kind.lower()}"
        path = tmp_path / kind
        downloading.value.save_as(path)
        assert media.read_recipe(path)["request"]["prompt"] == "<b>ein Hund</b>"
        if kind != "MP4":
            with Image.open(path) as image:
                assert (image.format, getattr(image, "n_frames", 1)) == (kind.upper(), 8)


def test_the_server_dies_and_comes_back_under_an_open_page(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    watched.refusals = ["net::ERR_"]
    server = start(tmp_path / "data")
    port = server.origin.rsplit(":", 1)[1]
    try:
        page.goto(server.origin)
        made = make(server, "a long one", seconds="60", steps=200)
        page.reload()
        growing = page.locator(f'[data-id="{made}"][data-status="in_progress"]')
        expect(growing).to_have_count(1)
        expect(growing.locator(".told")).to_contain_text(re.compile(r"Step [1-9]"))
        page.get_by_label("What happens in the video?").fill("half a sentence")
        server.process.kill()
        server.process.wait(30)
        assert server.process.stdout is not None
        server.process.stdout.close()
        expect(page.get_by_text("The server cannot be reached")).to_be_visible()
        server = start(tmp_path / "data", "--port", port)
        expect(page.get_by_text("The server cannot be reached")).to_have_count(0)  # by itself
        expect(page.get_by_label("What happens in the video?")).to_have_value("half a sentence")
        expect(growing.locator(".told")).to_contain_text(re.compile(r"Step [1-9]"))  # a worker has it again
        preview = growing.locator("img.preview")
        last = preview.get_attribute("src")
        expect(preview).not_to_have_attribute("src", last or "")  # and the page follows the events again
        page.get_by_role("button", name="Make it").click()
        expect(page.locator(".card")).to_have_count(2)
        growing.get_by_role("button", name="Cancel").click()
        expect(page.locator(f'[data-id="{made}"][data-status="failed"]')).to_have_count(1)
    finally:
        page.goto("about:blank")
        server.stop()


def test_an_idle_page_sees_what_is_made_elsewhere_and_that_its_server_is_gone(
    watched: Watched, server: Server
) -> None:
    page = watched.page
    page.clock.install()
    page.goto(server.origin)
    expect(page.get_by_label("What happens in the video?")).to_be_visible()
    other = make(server, "made elsewhere", seconds="1", steps=1)
    wait_until_over(server, other)
    expect(page.locator(f'[data-id="{other}"]')).to_have_count(0)
    page.clock.fast_forward(25_000)
    expect(page.locator(f'[data-id="{other}"]')).to_have_count(1)
    watched.refusals = ["net::ERR_"]
    page.route("**/v1/**", lambda route: route.abort())

    def told() -> bool:
        page.clock.fast_forward(5_000)  # the pauses between attempts are of this clock, too
        return page.get_by_text("The server cannot be reached").is_visible()

    until(told)


def test_a_closed_tab_loses_nothing(page: Page, server: Server) -> None:
    page.goto(server.origin)
    page.get_by_label("What happens in the video?").fill("made behind a closed tab")
    page.get_by_role("button", name="Make it").click()
    card = page.locator(".card").filter(has_text="made behind a closed tab")
    expect(card).to_have_count(1)
    made = card.get_attribute("data-id") or ""
    context = page.context
    page.close()
    wait_until_over(server, made)
    again = context.new_page()
    again.goto(f"{server.origin}/videos/{made}")
    until(lambda: again.evaluate("document.querySelector('.player video')?.videoWidth > 0"))
