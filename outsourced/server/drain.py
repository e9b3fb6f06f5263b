"""Running an app's jobs in a test: by the exchange, leases and outcomes of production, in this thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from uuid import UUID, uuid4

from flask import Flask
from sqlalchemy import Connection, delete

from outsourced import backend as backends
from outsourced.backend import Producer
from outsourced.execution import execute, telling
from outsourced.records import ExchangeRequest, Held, Instance, Job
from outsourced.registry import registry
from outsourced.server.services import services_of
from outsourced.sql import maintenance, migrate, overview, queues, recurring, workers
from outsourced.sql.backend import SqlBackend
from outsourced.sql.bookkeeping import Ending
from outsourced.sql.consumer import SqlConsumer
from outsourced.sql.models import Edge, JobArgs, JobFile, JobProgress, JobResult, Transition
from outsourced.sql.models import Job as JobRow

#: the worker that runs them, in history
DRAINER = "drain"
#: who makes it, in the audit
ACTOR = "test"
#: jobs that one drain runs, before it takes them for a task that enqueues itself for ever
MOST_DRAINED = 10_000


def prepare(app: Flask) -> SqlBackend:
    """The app's backend; makes tables and a queue where there are none, and the worker that drains.

    Now: later a test's own transaction may be open, which would be waited for.
    """
    backend = services_of(app).backend
    with app.app_context():
        migrate.upgrade(backend.database)
        if not overview.queues(backend.database):
            queues.create(backend, "default", actor=ACTOR)
        if workers.identity(backend.database, DRAINER) is None:
            workers.create(backend, DRAINER, actor=ACTOR)
        for queue in overview.queues(backend.database):
            if DRAINER not in queue.workers:
                workers.hire(backend, DRAINER, queue.name, actor=ACTOR)
    return backend


def drain(app: Flask, around: Callable[[Producer], Producer]) -> list[Job]:
    """Runs the jobs that are ready, and those they enqueue, until none is; gives them as they ended.

    What their tasks enqueue with goes through `around`. Jobs of paused queues, of tasks not registered
    here and of a later date stay. Raises RuntimeError where they would never end.
    """
    backend = services_of(app).backend
    consumer = SqlConsumer(backend, DRAINER)
    say = partial(ExchangeRequest, instance=Instance(id=uuid4(), host="", pid=0, version=""))
    ended: list[Job] = []
    while True:
        maintenance.promote(backend)
        maintenance.expire(backend)
        recurring.tick(backend)
        leases = consumer.exchange(say(claim_id=uuid4(), slots=1, tasks=tuple(registry))).leases
        if not leases:
            return ended
        if len(ended) == MOST_DRAINED:
            raise RuntimeError(f"{MOST_DRAINED:,} jobs have run and there are more: does one enqueue itself?")
        (lease,) = leases
        consumer.exchange(say(begun=(Held(lease_id=lease.id, job_id=lease.job_id),)))
        with backends.use(around(consumer.producer(lease))):
            tell = telling(lease, lambda told: consumer.exchange(say(progress=(told,))))
            outcome = execute(lease, registry, consumer, around=app.app_context, tell=tell)
        consumer.exchange(say(outcomes=(outcome,)))
        job = backend.job(lease.job_id)
        assert job is not None
        ended.append(job)


def forget(backend: SqlBackend, job_ids: Iterable[UUID]) -> None:
    """Deletes the jobs with all that belongs to them."""
    ids = list(job_ids)

    def work(connection: Connection) -> None:
        for table in (JobArgs, JobResult, JobProgress, Transition, JobFile, Ending):
            connection.execute(delete(table).where(table.job_id.in_(ids)))
        connection.execute(delete(Edge).where(Edge.upstream_id.in_(ids)))
        connection.execute(delete(JobRow).where(JobRow.id.in_(ids)))

    backend.database.write(work)
