"""A store of jobs with a hired worker, on each database, and the worker's side of the exchange."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import uuid6
from sqlalchemy import Connection, insert

from outsourced import payload
from outsourced.records import (
    ExchangeReply,
    ExchangeRequest,
    Failure,
    Held,
    Instance,
    Lease,
    NewJob,
    Outcome,
    OutcomeKind,
    WorkerIdentity,
)
from outsourced.sql.backend import SqlBackend
from outsourced.sql.database import Database
from outsourced.sql.models import Hire, Queue, Worker
from outsourced.states import State
from tests.checker import Call, Records, assert_clean

TASK = "tasks.add"
FAILURE = Failure(type="ValueError", message="no", traceback="…")


def new_job(**options: Any) -> NewJob:
    call = {"task": TASK, "payload": payload.encode_call((1, 2), {})}
    return NewJob(id=UUID(int=uuid6.uuid7().int), **{**call, **options})


@dataclass
class Site:
    """A worker somewhere, speaking the exchange straight to the backend."""

    backend: SqlBackend
    identity: WorkerIdentity
    instance: Instance = field(default_factory=lambda: Instance(id=uuid4(), host="here", pid=1, version="0"))

    def say(self, **said: Any) -> ExchangeReply:
        return self.backend.exchange(self.identity, ExchangeRequest(instance=self.instance, **said))

    def claim(self, slots: int = 10, claim_id: UUID | None = None) -> tuple[Lease, ...]:
        return self.say(claim_id=claim_id or uuid4(), slots=slots, tasks=(TASK,)).leases

    def begin(self, lease: Lease) -> ExchangeReply:
        return self.say(begun=(held(lease),))

    def settle(self, lease: Lease, kind: OutcomeKind, **more: Any) -> ExchangeReply:
        return self.say(outcomes=(outcome(lease, kind, **more),))


def held(lease: Lease) -> Held:
    return Held(lease_id=lease.id, job_id=lease.job_id, begun_at=time.monotonic())


def outcome(lease: Lease, kind: OutcomeKind, **more: Any) -> Outcome:
    return Outcome(lease_id=lease.id, job_id=lease.job_id, kind=kind, ran_for=0.1, **more)


@pytest.fixture
def noted() -> list[Call]:
    """What the clients of the test were told, where it notes that: the checker knows it in the end."""
    return []


@pytest.fixture
def backend(database: Database, request: pytest.FixtureRequest, noted: list[Call]) -> Iterator[SqlBackend]:
    """Queues `plain` (the default) and `small` (3 places); workers `near` and `far`, hired for both.

    Whatever the test did, its histories must keep the promises: the checker has the last word.
    """
    staff(database)
    yield SqlBackend(database)
    if request.node.get_closest_marker("tampers") is None:
        assert_clean(read(database), calls=noted, quiesced=False)


def read(database: Database) -> Records:
    """All the checker wants to know of this database."""
    with database.connect() as connection:
        return Records.read(connection)


def staff(database: Database) -> None:
    """Makes the queues and workers of the fixture `backend`, without a trace in the audit."""

    def people(connection: Connection) -> None:
        now = database.now(connection)
        for name, capacity in (("plain", None), ("small", 3)):
            connection.execute(
                insert(Queue).values(
                    name=name,
                    capacity=capacity,
                    paused=False,
                    is_default=capacity is None,
                    created_at=now,
                )
            )
        for number, name in enumerate(("near", "far"), 1):  # the numbers a fresh database gives
            connection.execute(
                insert(Worker).values(
                    name=name, kind="worker", state="active", paused=False, epoch=0, created_at=now
                )
            )
            for queue_id in (1, 2):
                connection.execute(insert(Hire).values(worker_id=number, queue_id=queue_id, created_at=now))

    database.write(people)


@pytest.fixture
def near(backend: SqlBackend) -> Site:
    return Site(backend, WorkerIdentity(id=1, name="near", epoch=0))


@pytest.fixture
def far(backend: SqlBackend) -> Site:
    return Site(backend, WorkerIdentity(id=2, name="far", epoch=0))


def state_of(backend: SqlBackend, job_id: UUID) -> State:
    job = backend.job(job_id)
    assert job is not None
    return job.state


def pass_time(backend: SqlBackend, seconds: float) -> None:
    """Moves the database's clock on."""
    backend.database.clock_offset += timedelta(seconds=seconds)
