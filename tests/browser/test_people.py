"""Defends: people in the studio: sign in and out, one's own keys and webhooks, an administrator's pages, and that these
are not there for others."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer

import openai
import pytest
from playwright.sync_api import Browser, expect
from studio import Watched, make

from hibari.accounts import Accounts, Role
from hibari.db import Database
from server_process import Server, start

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")
expect.set_options(timeout=60_000)
ROOMS = ("accounts", "queue", "models", "storage", "audit")


@dataclass
class People:
    """A server with keys, and who has them."""

    server: Server
    keys: dict[str, str]

    def sign_in(self, watched: Watched, name: str, path: str = "/") -> None:
        watched.refusals = ["401 (Unauthorized)"]  # by which the page learns that it has to ask for a key
        page = watched.page
        page.context.clear_cookies()
        page.goto(self.server.origin + path)
        page.get_by_label("API key").fill(self.keys[name])
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_label("API key")).to_have_count(0)


@pytest.fixture(scope="module")
def people(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    folder = tmp_path_factory.mktemp("people") / "data"
    server = start(folder, HIBARI_PRIVATE_URLS="1")
    database = Database(f"sqlite:///{folder}/hibari.db")
    accounts = Accounts(database)
    keys = {
        name: accounts.create_key(accounts.create(name).id, name, role=role).secret
        for name, role in (("root", Role.ADMIN), ("eve", Role.REVIEWER), ("ada", Role.MEMBER))
    }
    database.close()
    yield People(server, keys)
    server.stop()


def test_a_key_is_made_used_by_the_official_client_and_revoked(watched: Watched, people: People) -> None:
    page = watched.page
    watched.refusals = ["401 (Unauthorized)"]
    page.goto(people.server.origin + "/account")
    page.get_by_label("API key").fill("hb_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not known here")
    people.sign_in(watched, "ada", "/account")
    expect(page.get_by_role("heading", level=1)).to_have_text("ada")
    expect(page.get_by_text("signed in with it")).to_have_count(1)

    page.get_by_label("What it is for").fill("laptop")
    page.get_by_label("Expires").select_option("30")
    page.get_by_label("Make and delete videos").uncheck()
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Make a key").press("Enter")
    shown = page.get_by_role("textbox", name="The new key")
    expect(shown).to_be_focused()
    secret = shown.input_value()
    client = openai.OpenAI(base_url=people.server.url, api_key=secret, max_retries=0)
    assert client.videos.list().data == []
    with pytest.raises(openai.PermissionDeniedError):
        client.videos.create(prompt="a cat")
    page.get_by_role("button", name="I have it").click()
    row = page.locator("li[data-key]", has_text="laptop")
    expect(row).to_contain_text("until")
    page.reload()
    expect(row).to_contain_text("last used just now")
    assert secret not in page.content()

    page.get_by_role("button", name="Revoke laptop").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Revoke laptop").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_role("button", name="Revoke laptop")).to_have_count(0)
    with pytest.raises(openai.AuthenticationError):
        client.videos.list()
    page.get_by_text("opens nothing any more").click()
    expect(row).to_contain_text("revoked")

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()


def test_an_account_is_added_paused_limited_and_deleted_and_the_log_has_it(
    watched: Watched, people: People
) -> None:
    page = watched.page
    people.sign_in(watched, "root", "/admin")
    page.get_by_label("Name", exact=True).fill("mallory")
    page.get_by_label("Role").select_option("reviewer")
    page.get_by_role("button", name="Add it, with a key").click()
    secret = page.get_by_role("textbox", name="The new key").input_value()
    page.get_by_role("button", name="I have it").click()
    row = page.locator('li[data-account="mallory"]')
    expect(row).to_contain_text("Reviewer")

    page.get_by_role("button", name="Pause mallory").click()
    expect(row).to_contain_text("paused")
    make(people.server, "a cat", key=secret)
    expect(row).to_contain_text("1 waiting", timeout=60_000)  # and stays so
    row.locator("summary").first.click()
    row.get_by_label("Waiting").fill("1")
    row.get_by_role("button", name="Save").click()
    expect(row.get_by_text("Saved")).to_be_visible()
    client = openai.OpenAI(base_url=people.server.url, api_key=secret, max_retries=0)
    with pytest.raises(openai.RateLimitError):
        client.videos.create(prompt="a second one")
    row.get_by_label("Role").select_option("member")
    expect(page.get_by_role("dialog")).to_contain_text("All keys of the account get this role")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(row.get_by_label("Role")).to_have_value("reviewer")
    expect(row.locator(".name").first).to_contain_text("Reviewer")
    row.get_by_label("Role").select_option("member")
    page.get_by_role("dialog").get_by_role("button", name="Change the role").click()
    expect(row.locator(".name").first).to_contain_text("Member")
    expect(row.get_by_label("Role")).to_have_value("member")

    page.get_by_role("link", name="Queue").click()
    video = page.locator("li[data-video]", has_text="mallory")
    expect(video).to_contain_text("waiting")
    video.get_by_label("Priority").fill("7")
    video.get_by_label("Priority").press("Enter")
    page.get_by_role("button", name=re.compile("Cancel video_")).click()
    expect(video).to_have_count(0)
    page.get_by_role("button", name="Pause everything").click()
    expect(page.get_by_text("Everything has been paused since")).to_be_visible()
    page.get_by_role("button", name="Let everything go on").click()
    expect(page.get_by_text("Everything has been paused since")).to_have_count(0)

    page.get_by_role("link", name="Accounts").click()
    page.get_by_role("button", name="Resume mallory").click()
    expect(page.get_by_role("button", name="Pause mallory")).to_be_visible()
    row.locator("summary").first.click()
    row.get_by_role("button", name="Delete the account").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the account").click()
    expect(row).to_have_count(0)
    with pytest.raises(openai.AuthenticationError):
        client.videos.list()

    page.get_by_role("link", name="Audit log").click()
    expect(page.locator('li[data-action="account.deleted"]')).to_contain_text(
        "root deleted the account mallory"
    )
    found = page.locator("li[data-action]").evaluate_all("rows => rows.map((row) => row.dataset.action)")
    assert found[:10] == [
        "account.deleted",
        "account.resumed",
        "server.resumed",
        "server.paused",
        "video.cancelled",
        "video.priority",
        "account.role",
        "account.limits",
        "account.paused",
        "key.created",
    ]
    people.server.hibari("admin", "pause", "--key", "eve")
    expect(page.locator('li[data-action="key.paused"]')).to_contain_text("at the command line")
    people.server.hibari("admin", "resume", "--key", "eve")
    page.get_by_label("What").select_option("server")
    expect(page.locator("li[data-action]")).to_have_count(2)
    assert secret[11:] not in page.content()


def test_the_pages_are_not_there_for_others(watched: Watched, people: People) -> None:
    page = watched.page
    people.sign_in(watched, "ada")
    page.get_by_label("Settings").click()
    expect(page.get_by_role("link", name="Account")).to_be_visible()
    expect(page.get_by_role("link", name="Administration")).to_have_count(0)
    for room in ("", *(f"/{room}" for room in ROOMS)):
        page.goto(f"{people.server.origin}/admin{room}")
        expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing at this address.")
    people.sign_in(watched, "eve", "/admin")
    expect(page.locator(".rooms a")).to_have_text(["Queue", "Models"])
    expect(page.get_by_role("button", name="Pause everything")).to_have_count(0)
    page.goto(f"{people.server.origin}/admin/accounts")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing at this address.")


def test_a_webhook_is_told_shows_its_log_and_is_told_again(watched: Watched, people: People) -> None:
    page = watched.page
    told: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.headers["webhook-id"])
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    with HTTPServer(("127.0.0.1", 0), Hook) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        people.sign_in(watched, "ada", "/account")
        page.get_by_label("Address").fill(f"http://127.0.0.1:{listening.server_port}/hook")
        page.get_by_label("Name", exact=True).fill("mine")
        page.get_by_role("button", name="Add a webhook").click()
        expect(page.get_by_role("textbox", name="The signing secret")).to_have_value(re.compile("^whsec_"))
        page.get_by_role("button", name="I have it").click()
        make(people.server, "a cat", key=people.keys["ada"], seconds="1")
        hook = page.locator("li[data-hook]")
        hook.get_by_text("Deliveries").click()
        expect(hook.get_by_text("answered 204")).to_be_visible()
        hook.get_by_role("button", name="Send again").click()
        expect(page.get_by_text("It is sent again.")).to_be_visible()
        expect(hook.get_by_text("delivered")).to_have_count(1)
        page.wait_for_timeout(100)
        for _ in range(600):
            if len(told) == 2:
                break
            page.wait_for_timeout(100)
        assert len(told) == 2
        assert len(set(told)) == 1
        page.get_by_role("button", name="Delete mine").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(hook).to_have_count(0)
        listening.shutdown()


def test_the_first_key_keeps_its_maker_signed_in(watched: Watched, server: Server) -> None:
    page = watched.page
    page.goto(server.origin + "/account")
    expect(page.get_by_text("With the first key, everybody needs one")).to_be_visible()
    page.get_by_label("What it is for").fill("mine")
    page.get_by_role("button", name="Make a key").click()
    expect(page.get_by_role("textbox", name="The new key")).to_have_value(re.compile("^hb_"))
    expect(page.get_by_text("signed in with it")).to_be_visible()
    page.reload()
    expect(page.get_by_text("signed in with it")).to_be_visible()
    page.get_by_label("Settings").click()
    page.get_by_role("link", name="Administration").click()
    expect(page.locator('li[data-account="local"]')).to_contain_text("Administrator")


def test_axe_finds_nothing_and_nothing_is_wider_than_a_phone(
    watched: Watched, people: People, axe: str
) -> None:
    page = watched.page
    people.sign_in(watched, "root", "/account")
    people.server.hibari("admin", "pause", "--account", "ada")  # so that a video is waiting all the while
    video = make(people.server, "a cat", key=people.keys["ada"])
    for path in ("account", *(f"admin/{room}" for room in ROOMS)):
        page.set_viewport_size({"width": 390, "height": 780})
        page.goto(f"{people.server.origin}/{path}")
        page.wait_for_selector(".people .rows li, .figures")
        page.evaluate("document.querySelectorAll('.people details').forEach((one) => { one.open = true })")
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        page.evaluate(axe)
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            found = page.evaluate(
                "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
            )
            told = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]
            assert told == [], f"{path} {theme}"
    page.goto(f"{people.server.origin}/admin/queue")
    page.get_by_role("button", name=f"Cancel {video}").click()
    expect(page.locator("li[data-video]")).to_have_count(0)
    people.server.hibari("admin", "resume", "--account", "ada")
