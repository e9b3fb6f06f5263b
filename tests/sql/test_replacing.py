"""Replacing, while others end: what two transactions at once must not do to those that wait for both."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from outsourced.records import Edge, EdgeKind, OutcomeKind
from outsourced.sql import exchange, maintenance
from outsourced.sql.backend import SqlBackend
from outsourced.sql.task_producer import TaskProducer
from outsourced.states import State
from tests.sql.conftest import Site, new_job, outcome, pass_time, state_of
from tests.sql.interleaving import PATIENCE, Aside, until, waiting


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.postgres
def test_end_beside_a_job_that_fails_as_it_is_replaced_is_heard(backend: SqlBackend, near: Site) -> None:
    """An errback of both, of which the one is replaced by what had expired while the other completes."""
    first, other = new_job(), new_job()
    errback = new_job(after=tuple(Edge(upstream=one.id, kind=EdgeKind.ERROR) for one in (first, other)))
    backend.enqueue([first, other, errback])
    leases = {lease.job_id: lease for lease in near.claim()}
    child = new_job(expires_in=timedelta(seconds=1))
    TaskProducer(backend, near.identity, leases[first.id]).enqueue([child])
    pass_time(backend, 2)
    maintenance.expire(backend)
    replaced, heard = threading.Event(), threading.Event()

    def replace(connection: Connection) -> None:
        dialect, batch = backend.database.dialect, backend.database.batch(connection)
        row = exchange.outcome_row(
            backend, outcome(leases[first.id], OutcomeKind.REPLACED, replaced_by=child.id)
        )
        dialect.lock_jobs(batch, [first.id, child.id])
        dialect.move(batch, "replace", [row], exchange.constants(backend, near.identity))
        replaced.set()
        assert heard.wait(PATIENCE)

    replacing = Aside(lambda: backend.database.write(replace))
    assert replaced.wait(PATIENCE)
    ending = Aside(lambda: near.settle(leases[other.id], OutcomeKind.COMPLETED))
    until(lambda: bool(waiting(backend.database)) or ending.is_done)
    heard.set()
    replacing.result()
    ending.result()
    assert state_of(backend, first.id) is State.FAILED
    assert state_of(backend, errback.id) is State.CANCELLED
