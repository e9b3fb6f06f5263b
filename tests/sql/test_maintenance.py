"""The background duties: turns, the gap in which no server ran, and bytes nobody knows."""

from __future__ import annotations

import io
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from outsourced.errors import TooLarge
from outsourced.records import NewFile
from outsourced.sql import files, maintenance
from outsourced.sql.backend import SqlBackend
from outsourced.sql.bookkeeping import Installation
from outsourced.states import State
from outsourced.storage import LocalStorage
from outsourced.storage.base import PARTS
from tests.sql.conftest import Site, new_job, pass_time, state_of


def installed(backend: SqlBackend) -> None:
    def write(connection: Connection) -> None:
        now = backend.database.now(connection)
        connection.execute(insert(Installation).values(id=1, uuid=new_job().id, created_at=now, alive_at=now))

    backend.database.write(write)


@pytest.mark.parametrize("interval", [timedelta(seconds=5), timedelta(seconds=60)])
def test_tick_rescues_lapsed_leases_whatever_its_interval(
    backend: SqlBackend, near: Site, interval: timedelta
) -> None:
    installed(backend)
    job = new_job()
    backend.enqueue([job])
    near.claim()
    for _ in range(30):
        pass_time(backend, interval.total_seconds() + 1)
        if maintenance.tick(backend, {"rescue": interval}).get("rescue"):
            break

    assert state_of(backend, job.id) is State.UNASSIGNED


def test_tick_extends_leases_first_after_a_gap(backend: SqlBackend, near: Site) -> None:
    installed(backend)
    job = new_job()
    backend.enqueue([job])
    near.claim()

    pass_time(backend, 3600)
    assert maintenance.tick(backend)["rescue"] == 0
    assert state_of(backend, job.id) is State.ASSIGNED


def test_each_turn_of_a_duty_is_taken_once(backend: SqlBackend) -> None:
    hourly = {"promote": timedelta(hours=1)}
    assert "promote" in maintenance.tick(backend, hourly)
    assert "promote" not in maintenance.tick(backend, hourly)


def test_sweep_deletes_only_old_bytes_no_row_knows(backend: SqlBackend, tmp_path: Path) -> None:
    storage = backend.storage = LocalStorage(tmp_path / "files")
    job = new_job(attachment=NewFile(open=lambda: io.BytesIO(b"known"), filename="known"))
    backend.enqueue([job])
    orphan, young = storage.store(io.BytesIO(b"orphan")), storage.store(io.BytesIO(b"young"))
    (known,) = {path.name for path in (tmp_path / "files").rglob("*-*")} - {str(orphan.key), str(young.key)}
    past = time.time() - files.SWEPT_AFTER.total_seconds() - 60
    for path in (tmp_path / "files").rglob("*-*"):
        if path.name != str(young.key):
            os.utime(path, (past, past))

    assert sum(files.sweep_part(backend, part) for part in range(PARTS)) == 1
    assert {path.name for path in (tmp_path / "files").rglob("*-*")} == {known, str(young.key)}


def test_attachment_above_the_limit_is_refused_and_leaves_nothing(
    backend: SqlBackend, tmp_path: Path
) -> None:
    backend.storage, backend.max_attachment = LocalStorage(tmp_path / "files"), 3
    job = new_job(attachment=NewFile(open=lambda: io.BytesIO(b"four"), filename="f"))

    with pytest.raises(TooLarge):
        backend.enqueue([job])

    assert backend.job(job.id) is None
    assert not [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
