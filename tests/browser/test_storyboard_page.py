"""Defends: a storyboard of words, a picture and a clip becomes the video that its timeline shows, grows card by card,
and can be walked through with the playhead, before and after."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

import httpx2
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect
from studio import Watched, make, wait_until_over

from server_process import Server, until

WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)
# The most cards that were seen to grow, each with its own part of a preview.
COUNT = """() => {
  window.grown = 0;
  const growing = (tile) => tile.style.backgroundImage.startsWith('url("data:');
  new MutationObserver(() => {
    const tiles = [...document.querySelectorAll(".timeline .tile")].filter(growing);
    window.grown = Math.max(window.grown, tiles.length);
  }).observe(document.body, { subtree: true, childList: true, attributes: true });
}"""
IN_ITS_ROW = """(card) => {
  const [own, row] = [card, card.closest(".reel")].map((one) => one.getBoundingClientRect());
  return own.left >= row.left - 1 && own.right <= row.right + 1;
}"""
AXE = "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"


def picture() -> bytes:
    content = BytesIO()
    Image.new("RGB", (1600, 900), "teal").save(content, "PNG")
    return content.getvalue()


def fill_in(page: Page, server: Server) -> str:
    """Three cards: words, a picture after a gap of a second, a clip after another; the clip's id."""
    clip = make(server, "a boat", seconds="1", steps=2)
    wait_until_over(server, clip)
    page.goto(server.origin + "/storyboard")
    page.get_by_label("What happens in card 1").fill("a cat sleeps")
    page.get_by_role("button", name="Add a card").click()
    page.get_by_label("What happens in card 2").fill("a teal wall")
    file: FilePayload = {"name": "wall.png", "mimeType": "image/png", "buffer": picture()}
    page.locator('.editor input[type="file"]').set_input_files(file)
    expect(page.locator(".editor .attached img")).to_be_visible()
    page.get_by_role("button", name="Add a card").click()
    page.get_by_role("button", name="Show a clip").click()
    page.locator(".others").get_by_title("a boat").first.click()
    expect(page.get_by_label("What happens in card 3")).to_have_value("a boat")
    return clip


def made(page: Page, server: Server) -> dict[str, Any]:
    """The video, once the page has it."""
    with page.expect_response(lambda answer: answer.url.endswith("/v1/videos")) as answer:
        page.get_by_role("button", name="Make it").click()
    return answer.value.json()


def test_words_a_picture_and_a_clip_become_a_video_card_by_card(page: Page, server: Server, axe: str) -> None:
    clip = fill_in(page, server)
    timeline = page.get_by_role("list", name="Timeline")
    expect(page.get_by_role("status").filter(has_text="in all")).to_contain_text("7 s in all")
    expect(timeline.locator(".gap")).to_have_count(2)
    timeline.get_by_role("button").nth(1).press("]")  # a longer transition
    expect(page.get_by_label("Transition before")).to_have_value("1.5")
    timeline.get_by_role("button").nth(1).press("[")

    # Walk through the plan.
    playhead = page.get_by_label("Playhead")
    stage = page.locator(".stage")
    for moment, text in (
        ("0.5", "of the words"),
        ("2.5", "card 1 become card 2"),
        ("3.5", "begins with this picture"),
        ("6.5", "shown as it is"),
    ):
        playhead.fill(moment)
        expect(stage).to_contain_text(text)
    assert page.evaluate("document.querySelector('.stage video').currentTime > 0.4")
    page.evaluate(axe)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        found = page.evaluate(AXE)["violations"]
        assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []

    page.get_by_text("More", exact=True).click()
    page.get_by_label("Steps").fill("200")
    page.reload()  # nothing of it is lost
    expect(timeline.locator("img.face")).to_have_count(2)
    page.evaluate(COUNT)
    video = made(page, server)
    assert [
        (card["at_s"], card["prompt"], card["picture"], card["video"], card["transition_s"])
        for card in video["hibari"]["recipe"]["cards"]
    ] == [
        (0, "a cat sleeps", False, None, 0),
        (2.5, "a teal wall", False, None, 1),
        (3, "", True, None, None),
        (5.5, "a boat", False, None, 1),
        (6, "", False, clip, None),
    ]
    assert (video["seconds"], video["hibari"]["sources"]) == ("7", [clip])
    expect(page.locator('.stage[data-status="in_progress"]')).to_be_visible()
    expect(page.locator('.stage[data-status="completed"]')).to_be_visible()
    expect(timeline.locator(".tile.face")).to_have_count(3)
    assert page.evaluate("window.grown") > 1
    playhead.fill("3.5")
    until(lambda: page.evaluate("Math.abs(document.querySelector('.stage video').currentTime - 3.5) < 0.1"))
    page.get_by_role("button", name="Play").click()
    until(lambda: page.evaluate("Number(document.querySelector('.playhead').value) > 3.7"))

    page.get_by_label("What happens in card 1").fill("a cat wakes")
    expect(
        page.locator('.stage[data-status="planned"]')
    ).to_be_visible()  # it is not this board's video any more
    page.get_by_label("What happens in card 1").blur()
    page.keyboard.press("Control+z")
    expect(page.locator('.stage[data-status="completed"]')).to_be_visible()

    page.get_by_role("link", name="Open the video").click()
    page.wait_for_url(f"**/videos/{video['id']}")
    page.get_by_role("button", name="Use again").click()
    page.wait_for_url("**/storyboard")
    expect(timeline.get_by_role("button")).to_have_count(3)
    picture_again = timeline.get_by_role("button").nth(1).locator("img.face")
    until(lambda: picture_again.evaluate("one => [one.naturalWidth, one.naturalHeight]") == [1024, 576])
    expect(page.get_by_role("status").filter(has_text="in all")).to_contain_text("7 s in all")


def test_cards_are_dragged_to_where_they_leave_a_gap_and_past_each_other(page: Page, server: Server) -> None:
    board = [{"id": number, "prompt": f"card {number}", "seconds": 2, "gap": 0} for number in (1, 2, 3)]
    page.goto(server.origin + "/storyboard")
    page.evaluate("cards => localStorage.setItem('storyboard', JSON.stringify({cards}))", board)
    page.reload()
    timeline = page.get_by_role("list", name="Timeline")
    cards = timeline.get_by_role("button")
    box = timeline.bounding_box()
    assert box is not None
    second = box["width"] / 6

    def drag(number: int, seconds: float) -> None:
        card = cards.nth(number).bounding_box()
        assert card is not None
        x, y = card["x"] + card["width"] / 2, card["y"] + 20
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + seconds * second, y, steps=6)
        page.mouse.up()

    drag(2, 1)
    expect(timeline.locator(".gap")).to_have_text("Transition, 1 s")
    expect(page.get_by_role("status").filter(has_text="in all")).to_contain_text("7 s in all")
    page.keyboard.press("Control+z")  # one drag is one step
    expect(timeline.locator(".gap")).to_have_count(0)
    drag(2, -3.5)
    expect(cards).to_contain_text([re.compile("card 1"), re.compile("card 3"), re.compile("card 2")])
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+y")
    expect(cards.nth(1)).to_contain_text("card 3")


def test_the_card_that_is_at_hand_is_seen_on_a_phone(page: Page, server: Server) -> None:
    page.set_viewport_size({"width": 390, "height": 780})
    page.goto(server.origin + "/storyboard")
    chosen = page.get_by_role("list", name="Timeline").get_by_role("button", pressed=True)
    for _ in range(4):
        page.get_by_role("button", name="Add a card").click()
    expect(page.get_by_label("What happens in card 5")).to_be_visible()
    until(lambda: chosen.evaluate(IN_ITS_ROW))
    for _ in range(4):
        page.get_by_role("button", name="Earlier").click()
    expect(page.get_by_label("What happens in card 1")).to_be_visible()
    until(lambda: chosen.evaluate(IN_ITS_ROW))


def test_what_cannot_be_made_is_said_and_nothing_is_lost(watched: Watched, server: Server) -> None:
    page = watched.page
    page.goto(server.origin + "/storyboard")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("alert").last).to_contain_text("The first card must say what happens")
    page.get_by_label("What happens in card 1").fill("a cat")
    file: FilePayload = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    page.locator('.editor input[type="file"]').set_input_files(file)
    expect(page.get_by_role("alert").first).to_contain_text("notes.txt is no picture")
    page.get_by_label("Seconds").fill("45")
    page.get_by_label("Seconds").blur()
    page.get_by_role("button", name="Duplicate").click()
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("alert").last).to_contain_text("60 s at most")
    expect(page.get_by_label("What happens in card 2")).to_have_value("a cat")
    count = len(httpx2.get(f"{server.url}/videos?limit=100", timeout=30).json()["data"])
    page.reload()
    assert len(httpx2.get(f"{server.url}/videos?limit=100", timeout=30).json()["data"]) == count
    expect(page.get_by_role("list", name="Timeline").get_by_role("button")).to_have_count(2)
