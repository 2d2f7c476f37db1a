"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
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


class AsyncClient(Base):
    """The API of a server, for asyncio. Close it, or use it as an asynchronous context. Tasks may share one.

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
        transport: httpx2.AsyncBaseTransport | None = None,
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
        self._http = httpx2.AsyncClient(headers=self._headers, timeout=timeout_s, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def create(self, prompt: str = "", **options: Unpack[CreateOptions]) -> Video:
        """Ask for a video of a prompt, a first picture (`input_reference`) or a storyboard (`cards`)."""
        return await self._ask(calls.create(prompt, **options))

    async def forecast(self, prompt: str = "", **options: Unpack[CreateOptions]) -> Forecast:
        """What `create` would make of the same, and how long it would take; nothing is made."""
        return await self._ask(calls.forecast(prompt, **options))

    async def edit(self, clip: Clip, prompt: str, **options: Unpack[EditOptions]) -> Video:
        """Change a clip by a prompt."""
        return await self._ask(calls.edit(clip, prompt, **options))

    async def extend(
        self, clip: Clip, prompt: str, seconds: float, *, backward: bool = False, **options: Unpack[Options]
    ) -> Video:
        """Go on with a clip for so many seconds, or lead up to it; the new video has both."""
        return await self._ask(calls.extend(clip, prompt, seconds, backward=backward, **options))

    async def loop(self, clip: Clip, prompt: str = "", **options: Unpack[ConnectOptions]) -> Video:
        """Lead a clip's end back to its beginning. One of one's own needs a prompt that says what it shows."""
        return await self._ask(calls.loop(clip, prompt, **options))

    async def connect(
        self,
        first: Video | str,
        second: Video | str,
        prompt: str = "",
        **options: Unpack[ConnectOptions],
    ) -> Video:
        """Join two videos by new seconds between them."""
        return await self._ask(calls.connect(first, second, prompt, **options))

    async def blend(
        self,
        first: Video | str,
        second: Video | str,
        prompt: str = "",
        *,
        curve: Literal["linear", "smooth", "step"] = "smooth",
        **options: Unpack[StrengthOptions],
    ) -> Video:
        """Make one video of two, the first turning into the second."""
        return await self._ask(calls.blend(first, second, prompt, curve=curve, **options))

    async def remix(self, video: Video | str, prompt: str, **options: Unpack[StrengthOptions]) -> Video:
        """Make a video again from its own noise, with another prompt."""
        return await self._ask(calls.remix(video, prompt, **options))

    async def again(self, video: Video | str, *, idempotency_key: str | None = None) -> Video:
        """Make a video once more from all that it was made from, as after a failure."""
        return await self._ask(calls.again(video, idempotency_key=idempotency_key))

    async def retrieve(self, video: Video | str) -> Video:
        """A video as it is now."""
        return await self._ask(calls.retrieve(video))

    async def page(
        self, *, after: str | None = None, limit: int = 20, order: Literal["asc", "desc"] = "desc"
    ) -> Page:
        """A part of the list of videos, behind the id `after`; the newest first, or the oldest."""
        return await self._ask(calls.page(after, limit, order))

    async def videos(self, *, order: Literal["asc", "desc"] = "desc") -> AsyncIterator[Video]:
        """All videos, read page by page."""
        after, more = None, True
        while more:
            page = await self.page(after=after, limit=calls.MOST_OF_A_PAGE, order=order)
            for video in page.videos:
                yield video
            after, more = page.last_id, page.has_more

    async def delete(self, video: Video | str) -> None:
        """Delete a video, whatever state it is in."""
        await self._ask(calls.delete(video))

    async def cancel(self, video: Video | str) -> Video:
        """Stop a video and keep its record."""
        return await self._ask(calls.cancel(video))

    async def create_character(self, name: str, clip: Clip) -> Character:
        """Keep a character: a name, and a clip that shows it."""
        return await self._ask(calls.create_character(name, clip))

    async def character(self, character_id: str) -> Character:
        """A character that was kept."""
        return await self._ask(calls.character(character_id))

    async def models(self) -> tuple[Model, ...]:
        """What can be asked for."""
        return await self._ask(calls.models())

    async def model(self, name: str) -> Model:
        """A model, or a name that stands for one."""
        return await self._ask(calls.model(name))

    async def health(self) -> Health:
        """Whether the server lives, and can be given work."""
        version = await self._ask(calls.healthz())
        try:
            return Health(version, await self._ask(calls.readyz()))
        except Unavailable:
            return Health(version, ready=False)

    async def with_progress(self, video: Video | str, *, after: int = 0) -> AsyncGenerator[Progress]:
        """What happens to a video, as it happens, up to its last event; goes on by itself where a connection was lost.
        Whoever leaves it early closes it with `contextlib.aclosing`.

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
                async with self._stream(call, following.begin()) as response:
                    if response.is_success:
                        async for told in httpx2.EventSource(response):
                            if (progress := following.read(told)) is not None:
                                tries.reset()
                                yield progress
                        if following.has_nothing_more:
                            return
                        pause_s = tries.after_end()
                    else:
                        await response.aread()
                        pause_s = tries.after_refusal(response)
            except httpx2.TransportError as error:
                pause_s = tries.after_loss(error)
            if not following.is_over:
                await asyncio.sleep(pause_s)
                following.video = await self.retrieve(video)

    async def wait(self, video: Video | str) -> Video:
        """The video once it is finished.

        Raises:
            VideoFailed: it was not made.
            NotFound: there is no such video, or it was deleted meanwhile.
        """
        async for _ in self.with_progress(video):
            pass
        finished = await self.retrieve(video)
        if finished.status == "failed":
            raise failed(finished)
        return finished

    async def download(self, video: Video | str, path: Path | str, *, variant: Variant = "video") -> Path:
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
                    async with self._stream(call, partial.headers()) as response:
                        if response.is_success:
                            partial.begin(response)
                            async for chunk in response.aiter_bytes():
                                partial.write(chunk)
                            break
                        await response.aread()
                        pause_s = tries.after_refusal(response)
                except httpx2.TransportError as error:
                    pause_s = tries.after_loss(error)
                await asyncio.sleep(pause_s)
            return partial.finish()

    def _stream(
        self, call: Call[None], headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[httpx2.Response]:
        timeout_s = max(self._timeout_s, SILENCE_S)
        url, params = self._url(call), dict(call.params)
        return self._http.stream(call.method, url, params=params, headers=dict(headers), timeout=timeout_s)

    async def _ask(self, call: Call[Answer]) -> Answer:
        tries = self._tries()
        while True:
            try:
                with call.sendable() as said:
                    response = await self._http.request(call.method, self._url(call), **said)
            except httpx2.TransportError as error:
                pause_s = tries.after_loss(error, repeatable=call.repeatable)
            else:
                if response.is_success:
                    return call.read(response.content)
                pause_s = tries.after_refusal(response)
            await asyncio.sleep(pause_s)
