"""Every storage keeps the same promises: whatever happens half-way, nobody ever reads half a file."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Collection, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from outsourced import clock
from outsourced.errors import BackendUnavailable, ConfigurationError, NotFound, TooLarge
from outsourced.storage import Known, LocalStorage, Storage, open_storage
from outsourced.storage.base import CHUNK, PARTS
from outsourced.storage.remote import BLOCK, RemoteStorage
from tests.objectstore import new_bucket, object_store

#: more than one part of an upload, and no whole number of them
LARGE = 2 * BLOCK + 17


@pytest.fixture(scope="module")
def store() -> Iterator[None]:
    with object_store():
        yield


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return open_storage(tmp_path / "files")
    request.getfixturevalue("store")
    return open_storage(new_bucket())


class Breaking(io.RawIOBase):
    """A stream that fails after so many bytes, as a connection does that is cut."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        if not self._left:
            raise ValueError("cut off")
        piece = b"x" * min(size, self._left)
        self._left -= len(piece)
        return piece


def all_of(keys: Collection[UUID]) -> Collection[UUID]:
    return keys


def sweep(storage: Storage, *, older_than: timedelta, known: Known) -> int:
    """All parts."""
    return sum(storage.sweep(part, older_than=older_than, known=known) for part in range(PARTS))


def none(keys: Collection[UUID]) -> Collection[UUID]:
    return ()


@pytest.mark.parametrize("size", [0, 17, 3 * CHUNK + 17, LARGE])
def test_store_keeps_bytes_size_and_digest(storage: Storage, size: int) -> None:
    data = os.urandom(size)
    stored = storage.store(io.BytesIO(data), limit=size)
    assert (stored.size, stored.sha256) == (size, hashlib.sha256(data).hexdigest())
    assert storage.holds(stored.key)
    with storage.open(stored.key) as stream:
        assert stream.read() == data


def test_open_gives_a_stream_to_seek_in(storage: Storage) -> None:
    data = os.urandom(LARGE)
    with storage.open(storage.store(io.BytesIO(data)).key) as stream:
        stream.seek(BLOCK - 5)
        assert stream.read(10) == data[BLOCK - 5 : BLOCK + 5]


@pytest.mark.parametrize("size", [1001, LARGE])
def test_store_names_the_limit_and_keeps_nothing_above_it(storage: Storage, size: int) -> None:
    with pytest.raises(TooLarge, match="its OUTSOURCED_MAX_ATTACHMENT") as caught:
        storage.store(io.BytesIO(b"x" * size), limit=size - 1)
    assert caught.value.limit == size - 1
    assert storage.is_empty()


@pytest.mark.parametrize("size", [100, LARGE])
def test_store_keeps_nothing_of_a_stream_that_breaks(storage: Storage, size: int) -> None:
    with pytest.raises(ValueError, match="cut off"):
        storage.store(Breaking(size))  # type: ignore[arg-type]
    assert storage.is_empty()


def test_open_of_an_absent_key_raises_not_found(storage: Storage) -> None:
    key = uuid4()
    assert not storage.holds(key)
    with pytest.raises(NotFound):
        storage.open(key)


def test_delete_forgets_and_may_be_repeated(storage: Storage) -> None:
    key = storage.store(io.BytesIO(b"x"), limit=1).key
    storage.delete(key)
    storage.delete(key)
    assert not storage.holds(key)
    assert storage.is_empty()


def test_sweep_deletes_old_files_nobody_knows(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    known, orphan = (storage.store(io.BytesIO(b"x"), limit=1).key for _ in range(2))
    storage.write_mark("mine")
    assert sweep(storage, older_than=timedelta(hours=1), known=none) == 0
    now = clock.now() + timedelta(hours=2)
    monkeypatch.setattr(clock, "now", lambda: now)
    assert sweep(storage, older_than=timedelta(hours=1), known=all_of) == 0
    assert sweep(storage, older_than=timedelta(hours=1), known=lambda keys: {known} & set(keys)) == 1
    assert storage.holds(known)
    assert not storage.holds(orphan)
    assert storage.read_mark() == "mine"


def test_sweep_of_nothing_does_nothing(storage: Storage) -> None:
    assert sweep(storage, older_than=timedelta(0), known=none) == 0


def test_mark_is_what_was_written_last(storage: Storage) -> None:
    assert storage.read_mark() is None
    storage.write_mark("one")
    storage.write_mark("two")
    assert storage.read_mark() == "two"
    assert storage.is_empty()


def test_files_in_a_folder_have_a_path_and_objects_none(storage: Storage) -> None:
    key = storage.store(io.BytesIO(b"x")).key
    path = storage.path(key)
    assert (path is not None and path.read_bytes() == b"x") == isinstance(storage, LocalStorage)


def test_part_of_an_object_is_never_seen(store: None) -> None:
    storage = open_storage(new_bucket())
    seen = []

    class Watching(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            seen.append(storage.is_empty())
            return super().read(size)

    storage.store(Watching(b"x" * LARGE))
    assert all(seen)
    assert not storage.is_empty()


def test_object_store_out_of_reach_is_unavailable(store: None, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(f"s3://no-such-bucket-{uuid4()}")
    for use in (
        lambda: storage.store(io.BytesIO(b"x")),
        lambda: storage.write_mark("x"),
    ):
        with pytest.raises(BackendUnavailable, match="the storage of files does not answer"):
            use()


def test_storage_nobody_has_a_driver_for_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"nothing is installed.*outsourced\[s3\]"):
        RemoteStorage("nonsense://place")
