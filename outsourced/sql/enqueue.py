"""Enqueueing: all jobs of a call or none, bounded queues exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from outsourced.errors import AlreadyExists, BackendUnavailable, KeyTaken, QueueBusy, QueueFull, UnknownQueue
from outsourced.following import check_waits
from outsourced.records import Changes, NewJob, Origin
from outsourced.sql import files
from outsourced.sql.dialects import Batch, Refused
from outsourced.sql.models import Job, Queue
from outsourced.sql.names import Names, QueueFacts
from outsourced.sql.owner_limits import asked_of, raise_if_over

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend

#: seconds after which a refused producer may hope for room
RETRY_AFTER = 5
#: tries of a commit whose answer was lost: the jobs' ids tell whether it had happened
MAX_TRIES = 3
#: PostgreSQL's code for `lock_timeout`
GATE_TIMEOUT = "55P03"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request was answered: kept in the transaction it describes, for when it comes again."""

    caller: str
    key: str
    fingerprint: str
    reply: str


class Answered(Exception):
    """The request was answered before: nothing was stored now."""


def enqueue(
    backend: SqlBackend, jobs: Sequence[NewJob], *, origin: Origin, answer: Answer | None = None
) -> Changes:
    """Stores all jobs or none; raises QueueFull, OwnerFull, QueueBusy, UnknownQueue, KeyTaken, AlreadyExists.

    With an `answer` it is kept too; raises Answered where there is one under this key.
    """
    if not jobs:
        return Changes()
    check_waits(jobs, parent_id=origin.parent_id)
    edges = edges_of(jobs)
    with files.stored_attachments(backend.storage, jobs, limit=backend.max_attachment) as attachments:
        for _ in range(MAX_TRIES):
            queues = {job.queue: backend.names.queue(job.queue) for job in jobs}
            rows = [row_of(backend.names, queues[job.queue], job, origin) for job in jobs]
            try:
                order = _Order(rows, edges, added_by(jobs), attachments, origin, answer)
                _store(backend, list(queues.values()), order)
                return changes_by(queues, jobs)
            except Refused:
                # full, or no longer what this process believed of a queue: then look again
                with backend.database.connect() as connection:
                    raise_if_full(connection, rows)
                    raise_if_over(connection, asked_of(backend.owner_limits, rows))
                backend.names.forget_queues()
        raise QueueBusy("the queue is full one moment and not the next: try again", retry_after=1)


def storing(backend: SqlBackend, jobs: Sequence[NewJob], *, origin: Origin) -> Callable[[Batch], None]:
    """What stores these jobs, without files, inside somebody's transaction, or fails it with Refused.

    To be made before the transaction begins: a new task's name is written down in one of its own.
    """
    queues = {job.queue: backend.names.queue(job.queue) for job in jobs}
    rows = [row_of(backend.names, queues[job.queue], job, origin) for job in jobs]
    return _storing(backend, list(queues.values()), _Order(rows, edges_of(jobs), [], [], origin, None))


def row_of(names: Names, queue: QueueFacts, job: NewJob, origin: Origin) -> dict[str, Any]:
    """What a dialect's `insert_jobs` takes of a job; writes its task's name down if it is new."""
    queue_id, task_id = names.pair(queue, job.task)
    return {
        "id": job.id,
        "queue_id": queue_id,
        "task_id": task_id,
        "priority": job.priority,
        "runs_at": job.runs_at,
        "runs_in": _seconds(job.runs_in),
        "expires_at": job.expires_at,
        "expires_in": _seconds(job.expires_in),
        "stuck_after": _seconds(job.stuck_after),
        "repeats_after_fail": _seconds(job.repeats_after_fail),
        "repeats_after_complete": _seconds(job.repeats_after_complete),
        "max_retries": job.max_retries,
        "max_losses": job.max_losses,
        "owner_type": job.owner.type if job.owner else None,
        "owner_id": job.owner.id if job.owner else None,
        "client_id": origin.client_id,
        "parent_id": origin.parent_id,
        "root_id": origin.root_id,
        "unique_key": job.unique_key,
        "bounded_queue_id": queue_id if queue.bounded else None,
        "has_attachment": job.attachment is not None,
        "waits": bool(job.after),
        "args": job.payload,
    }


def edges_of(jobs: Sequence[NewJob]) -> list[dict[str, Any]]:
    """What a dialect's `insert_edges` takes of the jobs."""
    return [
        {
            "upstream_id": edge.upstream,
            "downstream_id": job.id,
            "kind": edge.kind,
            "passes": edge.passes,
            "position": position,
            "opens": edge.opens,
            "closes": edge.closes,
        }
        for job in jobs
        for position, edge in enumerate(job.after)
    ]


def added_by(jobs: Sequence[NewJob]) -> list[UUID]:
    """Those of the jobs that are added to the chord of their parent."""
    return [job.id for job in jobs if job.add_to_chord]


def _seconds(value: timedelta | None) -> float | None:
    return None if value is None else value.total_seconds()


@dataclass(frozen=True, slots=True)
class _Order:
    """What one transaction stores."""

    rows: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    added: list[UUID]
    attachments: list[dict[str, Any]]
    origin: Origin
    answer: Answer | None


def _storing(backend: SqlBackend, queues: list[QueueFacts], order: _Order) -> Callable[[Batch], None]:
    """The transaction: room in each queue, or Refused; then the jobs."""
    rows = order.rows
    asked = Counter(row["queue_id"] for row in rows)
    gates = sorted({queue.id: queue.bounded for queue in queues}.items())
    owners = asked_of(backend.owner_limits, rows)
    dialect = backend.database.dialect

    def store(batch: Batch) -> None:
        for queue_id, bounded in gates:
            dialect.require_room(batch, queue_id, bounded=bounded, asked=asked[queue_id])
        for one in owners:
            dialect.require_owner_room(batch, one.type, one.id, room=one.limit - one.jobs)
        dialect.insert_jobs(batch, rows, order.origin.actor)
        if order.edges:
            dialect.insert_edges(batch, order.edges)
        if order.added and order.origin.parent_id is not None:
            dialect.add_to_chord(batch, order.origin.parent_id, order.added)
        files.insert_attachments(batch, order.attachments)
        if order.answer is not None:
            keep(batch, order.answer)

    return store


def _store(backend: SqlBackend, queues: list[QueueFacts], order: _Order) -> None:
    store, rows = _storing(backend, queues, order), order.rows
    for tries in range(1, MAX_TRIES + 1):
        try:
            backend.database.run(store)
            return
        except (IntegrityError, Refused) as error:
            # our own jobs may be what holds the key, or the last place
            if tries > 1 and _exists(backend, rows):
                return  # the commit whose answer was lost had happened
            if isinstance(error, Refused):
                raise
            raise conflict(error, rows) from error
        except BackendUnavailable as error:
            state = _sqlstate(error)
            if state == GATE_TIMEOUT:
                raise QueueBusy(
                    "other producers hold the gate of this bounded queue: try again", retry_after=1
                ) from error
            if state is not None or tries == MAX_TRIES:
                raise


def keep(batch: Batch, answer: Answer) -> None:
    """Keeps the answer inside the transaction it describes."""
    columns = ("caller", "key", "fingerprint", "reply")
    values = ", ".join(batch.parameter(column) for column in columns)
    batch.execute(
        f"INSERT INTO outsourced_replies ({', '.join(columns)}, at) VALUES ({values}, {batch.now})",
        {column: getattr(answer, column) for column in columns},
    )


def _exists(backend: SqlBackend, rows: list[dict[str, Any]]) -> bool:
    with backend.database.connect() as connection:
        found = connection.scalar(select(func.count()).where(Job.id.in_([row["id"] for row in rows[:100]])))
    return found == len(rows[:100])


def _sqlstate(error: BackendUnavailable) -> str | None:
    """PostgreSQL's code for what went wrong; None where the connection was lost before it could say."""
    origin = getattr(error.__cause__, "orig", error.__cause__)
    state: str | None = getattr(origin, "sqlstate", "")
    return state


def conflict(error: IntegrityError, rows: Sequence[Mapping[str, Any]]) -> Exception:
    """What it means that the jobs could not be stored."""
    if "replies" in str(error.orig):
        return Answered()
    if "live" in str(error.orig):
        keys = sorted({row["unique_key"] for row in rows if row["unique_key"] is not None})
        return KeyTaken(f"a live job holds the unique key already: {', '.join(keys)}", keys=keys)
    return AlreadyExists(
        "a job with this task_id exists already", job_ids=[str(row["id"]) for row in rows[:10]]
    )


def is_gate_timeout(error: DBAPIError) -> bool:
    """Whether a producer has waited too long for other producers of a bounded queue."""
    return getattr(error.orig, "sqlstate", getattr(error.orig, "pgcode", None)) == GATE_TIMEOUT


def raise_if_full(connection: Connection, rows: Sequence[Mapping[str, Any]], *, stored: bool = False) -> None:
    """Raises QueueFull where these jobs do not fit now, and UnknownQueue where their queue was destroyed.

    `stored`: this transaction has stored them already, so that they are counted.
    """
    asked = Counter(row["queue_id"] for row in rows)
    depth = select(func.count()).where(Job.bounded_queue_id == Queue.id).scalar_subquery()
    found = connection.execute(
        select(Queue.id, Queue.name, Queue.capacity, depth).where(Queue.id.in_(asked))
    ).all()
    if len(found) < len(asked):
        raise UnknownQueue("the queue is gone: it was destroyed")
    bounded = {row["queue_id"] for row in rows if row["bounded_queue_id"] is not None}
    for queue_id, name, capacity, used in found:
        if stored:
            used -= asked[queue_id]
        free = 0 if capacity is None else max(0, capacity - used)
        if queue_id in bounded and capacity is not None and free < asked[queue_id]:
            raise QueueFull(
                f"queue {name!r} is full: {free} of {capacity} places free, {asked[queue_id]} asked for",
                queue=name,
                capacity=capacity,
                free=free,
                asked=asked[queue_id],
                retry_after=RETRY_AFTER,
            )


def changes_by(queues: Mapping[str | None, QueueFacts], jobs: Sequence[NewJob]) -> Changes:
    """What these jobs make worth waking for."""
    ready = Counter(
        (queues[job.queue].name, job.task)
        for job in jobs
        if job.runs_at is None and not job.runs_in and not job.after
    )
    return Changes(ready=dict(ready))
