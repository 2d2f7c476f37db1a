"""Whether there is room for what comes."""

from __future__ import annotations

from hibari.api.errors import Refused
from hibari.api.parts import Parts


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
