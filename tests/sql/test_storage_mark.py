"""Two hosts on one database: whichever does not have the storage of the first is told so."""

from __future__ import annotations

import errno
import io
import os
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from outsourced.errors import BackendUnavailable, NotFound, StorageMismatch
from outsourced.sql import files, installation, storage_mark
from outsourced.sql.backend import SqlBackend
from outsourced.storage import LocalStorage
from outsourced.storage.base import PARTS


@pytest.fixture
def host(backend: SqlBackend, tmp_path: Path) -> SqlBackend:
    """A host of a fresh installation."""
    installation.initialise(backend.database, url=None, signing_key=None)
    backend.storage = LocalStorage(tmp_path / "files")
    return backend


def store(host: SqlBackend) -> UUID:
    """The key of a file of this host."""
    assert host.storage is not None
    return host.storage.store(io.BytesIO(b"x")).key


def another(host: SqlBackend, folder: Path) -> SqlBackend:
    """Another host, with its files in this folder."""
    return SqlBackend(host.database, storage=LocalStorage(folder))


def test_first_storage_is_marked_and_the_same_one_is_right_everywhere(
    host: SqlBackend, tmp_path: Path
) -> None:
    storage_mark.require(host)
    store(host)
    storage_mark.settle(host)
    storage_mark.settle(host)
    assert host.storage is not None
    mark = host.storage.read_mark()
    storage_mark.settle(another(host, tmp_path / "files"))
    assert mark
    assert host.storage.read_mark() == mark


def test_storage_without_files_is_not_touched(host: SqlBackend, tmp_path: Path) -> None:
    storage_mark.settle(host)
    assert not (tmp_path / "files").exists()
    storage_mark.require(another(host, tmp_path / "elsewhere"))


def test_storage_that_is_not_shared_is_told(host: SqlBackend, tmp_path: Path) -> None:
    store(host)
    storage_mark.settle(host)
    apart = another(host, tmp_path / "elsewhere")
    with pytest.raises(StorageMismatch, match="has no mark of this installation.*init --adopt-storage"):
        storage_mark.settle(apart)
    with pytest.raises(StorageMismatch):
        files.open_bytes(apart, uuid4())
    with pytest.raises(NotFound):
        files.open_bytes(host, uuid4())
    assert host.storage is not None
    assert host.storage.read_mark() is not None


def test_storage_of_another_installation_is_left_alone(host: SqlBackend) -> None:
    assert host.storage is not None
    host.storage.write_mark("theirs")
    key = store(host)
    with pytest.raises(StorageMismatch, match="is another installation's"):
        storage_mark.settle(host)
    assert host.storage.read_mark() == "theirs"
    swept = [files.sweep_part(host, part) for part in range(PARTS)]
    assert sum(swept) == 0
    assert host.storage.holds(key)


def test_sweep_leaves_the_files_of_another_installation(
    host: SqlBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SWEPT_AFTER", timedelta(days=-1))
    assert host.storage is not None
    key = store(host)
    host.storage.write_mark("theirs")
    assert sum(files.sweep_part(host, part) for part in range(PARTS)) == 0
    storage_mark.adopt(host, actor="admin:test")
    assert sum(files.sweep_part(host, part) for part in range(PARTS)) == 1
    assert not host.storage.holds(key)


def test_empty_storage_is_marked_anew_for_a_fresh_installation(host: SqlBackend) -> None:
    assert host.storage is not None
    host.storage.write_mark("of a database that is no more")
    storage_mark.settle(host)
    storage_mark.require(host)


def test_adopt_makes_a_storage_the_right_one(host: SqlBackend, tmp_path: Path) -> None:
    store(host)
    storage_mark.settle(host)
    moved = another(host, tmp_path / "moved")
    storage_mark.adopt(moved, actor="admin:test")
    storage_mark.require(moved)
    with pytest.raises(StorageMismatch):
        storage_mark.require(host)


def test_storage_that_cannot_be_written_stays_unmarked(
    host: SqlBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store(host)
    with monkeypatch.context() as patch:
        patch.setattr("outsourced.storage.local.os.replace", full)
        with pytest.raises(BackendUnavailable, match="No space left"):
            storage_mark.settle(host)
    storage_mark.settle(host)


def test_storage_that_cannot_be_read_is_unavailable(host: SqlBackend, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("in the way")
    host.storage = LocalStorage(tmp_path / "a file" / "files")
    with pytest.raises(BackendUnavailable):
        storage_mark.require(host)
