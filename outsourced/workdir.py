"""Temporary folders of running jobs, and the end of those whose process was killed.

Who works in a folder holds a lock on it, which the system lets go when the process ends, however it
does. So a folder that can be locked is nobody's: no process ids, which containers sharing a disk
would not have in common, and no clock. Imports no other module of the package.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where folders of the killed stay
    _LOCKS = False
else:
    _LOCKS = True

#: of a folder's name: nothing else is ever looked at
PREFIX = "outsourced-job-"


class Workdir:
    """An empty folder of this process's own, until `remove`."""

    __slots__ = ("_lock", "path")

    def __init__(self) -> None:
        self.path = _new_folder()
        self._lock = _locked(self.path)
        while not self.path.exists():  # swept between its making and its locking
            self._unlock()
            self.path = _new_folder()
            self._lock = _locked(self.path)

    def remove(self) -> bool:
        """Deletes the folder with all that is in it, as far as that can be done; gives whether it is gone."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._unlock()
        return not self.path.exists()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def sweep() -> int:
    """Deletes our user's folders in which nobody works any more; gives how many."""
    if not _LOCKS:
        return 0
    return sum(_swept(path) for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


def _new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix=PREFIX))


def _locked(path: Path) -> int | None:
    """A descriptor that holds the folder's lock; None without such locks, or without the folder."""
    if not _LOCKS:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    with suppress(OSError):  # a file system without locks: nobody can lock it there, so nobody sweeps it
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _swept(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
        return not path.exists()
    except OSError:  # somebody works in it
        return False
    finally:
        os.close(descriptor)
