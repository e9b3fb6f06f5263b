"""LocalStorage: whatever happens half-way, nobody ever reads half a file."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from outsourced.errors import BackendUnavailable, NotFound, TooLarge
from outsourced.storage import LocalStorage
from outsourced.storage.base import CHUNK


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "files")


def files(storage: LocalStorage) -> list[Path]:
    return [path for path in storage.folder.rglob("*") if path.is_file()]


def age(path: Path, seconds: int) -> None:
    moment = path.stat().st_mtime - seconds
    os.utime(path, (moment, moment))


def none(keys: Collection[UUID]) -> Collection[UUID]:
    return ()


def test_store_keeps_bytes_size_and_digest(storage: LocalStorage) -> None:
    data = os.urandom(3 * CHUNK + 17)
    stored = storage.store(io.BytesIO(data), limit=len(data))
    assert (stored.size, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    with storage.open(stored.key) as stream:
        assert stream.read() == data
    assert storage.path(stored.key).parent.parent.parent == storage.folder


def test_store_keeps_an_empty_file(storage: LocalStorage) -> None:
    assert storage.store(io.BytesIO(b""), limit=0).size == 0


def test_store_names_the_limit_and_keeps_nothing_above_it(storage: LocalStorage) -> None:
    with pytest.raises(TooLarge, match="1,000 bytes") as caught:
        storage.store(io.BytesIO(b"x" * 1001), limit=1000)
    assert caught.value.limit == 1000
    assert files(storage) == []


class Breaking(io.RawIOBase):
    """A stream that fails after some bytes, as a connection does that is cut."""

    def __init__(self) -> None:
        self.parts = [b"x" * 100]

    def read(self, size: int = -1) -> bytes:
        if self.parts:
            return self.parts.pop()
        raise ValueError("cut off")


def test_store_keeps_nothing_of_a_stream_that_breaks(storage: LocalStorage) -> None:
    with pytest.raises(ValueError, match="cut off"):
        storage.store(Breaking(), limit=1000)  # type: ignore[arg-type]
    assert files(storage) == []


def test_store_keeps_nothing_on_a_full_disk(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("outsourced.storage.local.os.fsync", full)
    with pytest.raises(BackendUnavailable, match="No space left"):
        storage.store(io.BytesIO(b"x"), limit=1000)
    assert files(storage) == []


def test_store_syncs_the_file_before_it_gets_its_name_and_the_folder_after(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, list[str]]] = []
    sync = os.fsync

    def watch(descriptor: int) -> None:
        synced = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        seen.append(("folder" if synced.is_dir() else "file", [path.suffix for path in files(storage)]))
        sync(descriptor)

    monkeypatch.setattr("outsourced.storage.local.os.fsync", watch)
    storage.store(io.BytesIO(b"x"), limit=1)
    named_at = next(number for number, (_, suffixes) in enumerate(seen) if suffixes == [""])
    assert ("file", [".partial"]) in seen[:named_at]
    assert [kind for kind, _ in seen[named_at:]] == ["folder"] * (len(seen) - named_at)


def test_open_of_an_absent_key_raises_not_found(storage: LocalStorage) -> None:
    with pytest.raises(NotFound):
        storage.open(uuid4())


def test_delete_forgets_and_may_be_repeated(storage: LocalStorage) -> None:
    key = storage.store(io.BytesIO(b"x"), limit=1).key
    storage.delete(key)
    storage.delete(key)
    with pytest.raises(NotFound):
        storage.open(key)


def test_sweep_deletes_old_files_nobody_knows(storage: LocalStorage) -> None:
    known, orphan, fresh = (storage.store(io.BytesIO(b"x"), limit=1).key for _ in range(3))
    half = storage.path(orphan).with_name(f"{uuid4()}.partial")
    half.write_bytes(b"half")
    for path in (storage.path(known), storage.path(orphan), half):
        age(path, 7200)
    swept = storage.sweep(older_than=timedelta(hours=1), known=lambda keys: {known} & set(keys))
    assert swept == 2
    assert sorted(files(storage)) == sorted([storage.path(known), storage.path(fresh)])


def test_sweep_of_nothing_does_nothing(storage: LocalStorage) -> None:
    assert storage.sweep(older_than=timedelta(0), known=none) == 0
