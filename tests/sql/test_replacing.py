"""Replacing, while others end: what two transactions at once must not do to those that wait for both."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from outsourced.records import Edge, EdgeKind, Lease, NewJob, OutcomeKind
from outsourced.sql import exchange, maintenance
from outsourced.sql.backend import SqlBackend
from outsourced.sql.task_producer import TaskProducer
from outsourced.states import State
from tests.sql.conftest import FAILURE, Site, new_job, outcome, pass_time, state_of
from tests.sql.interleaving import PATIENCE, Aside, until, waiting


@dataclass
class Replacing:
    """A transaction in which a job is replaced, stopped before its commit."""

    backend: SqlBackend
    site: Site
    lease: Lease
    child: NewJob

    def __enter__(self) -> Replacing:
        self._done, self._go_on = threading.Event(), threading.Event()
        self._aside = Aside(lambda: self.backend.database.write(self._replace))
        assert self._done.wait(PATIENCE)
        return self

    def __exit__(self, *error: object) -> None:
        self._go_on.set()
        self._aside.result()

    def _replace(self, connection: Connection) -> None:
        dialect, batch = self.backend.database.dialect, self.backend.database.batch(connection)
        told = outcome(self.lease, OutcomeKind.REPLACED, replaced_by=self.child.id)
        row = exchange.outcome_row(self.backend, told)
        dialect.lock_jobs(batch, [self.lease.job_id, self.child.id])
        dialect.move(batch, "replace", [row], exchange.constants(self.backend, self.site.identity))
        self._done.set()
        assert self._go_on.wait(PATIENCE)


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
    with Replacing(backend, near, leases[first.id], child):
        ending = Aside(lambda: near.settle(leases[other.id], OutcomeKind.COMPLETED))
        until(lambda: bool(waiting(backend.database)) or ending.is_done)
    ending.result()
    assert state_of(backend, first.id) is State.FAILED
    assert state_of(backend, errback.id) is State.CANCELLED


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.postgres
def test_retry_of_a_failed_job_as_it_comes_to_replace_another_has_that_one_wait(
    backend: SqlBackend, near: Site
) -> None:
    job = new_job()
    backend.enqueue([job])
    (lease,) = near.claim()
    child = new_job()
    TaskProducer(backend, near.identity, lease).enqueue([child])
    (child_lease,) = near.claim()
    near.settle(child_lease, OutcomeKind.FAILED, error=FAILURE)
    with Replacing(backend, near, lease, child):
        retrying = Aside(lambda: backend.requeue(child.id))
        until(lambda: bool(waiting(backend.database)) or retrying.is_done)
    retrying.result()
    assert state_of(backend, job.id) is State.WAITING
    (child_lease,) = near.claim()
    near.settle(child_lease, OutcomeKind.COMPLETED, result="1")
    assert state_of(backend, job.id) is State.UNASSIGNED
