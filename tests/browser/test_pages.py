"""Defends: the studio in a real browser, before a real server and worker. Nothing is lost when a page is loaded anew,
and nothing that somebody writes becomes anything but text."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
from playwright.sync_api import Page, expect
from studio import Watched, make, wait_until_over

from hibari.accounts import Accounts
from hibari.db import Database
from server_process import Server, start, until

MARKUP = "<img src=x onerror=alert(1)> a cat"
WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)


def videos(server: Server) -> list[dict[str, object]]:
    return httpx2.get(f"{server.url}/videos?limit=100", timeout=30).json()["data"]


def test_make_watch_reload_in_mid_job_cancel_and_try_again(page: Page, server: Server) -> None:
    page.goto(server.origin)
    expect(page.get_by_label("What happens in the video?")).to_be_focused()
    page.keyboard.type(MARKUP)
    page.get_by_label("Length").select_option("60")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Steps").fill("200")
    page.get_by_label("What happens in the video?").focus()
    page.keyboard.press("Control+Enter")

    growing = page.locator('[data-status="in_progress"]')
    expect(growing).to_have_count(1)
    expect(growing.locator("img.preview")).to_have_attribute("src", re.compile("^data:image/webp"))
    first = growing.locator("img.preview").get_attribute("src")
    expect(growing.locator("img.preview")).not_to_have_attribute("src", first or "")  # it moves
    expect(growing.locator(".told")).to_contain_text(re.compile(r"Step \d+ of \d+"))
    video_id = growing.get_attribute("data-id")
    before = int(growing.locator("progress").get_attribute("value") or 0)

    page.reload()
    again = page.locator(f'[data-id="{video_id}"][data-status="in_progress"]')
    expect(again.locator("img.preview")).to_be_visible()
    assert int(again.locator("progress").get_attribute("value") or 0) >= before
    expect(again.locator(".caption")).to_have_text(MARKUP)
    expect(page.get_by_label("What happens in the video?")).to_have_value(MARKUP)
    assert page.locator('img[src="x"]').count() == 0

    again.get_by_role("button", name="Cancel").click()
    cancelled = page.locator(f'[data-id="{video_id}"][data-status="failed"]')
    expect(cancelled).to_contain_text("Cancelled")
    cancelled.get_by_role("button", name="Try again").click()
    expect(growing).to_have_count(1)
    assert growing.get_attribute("data-id") != video_id
    growing.get_by_role("button", name="Cancel").click()
    expect(growing).to_have_count(0)


def test_play_step_remix_and_find_the_way_back(page: Page, server: Server) -> None:
    source = make(server, MARKUP, seconds="1")
    wait_until_over(server, source)
    page.goto(server.origin + "/gallery")
    shown = page.locator(f'[data-id="{source}"]')
    shown.locator(".picture").hover()
    expect(shown.locator(".moments")).to_be_visible()
    shown.locator(".picture").click()

    page.wait_for_url(f"**/videos/{source}")
    expect(page.get_by_role("heading", level=1)).to_have_text(MARKUP)
    assert page.locator('img[src="x"]').count() == 0
    until(lambda: page.evaluate("document.querySelector('video').currentTime > 0.2"))
    page.get_by_role("button", name="One frame forward").click()
    stopped = page.get_by_label("Frame", exact=True).input_value()
    page.get_by_role("button", name="One frame forward").click()
    expect(page.get_by_label("Frame", exact=True)).to_have_value(str((int(stopped) + 1) % 8))
    assert page.evaluate("document.querySelector('video').paused")

    page.get_by_label("Prompt", exact=True).fill("a dog")
    page.get_by_role("button", name="Remix", exact=True).click()
    page.wait_for_url(lambda url: url.startswith(server.origin + "/videos/") and not url.endswith(source))
    remix = page.url.rsplit("/", 1)[1]
    expect(page.get_by_label("a dog").first).to_be_visible()
    page.wait_for_selector(".player video")  # it has grown into a clip on its own page
    found = httpx2.get(f"{server.url}/videos/{remix}", timeout=30).json()
    assert (found["remixed_from_video_id"], found["prompt"]) == (source, "a dog")
    page.locator(".lineage").get_by_role("link").first.click()
    page.wait_for_url(f"**/videos/{source}")
    expect(page.locator(".lineage")).to_contain_text("Remix: a dog")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("a dog")

    page.get_by_role("button", name="Begin a video with this frame").click()
    expect(page.locator(".attached img")).to_be_visible()
    page.get_by_role("button", name="Make it").click()
    expect(page.locator(".attached")).to_have_count(0)
    begun = videos(server)[0]
    assert begun["hibari"]["recipe"]["picture"]  # pyright: ignore[reportIndexIssue]
    page.goto(f"{server.origin}/videos/{begun['id']}")
    page.get_by_role("button", name="Use again").click()
    until(lambda: page.locator(".attached img").evaluate("one => one.naturalWidth > 0"))


def test_deleting_can_be_taken_back_and_ends_with_the_page(page: Page, server: Server) -> None:
    video = make(server, "to be deleted", seconds="1")
    wait_until_over(server, video)
    page.goto(f"{server.origin}/videos/{video}")
    page.get_by_role("button", name="Delete").click()
    expect(page).to_have_url(server.origin + "/gallery")
    expect(page.locator(f'[data-id="{video}"]')).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(f'[data-id="{video}"]')).to_have_count(1)
    assert httpx2.get(f"{server.url}/videos/{video}", timeout=30).status_code == 200

    page.get_by_role("searchbox").fill("to be DELETED")
    expect(page.locator(".card")).to_have_count(1)
    page.locator(f'[data-id="{video}"] .picture').click()
    page.get_by_role("button", name="Delete").click()
    expect(page).to_have_url(server.origin + "/gallery")
    page.reload()  # nobody waits for six seconds
    until(lambda: httpx2.get(f"{server.url}/videos/{video}", timeout=30).status_code == 404)


def test_a_file_that_is_no_video_is_refused_and_loses_nothing(watched: Watched, server: Server) -> None:
    page = watched.page
    watched.refusals = ["400 (Bad Request)"]
    count = len(videos(server))
    page.goto(server.origin)
    page.get_by_label("What happens in the video?").fill("in the rain")
    file = page.locator('input[type="file"]')
    file.set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no video"})
    expect(page.get_by_role("alert")).to_contain_text("notes.txt is neither a picture nor a clip")
    file.set_input_files({"name": "clip.mp4", "mimeType": "video/mp4", "buffer": b"no video either"})
    expect(page.locator(".attached")).to_be_visible()
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("alert")).to_contain_text("video is of a kind that is not taken")
    expect(page.get_by_label("What happens in the video?")).to_have_value("in the rain")
    assert len(videos(server)) == count


def test_sign_in_with_a_key_until_it_is_revoked(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    watched.refusals = ["401 (Unauthorized)"]
    server = start(tmp_path / "data", "--workers", "0")
    database = Database(f"sqlite:///{tmp_path}/data/hibari.db")
    accounts = Accounts(database)
    account = accounts.create("ada")
    first, second = (accounts.create_key(account.id, name) for name in ("first", "second"))
    try:
        page.goto(server.origin + "/gallery")
        page.get_by_label("API key").fill("hb_wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("not known here")
        page.get_by_label("API key").fill(first.secret)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Gallery")).to_be_visible()
        assert page.evaluate("document.cookie") == ""
        page.reload()
        page.get_by_role("link", name="Make", exact=True).click()
        page.get_by_label("What happens in the video?").fill("a cat")
        page.get_by_role("button", name="Make it").click()
        expect(page.locator('[data-status="queued"]')).to_have_count(1)

        page.get_by_label("Settings").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API key")).to_be_visible()
        page.reload()
        page.get_by_label("API key").fill(second.secret)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator('[data-status="queued"]')).to_have_count(1)
        accounts.revoke(second.key.id)
        page.locator('[data-status="queued"]').get_by_role("button", name="Cancel").click()
        expect(page.get_by_label("API key")).to_be_visible()
        expect(page.get_by_text("a cat")).to_have_count(0)
    finally:
        database.close()
        page.goto("about:blank")
        server.stop()


def test_a_storyboard_is_arranged_taken_back_and_made(page: Page, server: Server) -> None:
    page.goto(server.origin + "/storyboard")
    timeline = page.get_by_role("list", name="Timeline")
    page.get_by_label("What happens in card 1").fill("a cat sleeps")
    timeline.get_by_role("button").first.press("d")
    page.get_by_label("What happens in card 2").fill("a cat jumps")
    expect(timeline.get_by_role("button")).to_have_count(2)
    timeline.get_by_role("button").first.press("ArrowRight")  # now the second
    expect(timeline.get_by_role("button").first).to_contain_text("a cat jumps")

    edge = timeline.locator(".edge").first.bounding_box()
    assert edge is not None
    page.mouse.move(edge["x"] + 8, edge["y"] + 40)
    page.mouse.down()
    page.mouse.move(edge["x"] + 8 + edge["x"] / 2, edge["y"] + 40, steps=5)
    page.mouse.up()
    expect(page.get_by_role("status").filter(has_text="in all")).not_to_contain_text("4 s in all")
    page.keyboard.press("Control+z")
    expect(page.get_by_role("status").filter(has_text="in all")).to_contain_text("4 s in all")

    timeline.get_by_role("button").last.click()
    page.get_by_role("button", name="Split").click()
    expect(timeline.get_by_role("button")).to_have_count(3)
    page.reload()  # it is still there
    timeline.get_by_role("button").last.click()
    page.get_by_label("What happens in card 3").fill("a cat swims")
    page.get_by_role("button", name="Make it").click()
    page.get_by_role("link", name="Open the video").click()
    page.wait_for_url("**/videos/video_*")
    made = httpx2.get(f"{server.url}/videos/{page.url.rsplit('/', 1)[1]}", timeout=30).json()
    assert [(one["at_s"], one["prompt"]) for one in made["hibari"]["recipe"]["cards"]] == [
        (0, "a cat jumps"),
        (2, "a cat sleeps"),
        (3, "a cat swims"),
    ]
    assert made["seconds"] == "4"


def test_language_theme_and_a_server_that_is_away(watched: Watched, server: Server) -> None:
    page = watched.page
    watched.refusals = ["net::ERR_INTERNET_DISCONNECTED"]
    page.goto(server.origin)
    page.get_by_label("Settings").click()
    page.get_by_label("Language").select_option("de")
    page.get_by_label("Aussehen").select_option("dark")
    page.reload()
    expect(page.get_by_role("link", name="Galerie", exact=True)).to_be_visible()
    assert page.evaluate("[document.documentElement.lang, getComputedStyle(document.body).colorScheme]") == [
        "de",
        "dark",
    ]
    page.context.set_offline(True)
    expect(page.get_by_text("Der Server ist nicht erreichbar")).to_be_visible()
    page.context.set_offline(False)
    expect(page.get_by_text("Der Server ist nicht erreichbar")).to_have_count(0)


def test_text_cannot_become_markup_whatever_the_page_does(watched: Watched, server: Server) -> None:
    page = watched.page
    watched.refusals = ["TrustedHTML", "Content Security Policy", "Content-Security-Policy"]
    answer = page.goto(server.origin)
    assert answer is not None
    assert "require-trusted-types-for 'script'" in answer.headers["content-security-policy"]
    refused = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return false } catch { return true } }"
    )
    assert refused


def test_axe_finds_nothing_in_either_theme(page: Page, server: Server, axe: str) -> None:
    video = make(server, "a cat", seconds="1")
    wait_until_over(server, video)
    failed = make(server, "a dog", seconds="60", steps=200)
    httpx2.post(f"{server.url}/videos/{failed}/cancel", timeout=30)
    wait_until_over(server, failed)
    pages = ["", "gallery", f"videos/{video}", f"videos/{failed}", "storyboard", "sign-in", "videos/none"]
    for path in pages:
        page.goto(f"{server.origin}/{path}")
        page.wait_for_selector("main h1", state="attached")
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
        page.evaluate(axe)
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            found = page.evaluate(
                "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
            )
            told = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]
            assert told == [], f"{path} {theme}"
