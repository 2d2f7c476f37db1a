"""The gallery: the calls by which videos are found again and kept in order, which are methods of both clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack
from urllib.parse import quote

from hibari.client.calls import Call, Param, deleted, id_of, page_of, path_of
from hibari.client.records import Json, Page, Status, Video, paged


@dataclass(frozen=True, slots=True)
class Folder:
    """Where videos lie, each in one or in none. `created_at` is in Unix seconds, `videos` how many lie in it."""

    id: str
    name: str
    created_at: int
    videos: int

    @classmethod
    def from_json(cls, values: Json) -> Folder:
        """Raises KeyError or TypeError for what is none."""
        return cls(values["id"], values["name"], values["created_at"], values["videos"])


@dataclass(frozen=True, slots=True)
class Lineage:
    """What came from what.

    Attributes:
        videos: the one that was asked for, and then all that it was made of and all that was made of it;
            `details.sources` says how they hang together.
        missing: ids of sources that have been deleted.
        has_more: whether there are more relatives than these.
    """

    videos: tuple[Video, ...]
    missing: tuple[str, ...]
    has_more: bool

    @classmethod
    def from_json(cls, values: Json) -> Lineage:
        """Raises KeyError, TypeError or ValueError for what is none."""
        return cls(_videos(values), tuple(values["missing"]), values["has_more"])


class Wanted(TypedDict, total=False):
    """What `page` and `videos` look for, all of it together; docs/api.md says what each means."""

    search: str
    status: Status | Sequence[Status]
    model: str
    kind: str
    folder: Folder | str
    """The empty string is in none."""
    favourite: bool


def page(
    *,
    after: str | None = None,
    limit: int = 20,
    order: Literal["asc", "desc"] = "desc",
    **wanted: Unpack[Wanted],
) -> Call[Page[Video]]:
    """A part of the list of videos, behind the id `after`; the newest first, or the oldest."""
    params: dict[str, Param] = {"order": order, **page_of(after, limit)}
    for name, value in wanted.items():
        params[name] = _folder_id(value) if isinstance(value, Folder) else value  # pyright: ignore[reportArgumentType]
    return Call("GET", "/videos", paged(Video.from_json), params)


def change(
    videos: Sequence[Video | str], *, favourite: bool | None = None, folder: Folder | str | None = None
) -> Call[tuple[Video, ...]]:
    """Make up to 100 videos favourites or not, and lay them into a folder, or, with the empty string, into none; None
    leaves it as it is. The answer has those that are there."""
    values: dict[str, Any] = {"ids": [id_of(video) for video in videos], "favourite": favourite}
    values["folder"] = None if folder is None else _folder_id(folder)
    body = {name: value for name, value in values.items() if value is not None}
    return Call("POST", "/videos/change", _videos, body=body)


def delete_many(videos: Sequence[Video | str]) -> Call[tuple[str, ...]]:
    """Delete up to 100 videos, whatever state they are in; the ids of those that were there. NotFound where
    none is."""
    params: dict[str, Param] = {"id": [id_of(video) for video in videos]}
    return Call("DELETE", "/videos", lambda values: tuple(one["id"] for one in values["data"]), params)


def lineage(video: Video | str) -> Call[Lineage]:
    """What a video was made of, and what was made of it."""
    return Call("GET", f"{path_of(video)}/lineage", Lineage.from_json)


def folders() -> Call[tuple[Folder, ...]]:
    """All folders, by name."""
    return Call("GET", _FOLDERS, lambda values: tuple(map(Folder.from_json, values["data"])))


def create_folder(name: str) -> Call[Folder]:
    """A new folder; a name that is taken is a Conflict."""
    return Call("POST", _FOLDERS, Folder.from_json, body={"name": name}, repeatable=False)


def rename_folder(folder: Folder | str, name: str) -> Call[Folder]:
    """Give a folder another name."""
    return Call("POST", _folder_path(folder), Folder.from_json, body={"name": name})


def delete_folder(folder: Folder | str) -> Call[None]:
    """Remove a folder; the videos in it stay, and lie in none."""
    return Call("DELETE", _folder_path(folder), deleted)


_FOLDERS = "/folders"


def _videos(values: Json) -> tuple[Video, ...]:
    return tuple(map(Video.from_json, values["data"]))


def _folder_id(folder: Folder | str) -> str:
    return folder if isinstance(folder, str) else folder.id


def _folder_path(folder: Folder | str) -> str:
    return f"{_FOLDERS}/{quote(_folder_id(folder), safe='')}"
