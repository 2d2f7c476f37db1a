"""Streams of events, over as many connections as it takes."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from hibari.client import calls
from hibari.client.calls import Call
from hibari.client.errors import NotFound, UnexpectedAnswer
from hibari.client.records import Progress, Video

_FINAL = frozenset({"completed", "failed", "cancelled"})
SILENCE_S = 45.0  # the server says something every 15 s, if only a comment


class Following:
    """Where the stream of one video's events stands.

    Attributes:
        call: that begins it, or goes on with it.
        look: what is asked between two connections, if anything is.
        seen: what was answered.
        is_over: the last event was told.
    """

    def __init__(self, video: Video | str, after: int) -> None:
        self.call = calls.events(video)
        self.look: Call[Video] | None = calls.retrieve(video)
        self.seen: Video | None = None
        self.is_over = False
        self._video_id = calls.id_of(video)
        self._last_id = str(after) if after else ""
        self._told_any = False

    @property
    def has_nothing_more(self) -> bool:
        """Whether a connection that has ended was behind the last event: the video was finished before it began, and
        nothing was told."""
        return self.is_over or (not self._told_any and self.seen is not None and self.seen.is_final)

    def begin(self) -> dict[str, str]:
        """A connection begins; the headers of its request."""
        self._told_any = False
        told = {"Last-Event-ID": self._last_id} if self._last_id else {}
        return {"Accept": "text/event-stream", **told}

    def read(self, told: httpx2.ServerSentEvent) -> Progress | None:
        """An event; None for what is none of a video's.

        Raises:
            NotFound: the video was deleted.
            UnexpectedAnswer: this is not the API.
        """
        if not told.data:
            return None
        try:
            values: dict[str, Any] = json.loads(told.data)
            if told.event == "deleted":
                self._deleted(str(values["id"]))
                return None
            progress = Progress.from_json(self._number(told.id, values), told.event, values)
        except (ValueError, KeyError, TypeError) as error:
            raise UnexpectedAnswer("the stream of events is not this API's; check the base URL") from error
        self._last_id = told.id
        self._told_any = True
        self._told(progress)
        return progress

    def _number(self, event_id: str, _values: dict[str, Any]) -> int:
        return int(event_id)

    def _told(self, progress: Progress) -> None:
        self.is_over = progress.kind in _FINAL

    def _deleted(self, _video_id: str) -> None:
        raise NotFound(404, "not_found", f"the video {self._video_id} was deleted meanwhile")


class FollowingAll(Following):
    """Where the stream of all videos' events stands. An event's id has the place in each video's history."""

    def __init__(self) -> None:
        super().__init__("", 0)
        self.call = calls.all_events()
        self.look = None
        self._unfinished: set[str] = set()

    @property
    def has_nothing_more(self) -> bool:
        """Whether no video is left that was begun to be told of."""
        return not self._unfinished

    def _number(self, event_id: str, values: dict[str, Any]) -> int:
        places = dict(place.split(".") for place in event_id.split(","))
        return int(places[values["video"]["id"]])

    def _told(self, progress: Progress) -> None:
        if progress.kind in _FINAL:
            self._unfinished.discard(progress.video.id)
        else:
            self._unfinished.add(progress.video.id)

    def _deleted(self, video_id: str) -> None:
        self._unfinished.discard(video_id)
