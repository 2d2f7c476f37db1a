"""Defends: the studio in a real browser, before a real server and worker. Nothing is lost when a page is loaded anew,
and nothing that somebody writes becomes anything but text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2
from playwright.sync_api import Page, expect
from studio import Watched, make, wait_until_over

from hibari.accounts import Accounts
from hibari.db import Database
from server_process import Server, start, until

MARKUP = "<img src=x onerror=alert(1)> a cat"
# Everything that a page could let in or out, and which directives refused it. Another port is another origin.
INTRUDE = """async () => {
  const refused = [];
  document.addEventListener("securitypolicyviolation", (one) => refused.push(one.effectiveDirective));
  const elsewhere = "http://127.0.0.1:9/x";
  const any = (text) => text;
  const trusted = trustedTypes.createPolicy("any", { createScriptURL: any, createScript: any, createHTML: any });
  const add = (tag, set) => document.body.append(Object.assign(document.createElement(tag), set));
  add("script", { src: trusted.createScriptURL(elsewhere) });
  add("script", { text: trusted.createScript("window.ran = true") });
  add("p", { innerHTML: trusted.createHTML("<img src='data:,' onerror='window.ran = true'>") });
  try { eval(trusted.createScript("window.ran = true")); } catch { /* it is told of */ }
  add("style", { textContent: "body { color: red }" });
  add("link", { rel: "stylesheet", href: elsewhere });
  add("img", { src: elsewhere });
  add("video", { src: elsewhere });
  add("iframe", { src: elsewhere });
  add("object", { data: trusted.createScriptURL(elsewhere) });
  document.head.append(Object.assign(document.createElement("base"), { href: elsewhere }));
  await new FontFace("x", `url(${elsewhere})`).load().catch(() => 0);
  await fetch(elsewhere).catch(() => 0);
  const form = Object.assign(document.createElement("form"), { action: elsewhere, method: "post" });
  document.body.append(form);
  form.submit();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  if (window.ran) refused.push("it ran");
  return refused;
}"""
REFUSED = [
    "script-src",  # eval
    "script-src-attr",
    "script-src-elem",
    "style-src-elem",
    "img-src",
    "media-src",
    "frame-src",
    "object-src",
    "base-uri",
    "font-src",
    "connect-src",
    "form-action",
]
PHONE_PX = 360
WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)


def videos(server: Server) -> list[dict[str, Any]]:
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
    asked = httpx2.get(f"{server.url}/videos/{video_id}", timeout=30).json()
    assert (asked["prompt"], asked["seconds"], asked["hibari"]["steps"]) == (MARKUP, "60", 20 * 200)
    page.route(re.compile(r"/v1/videos\?"), lambda route: None)  # from here on there are only the events
    told = growing.locator(".told").inner_text()
    expect(growing.locator(".told")).not_to_have_text(told)
    told = growing.locator(".told").inner_text()
    expect(growing.locator(".told")).not_to_have_text(told)
    page.unroute_all()
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


def test_all_that_is_chosen_is_asked_for(page: Page, server: Server) -> None:
    page.goto(server.origin)
    page.get_by_label("What happens in the video?").fill("a kite")
    page.get_by_text("Tall", exact=True).click()
    page.get_by_label("Size").select_option("360x640")
    page.get_by_label("Length").select_option("2")
    page.get_by_label("Variations").select_option("2")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("What must not be in it").fill("rain")
    numbers = {"Seed": "7", "Steps": "5", "Guidance": "2.5"}
    for label, value in numbers.items():
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Make it").click()
    expect(page.locator(".card").filter(has_text="a kite")).to_have_count(2)
    made = [video for video in videos(server) if video["prompt"] == "a kite"]
    assert [(video["size"], video["seconds"]) for video in made] == [("360x640", "2")] * 2
    told = [video["hibari"] for video in made]
    assert [(one["steps"], one["recipe"]["negative_prompt"]) for one in told] == [(5, "rain")] * 2
    assert [one["recipe"]["guidance_scale"] for one in told] == [2.5] * 2
    assert sorted(one["seed"] for one in told)[0] == 7
    page.reload()
    page.get_by_text("More", exact=True).click()
    for label, value in numbers.items():
        expect(page.get_by_label(label)).to_have_value(value)
    expect(page.get_by_label("Size")).to_have_value("360x640")


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
    page.get_by_text("A little", exact=True).click()
    page.get_by_role("button", name="Remix", exact=True).click()
    page.wait_for_url(lambda url: url.startswith(server.origin + "/videos/") and not url.endswith(source))
    remix = page.url.rsplit("/", 1)[1]
    expect(page.get_by_label("a dog").first).to_be_visible()
    page.wait_for_selector(".player video")  # it has grown into a clip on its own page
    found = httpx2.get(f"{server.url}/videos/{remix}", timeout=30).json()
    assert (found["remixed_from_video_id"], found["prompt"]) == (source, "a dog")
    assert found["hibari"]["recipe"]["strength"] == "subtle"
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
    assert begun["hibari"]["recipe"]["picture"]
    page.goto(f"{server.origin}/videos/{begun['id']}")
    page.get_by_role("button", name="Use again").click()
    until(lambda: page.locator(".attached img").evaluate("one => one.naturalWidth > 0"))


def test_deleting_can_be_taken_back_and_ends_with_the_page(page: Page, server: Server) -> None:
    video, other = (make(server, f"to be {done}", seconds="1") for done in ("deleted", "left"))
    for one in (video, other):
        wait_until_over(server, one)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "DELETE" else None)

    def delete(video_id: str) -> None:
        page.goto(f"{server.origin}/videos/{video_id}")
        page.get_by_role("button", name="Delete").click()
        expect(page).to_have_url(server.origin + "/gallery")
        expect(page.locator(f'[data-id="{video_id}"]')).to_have_count(0)

    def is_gone(video_id: str) -> bool:
        return httpx2.get(f"{server.url}/videos/{video_id}", timeout=30).status_code == 404

    page.clock.install()
    delete(video)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(f'[data-id="{video}"]')).to_have_count(1)
    page.clock.fast_forward(10_000)  # longer than the page waits
    page.evaluate("fetch('/v1/session').then((answer) => answer.status)")  # what was sent before is known of
    assert sent == []
    assert not is_gone(video)

    page.get_by_role("searchbox").fill("to be DELETED")
    expect(page.locator(".card")).to_have_count(1)
    delete(video)
    assert sent == []
    page.clock.fast_forward(10_000)
    until(lambda: is_gone(video))

    delete(other)
    page.reload()  # nobody waits for six seconds
    until(lambda: is_gone(other))


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
    begins_like_one = b"\0\0\0\x18ftypmp42" + bytes(60)
    file.set_input_files({"name": "clip.mp4", "mimeType": "video/mp4", "buffer": begins_like_one})
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("alert")).to_contain_text("video is damaged")
    expect(page.get_by_label("What happens in the video?")).to_have_value("in the rain")
    assert len(videos(server)) == count


def test_a_clip_of_ones_own_is_changed_and_gone_on_from(page: Page, server: Server) -> None:
    source = make(server, "a boat", seconds="1")
    wait_until_over(server, source)
    content = httpx2.get(f"{server.url}/videos/{source}/content", timeout=30).content
    ids: list[str] = []
    for use, tool, recipe in (
        ("edit", "edit", {"strength": "subtle"}),
        ("extend", "extend", {"added_s": 2}),
        ("extend_back", "extend_back", {"added_s": 2}),
    ):
        page.goto(server.origin)
        page.get_by_label("What happens in the video?").fill(f"a boat, {tool}")
        page.locator('input[type="file"]').set_input_files(
            {"name": "mine.mp4", "mimeType": "video/mp4", "buffer": content}
        )
        page.get_by_label("What to do with it").select_option(use)
        if tool == "edit":
            page.get_by_text("A little", exact=True).click()
        else:
            page.get_by_label("Length").select_option("2")
        page.get_by_role("button", name="Make it").click()
        expect(page.locator(".attached")).to_have_count(0)
        made = videos(server)[0]
        assert (made["prompt"], made["hibari"]["tool"]) == (f"a boat, {tool}", tool)
        assert {key: made["hibari"]["recipe"][key] for key in recipe} == recipe
        ids.append(made["id"])
    for video_id in ids:
        wait_until_over(server, video_id)
    assert [video["status"] for video in videos(server)[:3]] == ["completed"] * 3


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
        cookie = next(one for one in page.context.cookies(server.url) if one.get("value") == first.secret)
        assert (cookie.get("httpOnly"), cookie.get("sameSite")) == (True, "Strict")
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
    page.goto(server.origin)
    refused = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return false } catch { return true } }"
    )
    assert refused


def test_the_page_lets_nothing_else_in(watched: Watched, server: Server) -> None:
    """Whatever comes to run in it: no code but its own, nothing to or from another origin, and it is in no frame."""
    page = watched.page
    watched.refusals = ["Content Security Policy", "Content-Security-Policy", "ERR_BLOCKED_BY_RESPONSE"]
    page.goto(server.origin)
    assert sorted(set(page.evaluate(INTRUDE))) == sorted(REFUSED)
    other = page.context.new_page()  # of no origin, and with no policy of its own
    other.set_content(f'<iframe src="{server.origin}"></iframe>')
    other.frames[-1].wait_for_url(re.compile("^chrome-error:"), wait_until="commit")


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
        page.set_viewport_size({"width": PHONE_PX, "height": 780})
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE_PX, path
        page.set_viewport_size({"width": 1100, "height": 800})
