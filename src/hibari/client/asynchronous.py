"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Self, Unpack

import httpx2

from hibari.client import calls, gallery, hooks
from hibari.client.base import RETRIES, TIMEOUT_S, URL, Base, like
from hibari.client.calls import Answer, Call
from hibari.client.errors import Unavailable, failed
from hibari.client.following import SILENCE_S, Following, FollowingAll
from hibari.client.partial import Partial
from hibari.client.records import Format, Health, Progress, Video

Told = ParamSpec("Told")


def _awaited(
    make: Callable[Told, Call[Answer]],
) -> Callable[Concatenate[AsyncClient, Told], Coroutine[Any, Any, Answer]]:
    """The method that makes a call and awaits its answer."""

    async def method(self: AsyncClient, *args: Told.args, **kwargs: Told.kwargs) -> Answer:
        return await self.ask(make(*args, **kwargs))

    return like(make, method)


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

    create = _awaited(calls.create)
    forecast = _awaited(calls.forecast)
    edit = _awaited(calls.edit)
    extend = _awaited(calls.extend)
    loop = _awaited(calls.loop)
    connect = _awaited(calls.connect)
    blend = _awaited(calls.blend)
    remix = _awaited(calls.remix)
    trim = _awaited(calls.trim)
    again = _awaited(calls.again)
    retrieve = _awaited(calls.retrieve)
    delete = _awaited(calls.delete)
    cancel = _awaited(calls.cancel)
    link = _awaited(calls.link)
    create_character = _awaited(calls.create_character)
    character = _awaited(calls.character)
    models = _awaited(calls.models)
    model = _awaited(calls.model)

    page = _awaited(gallery.page)
    change = _awaited(gallery.change)
    delete_many = _awaited(gallery.delete_many)
    lineage = _awaited(gallery.lineage)
    folders = _awaited(gallery.folders)
    create_folder = _awaited(gallery.create_folder)
    rename_folder = _awaited(gallery.rename_folder)
    delete_folder = _awaited(gallery.delete_folder)

    create_webhook = _awaited(hooks.create_webhook)
    webhooks = _awaited(hooks.webhooks)
    webhook = _awaited(hooks.webhook)
    update_webhook = _awaited(hooks.update_webhook)
    delete_webhook = _awaited(hooks.delete_webhook)
    rotate_webhook_secret = _awaited(hooks.rotate_webhook_secret)
    sample_webhook = _awaited(hooks.sample_webhook)
    webhook_log = _awaited(hooks.webhook_log)
    webhook_delivery = _awaited(hooks.webhook_delivery)
    replay_webhook = _awaited(hooks.replay_webhook)
    webhook_event_types = _awaited(hooks.webhook_event_types)

    async def videos(
        self, *, order: Literal["asc", "desc"] = "desc", **wanted: Unpack[gallery.Wanted]
    ) -> AsyncIterator[Video]:
        """All videos, or those that are wanted, read page by page."""
        after, more = None, True
        while more:
            page = await self.page(after=after, limit=calls.MOST_OF_A_PAGE, order=order, **wanted)
            for video in page.items:
                yield video
            after, more = page.last_id, page.has_more

    async def health(self) -> Health:
        """Whether the server lives, and can be given work."""
        version = await self.ask(calls.healthz())
        try:
            return Health(version, await self.ask(calls.readyz()))
        except Unavailable:
            return Health(version, ready=False)

    def with_progress(self, video: Video | str, *, after: int = 0) -> AsyncGenerator[Progress]:
        """What happens to a video, as it happens, up to its last event; goes on by itself where a connection was lost.
        Whoever leaves it early closes it with `contextlib.aclosing`.

        Args:
            video: or its id.
            after: number of the last event that is known already.

        Raises:
            NotFound: there is no such video, or it was deleted meanwhile.
        """
        return self._follow(Following(video, after))

    def all_progress(self) -> AsyncGenerator[Progress]:
        """What happens to all videos that are not finished, also to those that are made meanwhile, until none is left;
        otherwise as `with_progress`. A video that is deleted is told of no more."""
        return self._follow(FollowingAll())

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

    async def download(self, video: Video | str, path: Path | str, *, variant: Format = "video") -> Path:
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

    async def _follow(self, following: Following) -> AsyncGenerator[Progress]:
        tries = self._tries()
        while not following.is_over:
            try:
                async with self._stream(following.call, following.begin()) as response:
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
                if following.look is not None:
                    following.seen = await self.ask(following.look)

    def _stream(
        self, call: Call[None], headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[httpx2.Response]:
        timeout_s = max(self._timeout_s, SILENCE_S)
        url, params = self._url(call), dict(call.params)
        return self._http.stream(call.method, url, params=params, headers=dict(headers), timeout=timeout_s)

    async def ask(self, call: Call[Answer]) -> Answer:
        """Make a call, as those above do."""
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
