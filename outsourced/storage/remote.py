"""`RemoteStorage`: files in an object store, reached through fsspec: S3, and whatever else has a driver.

Needs the extra `s3`, or fsspec and a driver of one's own. Credentials are the driver's business: for S3
they come from the environment, as everywhere (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, a role, …).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, BinaryIO, cast
from uuid import UUID, uuid4

import fsspec

from outsourced import clock
from outsourced.errors import BackendUnavailable, ConfigurationError, NotFound, OutsourcedError
from outsourced.storage.base import MARK, Known, Stored, copy, is_key

#: bytes of one part of an upload, and of one request of a download: all that is in memory of a file
BLOCK = 5 * 1024 * 1024


class RemoteStorage:
    """Objects under a URL. One is there whole, or it is not there: a part is never seen."""

    def __init__(self, url: str) -> None:
        """Raises ConfigurationError where no driver for such URLs is installed."""
        self.url = url.rstrip("/")
        try:
            fsspec.get_filesystem_class(url.partition("://")[0])
        except (ImportError, ValueError) as error:
            raise ConfigurationError(
                f"OUTSOURCED_STORAGE is {url!r}, for which nothing is installed: {error} (S3: "
                "pip install 'outsourced[s3]')"
            ) from error

    def store(self, stream: BinaryIO, *, limit: int | None = None) -> Stored:
        """Keeps all the stream gives; raises TooLarge, BackendUnavailable where the store refuses."""
        key = uuid4()
        with self._reached() as (files, root):
            target = files.open(_place(root, key), "wb", block_size=BLOCK, autocommit=False)
        try:
            size, digest = copy(stream, cast(BinaryIO, _Target(target)), limit=limit)
            with _available():
                target.close()
                target.commit()
        except BaseException:
            _discard(target)
            raise
        return Stored(key=key, size=size, sha256=digest)

    def holds(self, key: UUID) -> bool:
        """Whether the bytes of this key are there."""
        with self._reached() as (files, root):
            return bool(files.exists(_place(root, key)))

    def open(self, key: UUID) -> BinaryIO:
        """A fresh, seekable stream, fetched in blocks as it is read; raises NotFound."""
        with self._reached() as (files, root):
            try:
                stream = files.open(_place(root, key), "rb", block_size=BLOCK, cache_type="readahead")
            except FileNotFoundError as error:
                raise NotFound("the file is gone from storage") from error
            return cast(BinaryIO, stream)

    def path(self, key: UUID) -> None:
        """No file of this machine holds them."""
        return

    def delete(self, key: UUID) -> None:
        """Forgets the bytes; does nothing where there are none."""
        with self._reached() as (files, root):
            _remove(files, _place(root, key))

    def sweep(self, part: int, *, older_than: timedelta, known: Known) -> int:
        """Deletes objects older than this, by the store's clock, that `known` does not claim."""
        before, deleted = clock.now() - older_than, 0
        with self._reached() as (files, root):
            names = files.find(f"{root}/{part:02x}")
        found = {UUID(base): name for name in names if is_key(base := name.rpartition("/")[2])}
        unknown = found.keys() - set(known(found.keys()) if found else ())
        with self._reached() as (files, _):
            for key in unknown:
                if files.modified(found[key]) < before:
                    _remove(files, found[key])
                    deleted += 1
        return deleted

    def read_mark(self) -> str | None:
        """What was written last; None where nothing was."""
        with self._reached() as (files, root):
            try:
                return str(files.cat_file(f"{root}/{MARK}").decode())
            except FileNotFoundError:
                return None

    def write_mark(self, text: str) -> None:
        """Replaces it."""
        with self._reached() as (files, root):
            files.pipe_file(f"{root}/{MARK}", text.encode())

    def is_empty(self) -> bool:
        """Whether there is no file."""
        with self._reached() as (files, root):
            try:
                entries = files.ls(root, detail=False)
            except FileNotFoundError:
                return True
            folders = (entry for entry in entries if len(entry.rstrip("/").rpartition("/")[2]) == 2)
            return not any(files.find(folder) for folder in folders)

    @contextmanager
    def _reached(self) -> Iterator[tuple[Any, str]]:
        """The file system and the path in it."""
        with _available():
            # fsspec keeps one a process, which threads may share
            yield fsspec.url_to_fs(self.url, use_listings_cache=False)


class _Target:
    """A file of the driver to write to: its troubles are told from those of the stream that is read."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        with _available():
            return int(self._file.write(data))


def _discard(file: Any) -> None:
    """Ends an upload without making an object of what has come so far, as closing would."""
    try:
        with suppress(BackendUnavailable), _available():
            file.discard()
    finally:
        file.closed = True  # or the garbage collector closes it


@contextmanager
def _available() -> Iterator[None]:
    """Turns whatever a driver raises into BackendUnavailable."""
    try:
        yield
    except OutsourcedError:
        raise
    except Exception as error:
        raise BackendUnavailable(f"the storage of files does not answer: {error}") from error


def _place(root: str, key: UUID) -> str:
    return f"{root}/{key.hex[:2]}/{key}"


def _remove(files: Any, name: str) -> None:
    try:
        files.rm_file(name)
    except FileNotFoundError:
        return
