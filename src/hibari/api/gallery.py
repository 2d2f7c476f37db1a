"""The routes by which videos are kept in order: folders, and what is changed of many at once."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from hibari import jobs
from hibari.api.asked import AskedFolder, Change
from hibari.api.body import read_body
from hibari.api.keys import Given, Reader, Writer
from hibari.api.making import described
from hibari.api.wire import DeletedFolder, Folder, FolderList, VideoList, video_of

router = APIRouter(tags=["gallery"])

MAX_BODY_BYTES = 64 * 1024


@router.post("/videos/change", openapi_extra=described(Change))
async def change(request: Request, parts: Given, identity: Writer) -> VideoList:
    """Make videos favourites or not, and lay them into a folder. The answer has those that are there, as they are."""
    wish = (await read_body(request, MAX_BODY_BYTES)).parse(Change)
    changed = await run_in_threadpool(
        parts.gallery.change, identity.account.id, wish.ids, favourite=wish.favourite, folder=wish.folder
    )
    data = [video_of(job) for job in changed]
    return VideoList(data=data, first_id=data[0].id, last_id=data[-1].id, has_more=False)


@router.get("/folders")
def all_folders(parts: Given, identity: Reader) -> FolderList:
    """Folders by name, with how many videos lie in each."""
    return FolderList(data=[_folder(one) for one in parts.gallery.folders(identity.account.id)])


@router.post("/folders", openapi_extra=described(AskedFolder))
async def create(request: Request, parts: Given, identity: Writer) -> Folder:
    """A new folder. A name that is taken is a 409."""
    wish = (await read_body(request, MAX_BODY_BYTES)).parse(AskedFolder)
    return _folder(await run_in_threadpool(parts.gallery.create_folder, identity.account.id, wish.name))


@router.post("/folders/{folder_id}", openapi_extra=described(AskedFolder))
async def rename(folder_id: str, request: Request, parts: Given, identity: Writer) -> Folder:
    """Give a folder another name."""
    wish = (await read_body(request, MAX_BODY_BYTES)).parse(AskedFolder)
    account_id = identity.account.id
    return _folder(await run_in_threadpool(parts.gallery.rename_folder, account_id, folder_id, wish.name))


@router.delete("/folders/{folder_id}")
def delete(folder_id: str, parts: Given, identity: Writer) -> DeletedFolder:
    """Remove a folder. The videos in it stay, and lie in none."""
    parts.gallery.delete_folder(identity.account.id, folder_id)
    return DeletedFolder(id=folder_id)


def _folder(folder: jobs.Folder) -> Folder:
    return Folder(id=folder.id, name=folder.name, created_at=int(folder.created_at), videos=folder.jobs)
