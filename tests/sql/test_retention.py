"""What has ended is forgotten in time, whole and in small batches; what lives never is."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, inspect, select, update

from outsourced.errors import ResultPruned
from outsourced.failures import error_of
from outsourced.records import NewFile, OutcomeKind
from outsourced.sql import maintenance, retention
from outsourced.sql.backend import SqlBackend
from outsourced.sql.bookkeeping import Ending, Reply
from outsourced.sql.database import Database
from outsourced.sql.models import Instance, Job, JobArgs, JobFile, JobProgress, JobResult, Transition
from outsourced.sql.retention import Retention
from outsourced.states import TERMINAL, State
from outsourced.storage import LocalStorage
from tests.sql.conftest import FAILURE, Site, new_job, pass_time, state_of

DAY = 86400.0
LIVE_STATES = sorted(set(State) - TERMINAL)


def ended(backend: SqlBackend, site: Site, kind: OutcomeKind, **more: Any) -> UUID:
    job = new_job()
    backend.enqueue([job])
    (lease,) = site.claim()
    site.settle(lease, kind, **more)
    return job.id


def cancelled(backend: SqlBackend) -> UUID:
    job = new_job()
    backend.enqueue([job])
    backend.cancel(job.id)
    return job.id


def expired(backend: SqlBackend) -> UUID:
    job = new_job(expires_in=timedelta(seconds=1))
    backend.enqueue([job])
    pass_time(backend, 2)
    maintenance.expire(backend)
    return job.id


def rows_of(backend: SqlBackend, job_id: UUID) -> dict[str, int]:
    """How many rows each table has of this job."""
    with backend.database.connect() as connection:
        counts = {
            table.__tablename__: connection.scalar(
                select(func.count()).select_from(table).where(table.job_id == job_id)
            )
            for table in (Transition, JobArgs, JobResult, JobFile)
        }
        counts["outsourced_jobs"] = connection.scalar(
            select(func.count()).select_from(Job).where(Job.id == job_id)
        )
    return {table: number or 0 for table, number in counts.items()}


def exists(backend: SqlBackend, job_id: UUID) -> bool:
    return backend.job(job_id) is not None


def test_prune_forgets_jobs_by_how_they_ended(backend: SqlBackend, near: Site) -> None:
    completed = ended(backend, near, OutcomeKind.COMPLETED, result="3")
    failed = ended(backend, near, OutcomeKind.FAILED, error=FAILURE)
    others = [cancelled(backend), expired(backend)]

    pass_time(backend, 6.9 * DAY)
    retention.prune(backend)
    assert all(exists(backend, job_id) for job_id in (completed, failed, *others))

    pass_time(backend, 0.2 * DAY)
    assert retention.prune(backend)["completed jobs"] == 3
    assert [exists(backend, job_id) for job_id in (completed, failed, *others)] == [False, True, False, False]

    pass_time(backend, 83 * DAY)
    assert retention.prune(backend)["failed jobs"] == 1
    assert not exists(backend, failed)


def test_prune_takes_all_of_a_job_with_it(backend: SqlBackend, near: Site, tmp_path: Path) -> None:
    backend.storage = LocalStorage(tmp_path / "files")
    job = new_job(attachment=NewFile(open=lambda: io.BytesIO(b"bytes"), filename="a"))
    backend.enqueue([job])
    (lease,) = near.claim()
    near.settle(lease, OutcomeKind.COMPLETED, result="3")
    assert all(rows_of(backend, job.id).values())

    pass_time(backend, 8 * DAY)
    retention.prune(backend)

    assert not any(rows_of(backend, job.id).values())
    assert not [path for path in (tmp_path / "files").rglob("*") if path.is_file()]


def test_tables_with_a_job_are_all_known_to_prune(database: Database) -> None:
    inspector = inspect(database.engine)
    keyed = {
        table
        for table in inspector.get_table_names()
        if any(column["name"] == "job_id" for column in inspector.get_columns(table))
    }
    assert keyed == {
        table.__tablename__ for table in (Transition, JobArgs, JobResult, JobProgress, JobFile, Ending)
    }


@pytest.mark.tampers
@pytest.mark.parametrize("state", LIVE_STATES)
def test_prune_leaves_what_has_not_ended_however_old(backend: SqlBackend, state: State) -> None:
    job = new_job()
    backend.enqueue([job])

    def force(connection: Connection) -> None:
        # an `ended_at` where none belongs: the state alone must save it
        past = backend.database.now(connection)
        connection.execute(update(Job).where(Job.id == job.id).values(state=state, ended_at=past))

    backend.database.write(force)
    pass_time(backend, 1000 * DAY)
    retention.prune(backend)
    assert state_of(backend, job.id) is state


def test_job_tried_again_is_not_pruned(backend: SqlBackend, near: Site) -> None:
    job_id = ended(backend, near, OutcomeKind.COMPLETED)
    pass_time(backend, 8 * DAY)
    backend.requeue(job_id)
    retention.prune(backend)
    assert state_of(backend, job_id) is State.UNASSIGNED


def test_pruned_result_is_not_taken_for_none(backend: SqlBackend, near: Site) -> None:
    with_result = ended(backend, near, OutcomeKind.COMPLETED, result="3")
    without = ended(backend, near, OutcomeKind.COMPLETED)
    pass_time(backend, 1.1 * DAY)

    assert retention.prune(backend)["results"] == 1
    assert retention.prune(backend)["results"] == 0

    pruned, empty = backend.job(with_result), backend.job(without)
    assert pruned is not None
    assert empty is not None
    assert (pruned.result, pruned.result_pruned) == (None, True)
    assert (empty.result, empty.result_pruned) == (None, False)
    assert isinstance(error_of(pruned), ResultPruned)


def test_prune_forgets_old_replies_and_processes_of_workers(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job()])
    near.claim()
    pass_time(backend, 0.9 * DAY)
    assert retention.prune(backend)["replies"] == 0
    pass_time(backend, 7 * DAY)

    pruned = retention.prune(backend)

    assert (pruned["replies"], pruned["worker processes"]) == (1, 1)
    with backend.database.connect() as connection:
        for table in (Reply, Instance):
            assert connection.scalar(select(func.count()).select_from(table)) == 0


def test_prune_works_in_bounded_batches(
    backend: SqlBackend, near: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for _ in range(5):
        ended(backend, near, OutcomeKind.COMPLETED)
    pass_time(backend, 8 * DAY)

    assert retention.KINDS["completed jobs"](backend) == 2
    assert not retention.prune(backend, seconds=0)
    assert retention.prune(backend)["completed jobs"] == 3


def test_prune_keeps_what_it_is_told_to(backend: SqlBackend, near: Site) -> None:
    backend.retention = Retention(completed=timedelta(days=30))
    job_id = ended(backend, near, OutcomeKind.COMPLETED)
    pass_time(backend, 29 * DAY)
    retention.prune(backend)
    assert exists(backend, job_id)


def test_tick_prunes(backend: SqlBackend, near: Site) -> None:
    ended(backend, near, OutcomeKind.COMPLETED)
    pass_time(backend, 8 * DAY)
    assert maintenance.tick(backend)["prune"] >= 1


@pytest.mark.parametrize(
    "database_url", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True
)
def test_prune_skips_a_job_that_somebody_holds(backend: SqlBackend, near: Site) -> None:
    held, free = (ended(backend, near, OutcomeKind.COMPLETED) for _ in range(2))
    pass_time(backend, 8 * DAY)
    with backend.database.engine.connect() as other:
        other.exec_driver_sql("BEGIN")
        other.execute(select(Job.id).where(Job.id == held).with_for_update())
        retention.prune(backend)
        other.exec_driver_sql("ROLLBACK")
    assert (exists(backend, held), exists(backend, free)) == (True, False)


def plan_of(database: Database, statement: Any) -> str:
    text = str(statement.compile(database.engine, compile_kwargs={"literal_binds": True}))
    on_sqlite = database.dialect.name == "sqlite"
    with database.connect() as connection:
        if not on_sqlite:  # an empty table is read from end to end, whatever its indexes
            connection.exec_driver_sql("SET enable_seqscan = off")
        rows = connection.exec_driver_sql(f"EXPLAIN {'QUERY PLAN ' if on_sqlite else ''}{text}").all()
    return "\n".join(str(row[-1]) for row in rows)


def test_prune_finds_what_is_old_by_index(database: Database) -> None:
    with database.connect() as connection:
        now = database.now(connection)
    for states in ([State.FAILED], sorted(TERMINAL)):
        assert "outsourced_jobs_ended" in plan_of(database, retention.ended_before(now, states))
    assert "outsourced_job_results_kept" in plan_of(database, retention.results_before(now))
