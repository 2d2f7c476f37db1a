"""Whether there is room for what comes."""

from __future__ import annotations

from fastapi import Request

from hibari.api.body import Body, announced_bytes, read_body
from hibari.api.errors import Refused
from hibari.api.parts import Parts


async def read_upload(parts: Parts, request: Request) -> Body:
    """A body in which there may be files, unless it announces more than the disk has room for: that is then not read.

    Raises:
        Refused: as of `check_disk` and `read_body`.
        OutputError: as of `read_body`.
    """
    limit_bytes = parts.settings.upload_bytes
    check_disk(parts, min(announced_bytes(request), limit_bytes))
    return await read_body(request, limit_bytes)


def check_disk(parts: Parts, size_bytes: int) -> None:
    """Refuse what would fill the disk. What an account may have, the queue knows: `StoredFiles` and `Jobs.create`.

    Raises:
        Refused: 413, less than the settings' reserve would stay free.
    """
    free = parts.storage.free_bytes()
    if free is not None and free - size_bytes < parts.settings.reserve_bytes:
        raise Refused(
            413,
            "storage_full",
            "the server's disk is nearly full, and it takes nothing new; ask again once there is room",
        )
