"""A worker's folder for files on their way. It goes with its worker, also with one that was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "hibari-worker-"


class Scratch:
    """A folder in the system's temporary folder, and a lock on it, which ends with this process however that ends."""

    def __init__(self) -> None:
        """Make it, and remove those of workers that are dead."""
        remove_abandoned()
        while True:
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            self._lock = os.open(self.folder, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if self.folder.exists():
                return
            os.close(
                self._lock
            )  # another worker, which was just starting, saw it before the lock and took it for dead

    def remove(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def remove_abandoned() -> None:
    """Remove the folders of this machine whose worker has died. Those of other users stay."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # its worker lives
            continue
        finally:
            os.close(lock)
