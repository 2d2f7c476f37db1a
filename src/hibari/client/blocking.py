"""The client that waits for its answers."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, Unpack

import httpx2

from hibari.client import calls
from hibari.client.base import RETRIES, TIMEOUT_S, URL, Base
from hibari.client.calls import (
    Answer,
    Call,
    Clip,
    ConnectOptions,
    CreateOptions,
    EditOptions,
    Options,
    StrengthOptions,
)
from hibari.client.errors import Unavailable, failed
from hibari.client.following import SILENCE_S, Following
from hibari.client.partial import Partial
from hibari.client.records import Character, Forecast, Health, Model, Page, Progress, Variant, Video


class Client(Base):
    """The API of a server, blocking. Close it, or use it as a context. Threads may share one.

    Whatever fails in passing (a lost connection, a server that restarts, 429, 503) is tried again, and makes no second
    video. Every call raises a `ClientError`, InputError for a file that cannot be read, OutputError for one that
    cannot be written.
    """

    def __init__(
        self,
        base_url: str = URL,
        api_key: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            base_url: with or without `/v1` at its end.
            api_key: `hb_...`; None for a server that asks for none.
            timeout_s: without a sign of the server for so long, a try has failed.
            retries: tries after the first one, of each call.
            transport: instead of the network.

        Raises:
            InvalidRequest: an argument is not possible.
        """
        super().__init__(base_url, api_key, timeout_s, retries)
        self._http = httpx2.Client(headers=self._headers, timeout=timeout_s, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def create(self, prompt: str = "", **options: Unpack[CreateOptions]) -> Video:
        """Ask for a video of a prompt, a first picture (`input_reference`) or a storyboard (`cards`)."""
        return self._ask(calls.create(prompt, **options))

    def forecast(self, prompt: str = "", **options: Unpack[CreateOptions]) -> Forecast:
        """What `create` would make of the same, and how long it would take; nothing is made."""
        return self._ask(calls.forecast(prompt, **options))

    def edit(self, clip: Clip, prompt: str, **options: Unpack[EditOptions]) -> Video:
        """Change a clip by a prompt."""
        return self._ask(calls.edit(clip, prompt, **options))

    def extend(
        self, clip: Clip, prompt: str, seconds: float, *, backward: bool = False, **options: Unpack[Options]
    ) -> Video:
        """Go on with a clip for so many seconds, or lead up to it; the new video has both."""
        return self._ask(calls.extend(clip, prompt, seconds, backward=backward, **options))

    def loop(self, clip: Clip, prompt: str = "", **options: Unpack[ConnectOptions]) -> Video:
        """Lead a clip's end back to its beginning. One of one's own needs a prompt that says what it shows."""
        return self._ask(calls.loop(clip, prompt, **options))

    def connect(
        self,
        first: Video | str,
        second: Video | str,
        prompt: str = "",
        **options: Unpack[ConnectOptions],
    ) -> Video:
        """Join two videos by new seconds between them."""
        return self._ask(calls.connect(first, second, prompt, **options))

    def blend(
        self,
        first: Video | str,
        second: Video | str,
        prompt: str = "",
        *,
        curve: Literal["linear", "smooth", "step"] = "smooth",
        **options: Unpack[StrengthOptions],
    ) -> Video:
        """Make one video of two, the first turning into the second."""
        return self._ask(calls.blend(first, second, prompt, curve=curve, **options))

    def remix(self, video: Video | str, prompt: str, **options: Unpack[StrengthOptions]) -> Video:
        """Make a video again from its own noise, with another prompt."""
        return self._ask(calls.remix(video, prompt, **options))

    def again(self, video: Video | str, *, idempotency_key: str | None = None) -> Video:
        """Make a video once more from all that it was made from, as after a failure."""
        return self._ask(calls.again(video, idempotency_key=idempotency_key))

    def retrieve(self, video: Video | str) -> Video:
        """A video as it is now."""
        return self._ask(calls.retrieve(video))

    def page(
        self, *, after: str | None = None, limit: int = 20, order: Literal["asc", "desc"] = "desc"
    ) -> Page:
        """A part of the list of videos, behind the id `after`; the newest first, or the oldest."""
        return self._ask(calls.page(after, limit, order))

    def videos(self, *, order: Literal["asc", "desc"] = "desc") -> Iterator[Video]:
        """All videos, read page by page."""
        after, more = None, True
        while more:
            page = self.page(after=after, limit=calls.MOST_OF_A_PAGE, order=order)
            yield from page.videos
            after, more = page.last_id, page.has_more

    def delete(self, video: Video | str) -> None:
        """Delete a video, whatever state it is in."""
        self._ask(calls.delete(video))

    def cancel(self, video: Video | str) -> Video:
        """Stop a video and keep its record."""
        return self._ask(calls.cancel(video))

    def create_character(self, name: str, clip: Clip) -> Character:
        """Keep a character: a name, and a clip that shows it."""
        return self._ask(calls.create_character(name, clip))

    def character(self, character_id: str) -> Character:
        """A character that was kept."""
        return self._ask(calls.character(character_id))

    def models(self) -> tuple[Model, ...]:
        """What can be asked for."""
        return self._ask(calls.models())

    def model(self, name: str) -> Model:
        """A model, or a name that stands for one."""
        return self._ask(calls.model(name))

    def health(self) -> Health:
        """Whether the server lives, and can be given work."""
        version = self._ask(calls.healthz())
        try:
            return Health(version, self._ask(calls.readyz()))
        except Unavailable:
            return Health(version, ready=False)

    def with_progress(self, video: Video | str, *, after: int = 0) -> Generator[Progress]:
        """What happens to a video, as it happens, up to its last event; goes on by itself where a connection was lost.

        Args:
            video: or its id.
            after: number of the last event that is known already.

        Raises:
            NotFound: there is no such video, or it was deleted meanwhile.
        """
        following = Following(calls.id_of(video), after)
        call = calls.events(video)
        tries = self._tries()
        while not following.is_over:
            try:
                with self._stream(call, following.begin()) as response:
                    if response.is_success:
                        for told in httpx2.EventSource(response):
                            if (progress := following.read(told)) is not None:
                                tries.reset()
                                yield progress
                        if following.has_nothing_more:
                            return
                        pause_s = tries.after_end()
                    else:
                        response.read()
                        pause_s = tries.after_refusal(response)
            except httpx2.TransportError as error:
                pause_s = tries.after_loss(error)
            if not following.is_over:
                time.sleep(pause_s)
                following.video = self.retrieve(video)

    def wait(self, video: Video | str) -> Video:
        """The video once it is finished.

        Raises:
            VideoFailed: it was not made.
            NotFound: there is no such video, or it was deleted meanwhile.
        """
        for _ in self.with_progress(video):
            pass
        finished = self.retrieve(video)
        if finished.status == "failed":
            raise failed(finished)
        return finished

    def download(self, video: Video | str, path: Path | str, *, variant: Variant = "video") -> Path:
        """Write a finished video (MP4), its thumbnail (WebP) or its sheet of moments (JPEG) to a file. It is there
        whole or not at all; one of that name is replaced.

        Raises:
            VideoNotReady: it is not finished.
        """
        call = calls.content(video, variant)
        tries = self._tries()
        with Partial(Path(path)) as partial:
            while not partial.is_whole:
                try:
                    with self._stream(call, partial.headers()) as response:
                        if response.is_success:
                            partial.begin(response)
                            for chunk in response.iter_bytes():
                                partial.write(chunk)
                            break
                        response.read()
                        pause_s = tries.after_refusal(response)
                except httpx2.TransportError as error:
                    pause_s = tries.after_loss(error)
                time.sleep(pause_s)
            return partial.finish()

    def _stream(
        self, call: Call[None], headers: Mapping[str, str]
    ) -> AbstractContextManager[httpx2.Response]:
        timeout_s = max(self._timeout_s, SILENCE_S)
        url, params = self._url(call), dict(call.params)
        return self._http.stream(call.method, url, params=params, headers=dict(headers), timeout=timeout_s)

    def _ask(self, call: Call[Answer]) -> Answer:
        tries = self._tries()
        while True:
            try:
                with call.sendable() as said:
                    response = self._http.request(call.method, self._url(call), **said)
            except httpx2.TransportError as error:
                pause_s = tries.after_loss(error, repeatable=call.repeatable)
            else:
                if response.is_success:
                    return call.read(response.content)
                pause_s = tries.after_refusal(response)
            time.sleep(pause_s)
