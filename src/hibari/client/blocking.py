"""The client that waits for its answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Concatenate, Literal, ParamSpec, Self, Unpack

import httpx2

from hibari.client import calls, gallery, hooks
from hibari.client.base import RETRIES, TIMEOUT_S, URL, Base, like
from hibari.client.calls import Answer, Call
from hibari.client.errors import Unavailable, failed
from hibari.client.following import SILENCE_S, Following, FollowingAll
from hibari.client.partial import Partial
from hibari.client.records import Format, Health, Progress, Video

Told = ParamSpec("Told")


def _waiting(make: Callable[Told, Call[Answer]]) -> Callable[Concatenate[Client, Told], Answer]:
    """The method that makes a call and waits for its answer."""

    def method(self: Client, *args: Told.args, **kwargs: Told.kwargs) -> Answer:
        return self.ask(make(*args, **kwargs))

    return like(make, method)


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

    create = _waiting(calls.create)
    forecast = _waiting(calls.forecast)
    edit = _waiting(calls.edit)
    extend = _waiting(calls.extend)
    loop = _waiting(calls.loop)
    connect = _waiting(calls.connect)
    blend = _waiting(calls.blend)
    remix = _waiting(calls.remix)
    trim = _waiting(calls.trim)
    again = _waiting(calls.again)
    retrieve = _waiting(calls.retrieve)
    delete = _waiting(calls.delete)
    cancel = _waiting(calls.cancel)
    link = _waiting(calls.link)
    create_character = _waiting(calls.create_character)
    character = _waiting(calls.character)
    models = _waiting(calls.models)
    model = _waiting(calls.model)

    page = _waiting(gallery.page)
    change = _waiting(gallery.change)
    delete_many = _waiting(gallery.delete_many)
    lineage = _waiting(gallery.lineage)
    folders = _waiting(gallery.folders)
    create_folder = _waiting(gallery.create_folder)
    rename_folder = _waiting(gallery.rename_folder)
    delete_folder = _waiting(gallery.delete_folder)

    create_webhook = _waiting(hooks.create_webhook)
    webhooks = _waiting(hooks.webhooks)
    webhook = _waiting(hooks.webhook)
    update_webhook = _waiting(hooks.update_webhook)
    delete_webhook = _waiting(hooks.delete_webhook)
    rotate_webhook_secret = _waiting(hooks.rotate_webhook_secret)
    sample_webhook = _waiting(hooks.sample_webhook)
    webhook_log = _waiting(hooks.webhook_log)
    webhook_delivery = _waiting(hooks.webhook_delivery)
    replay_webhook = _waiting(hooks.replay_webhook)
    webhook_event_types = _waiting(hooks.webhook_event_types)

    def videos(
        self, *, order: Literal["asc", "desc"] = "desc", **wanted: Unpack[gallery.Wanted]
    ) -> Iterator[Video]:
        """All videos, or those that are wanted, read page by page."""
        after, more = None, True
        while more:
            page = self.page(after=after, limit=calls.MOST_OF_A_PAGE, order=order, **wanted)
            yield from page.items
            after, more = page.last_id, page.has_more

    def health(self) -> Health:
        """Whether the server lives, and can be given work."""
        version = self.ask(calls.healthz())
        try:
            return Health(version, self.ask(calls.readyz()))
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
        return self._follow(Following(video, after))

    def all_progress(self) -> Generator[Progress]:
        """What happens to all videos that are not finished, also to those that are made meanwhile, until none is left;
        otherwise as `with_progress`. A video that is deleted is told of no more."""
        return self._follow(FollowingAll())

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

    def download(self, video: Video | str, path: Path | str, *, variant: Format = "video") -> Path:
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

    def _follow(self, following: Following) -> Generator[Progress]:
        tries = self._tries()
        while not following.is_over:
            try:
                with self._stream(following.call, following.begin()) as response:
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
                if following.look is not None:
                    following.seen = self.ask(following.look)

    def _stream(
        self, call: Call[None], headers: Mapping[str, str]
    ) -> AbstractContextManager[httpx2.Response]:
        timeout_s = max(self._timeout_s, SILENCE_S)
        url, params = self._url(call), dict(call.params)
        return self._http.stream(call.method, url, params=params, headers=dict(headers), timeout=timeout_s)

    def ask(self, call: Call[Answer]) -> Answer:
        """Make a call, as those above do."""
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
