"""What the checker looks at: calls of clients, the ledger of executions, and the database's own rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, select, text

from outsourced.sql import bookkeeping, models
from outsourced.states import Event, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A promise that was not kept, and the job that shows it."""

    invariant: str
    job_id: UUID | None
    message: str

    def __str__(self) -> str:
        about = "" if self.job_id is None else f" job {self.job_id}:"
        return f"{self.invariant}:{about} {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a client did, as it saw it."""

    kind: str  #: `enqueue`, `cancel`, `claim`, `renew`, `settle`; others are not looked at
    status: str  #: `ok`, `fail` (surely not applied) or `info` (may be applied)
    job_id: UUID | None = None
    key: str | None = (
        None  #: of an enqueue: its idempotency key, with the client's name in it; of a claim: its id
    )
    queue: str | None = None
    code: str | None = None  #: of a refusal: `queue_full`, …
    at: tuple[datetime, datetime] | None = None  #: when it was made and when answered, by one clock
    asked: int = 1  #: of an enqueue: jobs in the call, which stores all or none
    joined: bool = False  #: of an enqueue: inside the client's own transaction, whose commit `at` includes
    lease_id: UUID | None = None  #: of a claim, renew or settle: the lease it is about


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A line of a ledger: an execution of a job really began on a worker."""

    job_id: UUID
    lease_id: UUID | None = None
    began: float = 0.0
    ended: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job as its row has it at the end."""

    id: UUID
    queue_id: int
    task_id: int = 0
    state: State
    version: int
    attempt: int
    failures: int
    losses: int
    max_retries: int | None
    max_losses: int
    runs_at: datetime
    cancel_requested_at: datetime | None
    lease_id: UUID | None
    reason: str | None
    repeat_of: UUID | None = None
    repeats_after_fail: float | None = None
    repeats_after_complete: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRow:
    """What a job waits for, or waited for."""

    upstream_id: UUID
    downstream_id: UUID
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A row of history."""

    job_id: UUID
    seq: int
    from_state: State | None
    to_state: State
    event: Event
    attempt: int
    actor: str
    lease_id: UUID | None
    at: datetime
    reason: str | None = None
    failed: bool = False  #: an error is kept with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A row of the audit: what a person did."""

    at: datetime
    act: str
    subject: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """A queue at the end."""

    id: int
    name: str
    capacity: int | None
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task's name, and its number."""

    id: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A worker at the end."""

    name: str
    state: str
    paused: bool
    queues: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """All that the database says, read in one snapshot at the moment `at` of its clock."""

    at: datetime
    jobs: tuple[JobRow, ...] = ()
    history: tuple[Step, ...] = ()
    acts: tuple[Act, ...] = ()
    queues: tuple[QueueRow, ...] = ()
    workers: tuple[WorkerRow, ...] = ()
    edges: tuple[EdgeRow, ...] = ()
    tasks: tuple[TaskRow, ...] = ()

    @classmethod
    def read(cls, connection: Connection) -> Records:
        """The records of either database; the connection is one of `Database.connect()`."""
        with _snapshot(connection):
            return cls(
                at=_now(connection),
                jobs=tuple(_jobs(connection)),
                history=tuple(_history(connection)),
                acts=tuple(_acts(connection)),
                queues=tuple(_queues(connection)),
                workers=tuple(_workers(connection)),
                edges=tuple(_edges(connection)),
                tasks=tuple(_tasks(connection)),
            )


@contextmanager
def _snapshot(connection: Connection) -> Iterator[None]:
    is_postgres = connection.dialect.name == "postgresql"
    connection.exec_driver_sql(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if is_postgres else "BEGIN DEFERRED"
    )
    try:
        yield
    finally:
        connection.exec_driver_sql("ROLLBACK")


def _now(connection: Connection) -> datetime:
    if connection.dialect.name != "postgresql":
        return datetime.now(UTC)
    moment: datetime = connection.scalar(text("SELECT clock_timestamp()"))
    return moment


def _jobs(connection: Connection) -> Iterator[JobRow]:
    names = [name for name in JobRow.__dataclass_fields__ if name != "state"]
    columns = [getattr(models.Job, name) for name in names]
    for state, *values in connection.execute(select(models.Job.state, *columns)):
        yield JobRow(state=State(state), **dict(zip(names, values, strict=True)))


def _tasks(connection: Connection) -> Iterator[TaskRow]:
    for row in connection.execute(select(models.TaskName.id, models.TaskName.name)):
        yield TaskRow(id=row.id, name=row.name)


def _history(connection: Connection) -> Iterator[Step]:
    table = models.Transition
    for row in connection.execute(select(table)):
        yield Step(
            job_id=row.job_id,
            seq=row.seq,
            from_state=None if row.from_state is None else State(row.from_state),
            to_state=State(row.to_state),
            event=Event(row.event),
            attempt=row.attempt,
            actor=row.actor,
            lease_id=row.lease_id,
            at=row.at,
            reason=row.reason,
            failed=row.error is not None,
        )


def _acts(connection: Connection) -> Iterator[Act]:
    table = bookkeeping.Audit
    rows = select(table.at, table.act, table.subject, table.details).order_by(table.at, table.id)
    for at, act, subject, details in connection.execute(rows):
        yield Act(at=at, act=act, subject=subject, details=orjson.loads(details))


def _edges(connection: Connection) -> Iterator[EdgeRow]:
    table = models.Edge
    for row in connection.execute(select(table.upstream_id, table.downstream_id, table.kind)):
        yield EdgeRow(upstream_id=row.upstream_id, downstream_id=row.downstream_id, kind=row.kind)


def _queues(connection: Connection) -> Iterator[QueueRow]:
    table = models.Queue
    for row in connection.execute(select(table.id, table.name, table.capacity, table.paused)):
        yield QueueRow(id=row.id, name=row.name, capacity=row.capacity, paused=row.paused)


def _workers(connection: Connection) -> Iterator[WorkerRow]:
    hired = select(models.Hire.worker_id, models.Queue.name).join(
        models.Queue, models.Queue.id == models.Hire.queue_id
    )
    queues: dict[int, set[str]] = {}
    for worker_id, queue in connection.execute(hired):
        queues.setdefault(worker_id, set()).add(queue)
    table = models.Worker
    for row in connection.execute(select(table.id, table.name, table.state, table.paused)):
        yield WorkerRow(
            name=row.name, state=row.state, paused=row.paused, queues=frozenset(queues.get(row.id, ()))
        )
