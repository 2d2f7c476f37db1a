"""What a person sees while a video is made. Everything goes to stderr: stdout is for the result.

Three ways: a moving bar with a preview on a terminal, a plain line now and then where the output goes to a
file, and nothing at all.
"""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from hibari.media.frames import Frame

_LINE_INTERVAL_S = 5.0
_PREVIEW_COLUMNS, _PREVIEW_ROWS = 40, 20  # a row shows two lines of pixels
_PREVIEW_MIN_COLUMNS, _PREVIEW_MIN_ROWS = 60, 28  # of the terminal


class Progress(Protocol):
    """Is told what happens. Used as a context manager; leaving it clears whatever moves."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def phase(self, text: str) -> None:
        """Something without steps has begun."""
        ...

    def step(self, step: int, total: int, seconds_left: float, preview: Frame | None) -> None:
        """A sampler step, 1 to `total`, is done."""
        ...

    def frame(self, done: int, total: int) -> None:
        """`done` of `total` finished frames are written."""
        ...


def choose(*, quiet: bool) -> Progress:
    """The way that fits: none if `quiet`, moving on a terminal, lines elsewhere."""
    if quiet:
        return Silent()
    if sys.stderr.isatty():
        from rich.console import Console

        console = Console(stderr=True)
        if console.is_terminal and not console.is_dumb_terminal:
            return Live(console)
    return Lines()


class Silent:
    """Says nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def phase(self, text: str) -> None:
        """Says nothing."""

    def step(self, step: int, total: int, seconds_left: float, preview: Frame | None) -> None:
        """Says nothing."""

    def frame(self, done: int, total: int) -> None:
        """Says nothing."""


class Lines(Silent):
    """A line when something begins, and then one every few seconds."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def phase(self, text: str) -> None:
        """Always a line."""
        self._say(text)

    def step(self, step: int, total: int, seconds_left: float, preview: Frame | None) -> None:
        """A line if the last one is some seconds old."""
        if monotonic() >= self._next_s:
            self._say(f"step {step} of {total}, {_duration(seconds_left)} left")

    def frame(self, done: int, total: int) -> None:
        """A line if the last one is some seconds old."""
        if monotonic() >= self._next_s:
            self._say(f"frame {done} of {total}")

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201
        self._next_s = monotonic() + _LINE_INTERVAL_S


class Live:
    """A bar and, where colours and room allow, the picture as it emerges."""

    def __init__(self, console: Console) -> None:
        from rich import live, progress

        self._console = console
        self._bar = progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._task = self._bar.add_task("starting", total=None, left="")
        self._live = live.Live(self._bar, console=console, transient=True, refresh_per_second=8)
        self._previews = (
            console.color_system in ("256", "truecolor")
            and console.width >= _PREVIEW_MIN_COLUMNS
            and console.height >= _PREVIEW_MIN_ROWS
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def phase(self, text: str) -> None:
        """A bar without an end."""
        self._live.update(self._bar)
        self._bar.reset(self._task, total=None, description=text, left="")

    def step(self, step: int, total: int, seconds_left: float, preview: Frame | None) -> None:
        """Moves the bar and shows the preview."""
        left = f"{_duration(seconds_left)} left"
        self._bar.update(self._task, description="step", completed=step, total=total, left=left)
        if preview is not None and self._previews:
            from rich.console import Group

            self._live.update(Group(half_blocks(preview), self._bar))

    def frame(self, done: int, total: int) -> None:
        """Moves the bar."""
        self._bar.update(self._task, description="frame", completed=done, total=total, left="")


def half_blocks(image: Frame, columns: int = _PREVIEW_COLUMNS, rows: int = _PREVIEW_ROWS) -> Text:
    """The picture as text: each character is an upper half block, whose ink and paper are two pixels."""
    import numpy as np
    from PIL import Image
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    height, width = image.shape[:2]
    scale = min(columns / width, 2 * rows / height)
    size = max(1, round(width * scale)), 2 * max(1, round(height * scale / 2))
    pixels = np.asarray(
        Image.fromarray(image).resize(size, Image.Resampling.BOX if scale < 1 else 0)
    ).tolist()
    text = Text()
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        text.append("\n")
    return text


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    return f"{minutes} min {rest_s} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
