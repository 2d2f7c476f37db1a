"""The queue as its owners keep it in order: what they look for, folders, favourites, and what was made of what."""

from __future__ import annotations

import re
import secrets
import time
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, or_, select, update

from hibari.contracts import Conflict, InvalidRequest, NotFound
from hibari.db import Database
from hibari.db.schema import accounts, folders, jobs, sources
from hibari.jobs.moves import found, is_id
from hibari.jobs.records import Family, Folder, Job
from hibari.jobs.states import State
from hibari.jobs.terms import Clock

MAX_AT_ONCE = 100  # jobs that one call changes
MAX_FOLDERS = 500
MAX_FAMILY = 100
MAX_NAME_CHARS = 100
MAX_SEARCH_CHARS = 200
_FOLDER_ID = re.compile(r"folder_[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs of a list; what is None wants nothing in particular.

    Attributes:
        words: the prompt has all of them, in any order, also as parts of words; case and width do not matter.
        states: it is in one of these.
        begun: of those that run, only those whose first step has begun, or has not.
        model, kind: as `NewJob` had them.
        folder: id of the folder that it lies in; the empty string is in none.
        favourite: whether it is one.
    """

    words: str | None = None
    states: Collection[State] | None = None
    begun: bool | None = None
    model: str | None = None
    kind: str | None = None
    folder: str | None = None
    favourite: bool | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """What rows of `schema.jobs` must be.

        Raises:
            InvalidRequest: there are too many words; `field` is `search`.
        """
        said: list[ColumnElement[bool]] = []
        if self.words is not None:
            if len(self.words) > MAX_SEARCH_CHARS:
                raise InvalidRequest(
                    f"the search has {len(self.words)} characters; at most {MAX_SEARCH_CHARS} are looked for",
                    field="search",
                )
            looked_for = folded(_storable(self.words)).split()
            said += [jobs.c.words.contains(word, autoescape=True) for word in looked_for]
        if self.states is not None:
            said.append(jobs.c.state.in_([state.value for state in self.states]))
        if self.begun is not None:
            has_begun = jobs.c.started_at.is_not(None) if self.begun else jobs.c.started_at.is_(None)
            said.append(or_(jobs.c.state != State.RUNNING.value, has_begun))
        if self.model is not None:
            said.append(jobs.c.model == _storable(self.model))
        if self.kind is not None:
            said.append(jobs.c.kind == _storable(self.kind))
        if self.folder is not None:
            nowhere = jobs.c.folder.is_(None)
            said.append(jobs.c.folder == _storable(self.folder) if self.folder else nowhere)
        if self.favourite is not None:
            is_one = jobs.c.favourite_at.is_not(None)
            said.append(is_one if self.favourite else ~is_one)
        return said


def folded(text: str) -> str:
    """Text as it is compared: neither database knows more letters than those of ASCII."""
    return unicodedata.normalize("NFKC", text).casefold()


class Gallery:
    """Folders and favourites, and the families of jobs."""

    def __init__(self, database: Database, clock: Clock = time.time) -> None:
        self._database = database
        self._clock = clock

    def folders(self, owner: str) -> list[Folder]:
        """The owner's folders by name, with how many jobs lie in each."""
        with self._database.read() as connection:
            return [Folder(*row) for row in connection.execute(_folders(owner).order_by(folders.c.name))]

    def create_folder(self, owner: str, name: str) -> Folder:
        """A new folder.

        Raises:
            InvalidRequest: the name is not possible.
            Conflict: there is one of that name, or there are MAX_FOLDERS.
            NotFound: there is no such owner.
        """
        with self._database.write() as connection:
            name = self._free_name(connection, owner, name)
            folder_id = f"folder_{secrets.token_hex(16)}"
            connection.execute(
                insert(folders).values(id=folder_id, account_id=owner, name=name, created_at=self._clock())
            )
            return _folder(connection, owner, folder_id)

    def rename_folder(self, owner: str, folder_id: str, name: str) -> Folder:
        """Give a folder another name.

        Raises:
            InvalidRequest: the name is not possible.
            Conflict: there is one of that name.
            NotFound: there is no such folder.
        """
        with self._database.write() as connection:
            _folder(connection, owner, folder_id)
            name = self._free_name(connection, owner, name, but=folder_id)
            connection.execute(update(folders).where(folders.c.id == folder_id).values(name=name))
            return _folder(connection, owner, folder_id)

    def delete_folder(self, owner: str, folder_id: str) -> None:
        """Remove a folder. What lay in it stays, and lies in none.

        Raises:
            NotFound: there is no such folder.
        """
        with self._database.write() as connection:
            _folder(connection, owner, folder_id)
            # First the folder, then what is in it: whoever moves something in keeps its row until they are done.
            connection.execute(delete(folders).where(folders.c.id == folder_id))
            connection.execute(update(jobs).where(jobs.c.folder == folder_id).values(folder=None))

    def change(
        self, owner: str, job_ids: Sequence[str], *, favourite: bool | None = None, folder: str | None = None
    ) -> list[Job]:
        """Make jobs favourites or not, and lay them into a folder; None leaves that as it is, and an empty `folder`
        takes them out of theirs. Those that are not there are left out.

        Returns:
            The jobs as they are now, the newest first.

        Raises:
            InvalidRequest: there are more than MAX_AT_ONCE.
            NotFound: none of them is there, or the folder is not.
        """
        wanted = ids_of(job_ids)
        values: dict[str, Any] = {}
        if folder is not None:
            values["folder"] = folder or None
        with self._database.write() as connection:
            if folder:
                _folder(connection, owner, folder, lock=True)
            mine = and_(jobs.c.id.in_(wanted), jobs.c.owner == owner, jobs.c.deleted_at.is_(None))
            if favourite is not None:
                values["favourite_at"] = (
                    func.coalesce(jobs.c.favourite_at, self._clock()) if favourite else None
                )
            # In one order, so that two who change the same ones do not wait for each other.
            connection.execute(select(jobs.c.number).where(mine).order_by(jobs.c.number).with_for_update())
            if values:
                connection.execute(update(jobs).where(mine).values(**values))
            rows = connection.execute(select(jobs).where(mine).order_by(jobs.c.number.desc())).all()
        if not rows:
            raise NotFound(f"there is no video {wanted[0][:60]!r}")
        return [Job.from_row(row) for row in rows]

    def family(self, job_id: str, *, owner: str) -> Family:
        """A job with all that it was made of, from its sources back, and all that was made of it.

        Raises:
            NotFound: there is no such job for the one who asks.
        """
        with self._database.read() as connection:
            row = found(connection, job_id, owner=owner)
            members: dict[str, Row[Any]] = {row.id: row}
            gone: dict[str, None] = {}
            more = False
            names = list(row.sources)
            while names and not more:
                there = connection.execute(_theirs(owner).where(jobs.c.id.in_(names))).all()
                gone |= dict.fromkeys(set(names) - {one.id for one in there})
                more = _add(members, there)
                names = [name for one in there for name in one.sources if name not in members]
            names = [row.id]
            while names and not more:
                made = select(sources.c.job).where(sources.c.source.in_(names))
                there = connection.execute(
                    _theirs(owner).where(jobs.c.number.in_(made)).order_by(jobs.c.number).limit(MAX_FAMILY)
                ).all()
                names = [one.id for one in there if one.id not in members]
                more = _add(members, there)
        del members[row.id]
        others = sorted(members.values(), key=lambda one: one.number)
        return Family(tuple(Job.from_row(one) for one in (row, *others)), tuple(gone), has_more=more)

    def _free_name(self, connection: Connection, owner: str, name: str, but: str = "") -> str:
        """The name as it is stored, while nobody else of this account can take it."""
        name = name.strip()
        if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
            raise InvalidRequest(
                f"the name is {name[:MAX_NAME_CHARS]!r}; must be 1 to {MAX_NAME_CHARS} printable characters",
                field="name",
            )
        account = select(accounts.c.id).where(accounts.c.id == owner).with_for_update()
        if connection.execute(account).first() is None:
            raise NotFound(f"there is no account {owner!r}")
        taken = select(folders.c.name).where(folders.c.account_id == owner, folders.c.id != but)
        names = set(connection.execute(taken).scalars())
        if name in names:
            raise Conflict(f"there is a folder {name!r} already")
        if len(names) >= MAX_FOLDERS:
            raise Conflict(f"there are {len(names)} folders, the most there can be; delete one first")
        return name


def ids_of(job_ids: Sequence[str]) -> list[str]:
    """Those that can be ids of jobs, each once.

    Raises:
        InvalidRequest: there are more than MAX_AT_ONCE.
        NotFound: there is none.
    """
    if len(job_ids) > MAX_AT_ONCE:
        raise InvalidRequest(
            f"there are {len(job_ids)} ids; at most {MAX_AT_ONCE} are taken at once", field="ids"
        )
    possible = [name for name in dict.fromkeys(job_ids) if is_id(name)]
    if not possible:
        named = f" {job_ids[0][:60]!r}" if job_ids else ""
        raise NotFound(f"there is no video{named}")
    return possible


def _theirs(owner: str) -> Any:
    return select(jobs).where(jobs.c.owner == owner, jobs.c.deleted_at.is_(None))


def _add(members: dict[str, Row[Any]], there: Sequence[Row[Any]]) -> bool:
    """Whether there are too many."""
    for row in there:
        if row.id not in members and len(members) >= MAX_FAMILY:
            return True
        members.setdefault(row.id, row)
    return False


def _folders(owner: str) -> Any:
    in_it = and_(jobs.c.owner == owner, jobs.c.folder == folders.c.id, jobs.c.deleted_at.is_(None))
    return (
        select(folders.c.id, folders.c.name, folders.c.created_at, func.count(jobs.c.number))
        .select_from(folders.outerjoin(jobs, in_it))
        .where(folders.c.account_id == owner)
        .group_by(folders.c.id, folders.c.name, folders.c.created_at)
    )


def _folder(connection: Connection, owner: str, folder_id: str, *, lock: bool = False) -> Folder:
    missing = NotFound(f"there is no folder {folder_id[:60]!r}")
    if not _FOLDER_ID.fullmatch(folder_id):
        raise missing
    if lock:
        connection.execute(select(folders.c.id).where(folders.c.id == folder_id).with_for_update())
    row = connection.execute(_folders(owner).where(folders.c.id == folder_id)).one_or_none()
    if row is None:
        raise missing
    return Folder(*row)


def _storable(text: str) -> str:
    """No database may be asked for a NUL or half a surrogate pair; nothing has one."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
