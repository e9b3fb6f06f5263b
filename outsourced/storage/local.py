"""`LocalStorage`: files in a folder, of this machine or of a file system that several share."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO
from uuid import UUID, uuid4

from outsourced import clock
from outsourced.errors import BackendUnavailable, NotFound
from outsourced.storage.base import MARK, Known, Stored, copy, is_key

#: a folder's name
_BYTE = "[0-9a-f][0-9a-f]"


class LocalStorage:
    """Files in a folder, spread over two levels so that no directory grows large.

    Several processes, and machines sharing the file system, may use one folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def store(self, stream: BinaryIO, *, limit: int | None = None) -> Stored:
        """Keeps all the stream gives, synced to disk; raises TooLarge, BackendUnavailable on a full disk."""
        key = uuid4()
        target = self.path(key)
        partial = target.with_suffix(".partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            size, digest = _write(stream, partial, limit=limit)
            os.replace(partial, target)
            # both levels may be new
            for folder in (target.parent, target.parent.parent, self.folder):
                _sync_folder(folder)
        except OSError as error:
            raise BackendUnavailable(f"the file cannot be stored: {error.strerror}") from error
        finally:
            with suppress(FileNotFoundError, NotADirectoryError):
                partial.unlink()
        return Stored(key=key, size=size, sha256=digest)

    def path(self, key: UUID) -> Path:
        """Where the bytes of this key are, or would be."""
        return self.folder / key.hex[:2] / key.hex[2:4] / str(key)

    def holds(self, key: UUID) -> bool:
        """Whether the bytes of this key are there."""
        return self.path(key).is_file()

    def open(self, key: UUID) -> BinaryIO:
        """A fresh stream; raises NotFound."""
        try:
            return self.path(key).open("rb")
        except FileNotFoundError as error:
            raise NotFound("the file is gone from storage") from error

    def delete(self, key: UUID) -> None:
        """Forgets the bytes; does nothing where there are none."""
        self.path(key).unlink(missing_ok=True)

    def read_mark(self) -> str | None:
        """What says whose storage this is; None where nothing does."""
        try:
            return (self.folder / MARK).read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BackendUnavailable(f"the storage of files cannot be read: {error}") from error

    def write_mark(self, text: str) -> None:
        """Says whose storage this is from now on."""
        partial = self.folder / f"{MARK}.{uuid4()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial.write_text(text)
            os.replace(partial, self.folder / MARK)
        except OSError as error:
            raise BackendUnavailable(f"the storage of files cannot be written: {error}") from error

    def is_empty(self) -> bool:
        """Whether it has no file, marks aside."""
        return not any(path.is_file() for path in self.folder.glob(f"{_BYTE}/{_BYTE}/*"))

    def sweep(self, part: int, *, older_than: timedelta, known: Known) -> int:
        """Deletes files older than this that `known` does not claim, half-written ones too."""
        before = (clock.now() - older_than).timestamp()
        deleted = 0
        for directory in self.folder.glob(f"{part:02x}/{_BYTE}"):
            old = {
                UUID(path.stem): path
                for path in directory.iterdir()
                if is_key(path.stem) and _changed_before(path, before)
            }
            for key in old.keys() - set(known(old.keys()) if old else ()):
                old[key].unlink(missing_ok=True)
                deleted += 1
        return deleted


def _write(stream: BinaryIO, path: Path, *, limit: int | None) -> tuple[int, str]:
    with path.open("xb") as file:
        written = copy(stream, file, limit=limit)
        file.flush()
        os.fsync(file.fileno())
    return written


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _changed_before(path: Path, moment: float) -> bool:
    try:
        return path.stat().st_mtime < moment
    except FileNotFoundError:  # another process sweeps too
        return False
