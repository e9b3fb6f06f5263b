"""What works the jobs of a case: the shipped worker, on a database."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import func, select

from outsourced.backend import use
from outsourced.registry import registry
from outsourced.sql import maintenance, queues, workers
from outsourced.sql.backend import SqlBackend
from outsourced.sql.consumer import SqlConsumer
from outsourced.sql.database import Database
from outsourced.sql.models import Job
from outsourced_worker.bell import Bell
from outsourced_worker.instance import this_instance
from outsourced_worker.ledger import Ledger
from outsourced_worker.pools.base import Bench
from outsourced_worker.pools.solo import SoloPool
from outsourced_worker.worker import Worker

#: how often a worker is started for one case
MOST_BURSTS = 20


@pytest.fixture
def work(database: Database, forget_tasks: None) -> Iterator[Callable[[], None]]:
    """Puts a database in force; gives what works its jobs, by the shipped worker, until there are none."""
    store = SqlBackend(database)
    queues.create(store, "default", actor="test")
    workers.create(store, "near", actor="test")
    workers.hire(store, "near", "default", actor="test")
    consumer = SqlConsumer(store, "near")

    def solo(ledger: Ledger, bell: Bell) -> SoloPool:
        return SoloPool(Bench(registry, consumer), report=ledger.report, on_idle=bell.ring)

    def burst() -> None:
        tasks = registry.runnable()
        Worker(consumer, solo, instance=this_instance(), tasks=tasks, poll_wait=0, burst=True).work()

    def work() -> None:
        # a job whose next try is due at once is promoted by the server, not by the worker
        for _ in range(MOST_BURSTS):
            if not alive(database):
                return
            maintenance.promote(store)
            maintenance.expire(store)
            # not in our context, where the backend is in force: a task enqueues under its lease
            contextvars.Context().run(burst)

    with use(store):
        yield work


def alive(database: Database) -> int:
    """How many jobs have not ended."""
    with database.connect() as connection:
        return connection.scalar(select(func.count()).where(Job.ended_at.is_(None))) or 0
