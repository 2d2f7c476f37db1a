"""Defends: what the command line understands of sizes, and what it shows while one waits."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from hibari import catalog
from hibari.cli.progress import Lines, Live, choose, half_blocks
from hibari.cli.sizes import parse_size
from hibari.contracts import InvalidRequest

SPEC = catalog.spec("testcard")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512x256", (512, 256)),
        ("512X256", (512, 256)),
        (" 512 x 256 ", (512, 256)),
        ("512×256", (512, 256)),  # noqa: RUF001
        ("720p", (1280, 720)),
        ("1080P", (1920, 1080)),
        ("square", (128, 128)),
        ("landscape", (160, 96)),
        ("portrait", (96, 160)),
    ],
)
def test_sizes_that_are_understood(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text, SPEC) == size


@pytest.mark.parametrize(
    "text", ["", "big", "512", "512x", "x512", "-512x512", "512x512x3", "1e3x512", "٣x٣"]
)
def test_sizes_that_are_not(text: str) -> None:
    with pytest.raises(InvalidRequest, match="WIDTHxHEIGHT") as caught:
        parse_size(text, SPEC)
    assert caught.value.field == "size"


def test_half_blocks_show_two_pixels_a_character() -> None:
    image = np.zeros((4, 3, 3), np.uint8)
    image[0] = 255, 0, 0
    image[1] = 0, 255, 0
    text = half_blocks(image, columns=3, rows=2)
    assert text.plain == "▀▀▀\n▀▀▀\n"
    style = str(text.spans[0].style)
    assert style == "#ff0000 on #00ff00"


def test_a_large_preview_fits_its_room() -> None:
    lines = half_blocks(np.zeros((500, 300, 3), np.uint8), columns=40, rows=20).plain.splitlines()
    assert len(lines) == 20
    assert {len(line) for line in lines} == {24}


def test_lines_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as shown:
        shown.phase("loading")
        for step in range(1, 101):
            shown.step(step, 100, 75.0, None)
        shown.phase("writing")
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["loading", "writing"]
    assert captured.out == ""


def test_a_step_after_a_pause_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as shown:
        shown.step(3, 100, 75.0, None)
    assert capsys.readouterr().err == "step 3 of 100, 1 min 15 s left\n"


@pytest.mark.parametrize(
    ("colours", "height", "pictures"), [("truecolor", 40, True), (None, 40, False), ("truecolor", 20, False)]
)
def test_a_terminal_gets_a_bar_and_where_it_can_a_picture(colours, height: int, pictures: bool) -> None:
    screen = io.StringIO()
    console = Console(
        file=screen, force_terminal=True, color_system=colours, width=100, height=height, legacy_windows=False
    )
    with Live(console) as shown:
        shown.phase("loading testcard")
        shown.step(2, 9, 4.0, np.full((8, 8, 3), 200, np.uint8))
        console.print("")  # draws what is to be seen now
        shown.frame(1, 3)
    seen = screen.getvalue()
    assert "2/9" in seen
    assert "4 s left" in seen
    assert ("▀" in seen) is pictures


def test_a_pipe_gets_lines_and_quiet_gets_nothing() -> None:
    assert isinstance(choose(quiet=False), Lines)
    assert not isinstance(choose(quiet=True), Lines)
