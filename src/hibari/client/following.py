"""The events of one video, over as many connections as it takes."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from hibari.client.errors import NotFound, UnexpectedAnswer
from hibari.client.records import Progress, Video

_FINAL = frozenset({"completed", "failed", "cancelled"})
SILENCE_S = 45.0  # the server says something every 15 s, if only a comment


class Following:
    """Where a stream of events stands.

    Attributes:
        is_over: the last event was told.
        video: as it was before this connection began, if that is known.
    """

    def __init__(self, video_id: str, after: int) -> None:
        self._video_id = video_id
        self._after = after
        self._told_any = False
        self.is_over = False
        self.video: Video | None = None

    @property
    def has_nothing_more(self) -> bool:
        """Whether a connection that has ended was behind the last event: the video was finished before it began, and
        nothing was told."""
        return self.is_over or (not self._told_any and self.video is not None and self.video.is_final)

    def begin(self) -> dict[str, str]:
        """A connection begins; the headers of its request."""
        self._told_any = False
        told = {"Last-Event-ID": str(self._after)} if self._after else {}
        return {"Accept": "text/event-stream", **told}

    def read(self, told: httpx2.ServerSentEvent) -> Progress | None:
        """An event; None for what is none of a video's.

        Raises:
            NotFound: the video was deleted.
            UnexpectedAnswer: this is not the API.
        """
        if told.event == "deleted":
            raise NotFound(404, "not_found", f"the video {self._video_id} was deleted meanwhile")
        if not told.data:
            return None
        try:
            values: dict[str, Any] = json.loads(told.data)
            progress = Progress.from_json(int(told.id), told.event, values)
        except (ValueError, KeyError, TypeError) as error:
            raise UnexpectedAnswer("the stream of events is not this API's; check the base URL") from error
        self._after = progress.number
        self._told_any = True
        self.is_over = progress.kind in _FINAL
        return progress
