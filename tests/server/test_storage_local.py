"""LocalStorage on the disk: what is synced, and when, and what a full disk or a kill leaves."""

from __future__ import annotations

import errno
import io
import os
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from outsourced.errors import BackendUnavailable
from outsourced.storage import LocalStorage
from outsourced.storage.base import PARTS


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "files")


def files(storage: LocalStorage) -> list[Path]:
    return [path for path in storage.folder.rglob("*") if path.is_file()]


def age(path: Path, seconds: int) -> None:
    moment = path.stat().st_mtime - seconds
    os.utime(path, (moment, moment))


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


def test_sweep_deletes_old_files_nobody_knows(storage: LocalStorage) -> None:
    known, orphan, fresh = (storage.store(io.BytesIO(b"x"), limit=1).key for _ in range(3))
    half = storage.path(orphan).with_name(f"{uuid4()}.partial")
    half.write_bytes(b"half")
    for path in (storage.path(known), storage.path(orphan), half):
        age(path, 7200)
    (storage.path(orphan).with_name(".nfs0001")).write_bytes(b"not ours")
    older_than = timedelta(hours=1)
    swept = [
        storage.sweep(part, older_than=older_than, known=lambda keys: {known} & set(keys))
        for part in range(PARTS)
    ]
    assert sum(swept) == 2
    (storage.path(orphan).with_name(".nfs0001")).unlink()
    assert sorted(files(storage)) == sorted([storage.path(known), storage.path(fresh)])
