"""Defends: a model that was pulled is offered with those of its presets that can be used, and one that is chosen is
asked for, in place of steps and guidance."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Page, expect

from pulled_folder import pulled
from server_process import Server, start

WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without a worker, with a folder as `hibari pull` leaves it, without weights."""
    models = tmp_path_factory.mktemp("presets")
    pulled(models, "ltx")
    server = start(models / "data", "--workers", "0", HIBARI_MODELS=str(models))
    yield server
    server.stop()


def test_a_preset_is_chosen_asked_for_and_used_again(page: Page, server: Server) -> None:
    page.goto(server.origin)
    page.get_by_text("More", exact=True).click()
    expect(page.get_by_label("Steps")).to_be_visible()
    expect(page.get_by_label("Preset")).to_have_count(0)  # the test card has none
    page.get_by_label("Model").select_option("ltx")
    preset = page.get_by_label("Preset")
    expect(preset).to_be_visible()
    offered = preset.locator("option").all_inner_texts()
    assert offered[0] == "none"
    assert "ltxv-2b-0.9" in offered
    assert "ltxv-13b-0.9.8-dev" not in offered, "it wants a larger network than there is"
    page.get_by_label("Steps").fill("7")
    preset.select_option("ltxv-2b-0.9")
    expect(page.get_by_label("Steps")).to_have_count(0)  # they are the preset's own
    page.get_by_label("What happens in the video?").fill("a lighthouse in a storm")
    page.get_by_role("button", name="Make it").click()
    expect(page.locator('[data-status="queued"]')).to_have_count(1)
    made = httpx2.get(f"{server.url}/videos", timeout=30).json()["data"][0]
    assert (made["model"], made["hibari"]["recipe"]["preset"]) == ("ltx", "ltxv-2b-0.9")
    assert made["hibari"]["steps"] != 7

    preset.select_option("")
    expect(page.get_by_label("Steps")).to_have_value("7")
    page.goto(f"{server.origin}/videos/{made['id']}")
    expect(page.locator(".recipe")).to_contain_text("ltxv-2b-0.9")
    page.get_by_role("button", name="Use again").click()
    page.get_by_text("More", exact=True).click()
    expect(page.get_by_label("Preset")).to_have_value("ltxv-2b-0.9")
