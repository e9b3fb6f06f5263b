"""The checker's reader on both databases: it sees what happened, and what was done behind the verbs' back."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, update

from outsourced.records import OutcomeKind
from outsourced.sql import workers
from outsourced.sql.backend import SqlBackend
from outsourced.sql.models import Job, Transition
from outsourced.states import Event
from tests.checker import Call, assert_clean, check
from tests.sql.conftest import Site, new_job, read


def test_read_gives_a_days_work_that_is_clean(backend: SqlBackend, near: Site) -> None:
    jobs = [new_job(), new_job(queue="small")]
    backend.enqueue(jobs)
    for lease in near.claim():
        near.settle(lease, OutcomeKind.COMPLETED, result="3")
    workers.lock(backend, "near", actor="admin:me")

    records = read(backend.database)

    assert_clean(records, calls=[Call(kind="enqueue", status="ok", job_id=job.id) for job in jobs])
    assert (len(records.jobs), len(records.history), len(records.queues)) == (2, 6, 2)
    assert [(act.act, act.subject) for act in records.acts] == [("worker.lock", "near")]
    assert {(w.name, w.state, w.queues) for w in records.workers} == {
        ("near", "locked", frozenset({"plain", "small"})),
        ("far", "active", frozenset({"plain", "small"})),
    }


@pytest.mark.tampers
def test_read_shows_a_state_written_without_history(backend: SqlBackend) -> None:
    backend.enqueue([new_job()])
    backend.database.write(lambda connection: connection.execute(update(Job).values(state="completed")))
    assert {violation.invariant for violation in check(read(backend.database))} == {"I5"}


@pytest.mark.tampers
def test_read_shows_a_row_of_history_that_is_gone(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job()])
    (lease,) = near.claim()
    near.settle(lease, OutcomeKind.COMPLETED, result="3")
    claims = delete(Transition).where(Transition.event == Event.CLAIM)
    backend.database.write(lambda connection: connection.execute(claims))
    assert {violation.invariant for violation in check(read(backend.database))} == {"I4", "I5", "I7"}
