"""Producers elsewhere: clients, and tasks under their leases. What they may enqueue, and what they may see.

A queue that is not there and one that is not permitted are refused alike. A request that comes again
under its key is answered as before, whatever has become of queues and permissions since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, select

from outsourced.errors import IdempotencyKeyReused, LeaseLost, QueueForbidden, UnknownQueue
from outsourced.records import ClientIdentity, Job, NewJob, Origin, Owner, WorkerIdentity
from outsourced.sql import cancelling
from outsourced.sql import jobs as all_jobs
from outsourced.sql.bookkeeping import Reply
from outsourced.sql.cancelling import Cancelled
from outsourced.sql.enqueue import Answer, Answered
from outsourced.sql.leases import leased_job
from outsourced.sql.models import Allowance, Hire
from outsourced.sql.models import Job as JobRow
from outsourced.states import State

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What makes a request the same request: its key, and a digest of what it asked."""

    text: str
    fingerprint: str


def enqueue_for_client(
    backend: SqlBackend, client: ClientIdentity, jobs: Sequence[NewJob], *, key: Key | None
) -> tuple[UUID, ...]:
    """Enqueues all or none into the client's queues; gives their ids.

    Raises QueueForbidden, IdempotencyKeyReused, and what `enqueue` raises.
    """
    origin = Origin(actor=f"client:{client.name}", client_id=client.id)
    return _enqueue(backend, origin, jobs, account_id=client.id, caller=f"client:{client.id}", key=key)


def enqueue_under_lease(
    backend: SqlBackend, worker: WorkerIdentity, lease_id: UUID, jobs: Sequence[NewJob], *, key: Key | None
) -> tuple[UUID, ...]:
    """Enqueues children of the leased job, into queues its worker is hired for or allowed; likewise.

    They inherit its owner, unless they have one. Raises LeaseLost or NotFound too.
    """
    parent = parent_under(backend, worker, lease_id)
    caller = f"lease:{lease_id}"
    return _enqueue(backend, parent.origin, parent.adopt(jobs), account_id=worker.id, caller=caller, key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A leased job, as its task's children know it."""

    origin: Origin
    owner: Owner | None

    def adopt(self, jobs: Sequence[NewJob]) -> Sequence[NewJob]:
        """The jobs with this owner, unless they have one."""
        return [replace(job, owner=job.owner or self.owner) for job in jobs] if self.owner else jobs


def parent_under(backend: SqlBackend, worker: WorkerIdentity, lease_id: UUID) -> Parent:
    """The job the worker holds under this lease; raises LeaseLost or NotFound."""
    with backend.database.connect() as connection:
        job_id = leased_job(connection, worker, lease_id)
        row = connection.execute(
            select(JobRow.root_id, JobRow.owner_type, JobRow.owner_id).where(JobRow.id == job_id)
        ).one_or_none()
    if row is None:
        raise LeaseLost("this lease has ended", lease_id=str(lease_id))
    return Parent(
        origin=Origin(actor=f"task:{job_id}", parent_id=job_id, root_id=row.root_id or job_id),
        owner=None if row.owner_type is None else Owner(type=row.owner_type, id=row.owner_id),
    )


def _enqueue(
    backend: SqlBackend,
    origin: Origin,
    jobs: Sequence[NewJob],
    *,
    account_id: int,
    caller: str,
    key: Key | None,
) -> tuple[UUID, ...]:
    answered = None if key is None else _answer(backend, caller, key)
    if answered is not None:
        return answered
    _require_permitted(backend, account_id, jobs)
    ids = tuple(job.id for job in jobs)
    answer = None if key is None else _to_keep(caller, key, ids)
    try:
        backend.enqueue_for(origin, jobs, answer=answer)
    except Answered:
        # the same request, at the same time, was first
        assert key is not None
        answered = _answer(backend, caller, key)
        assert answered is not None
        return answered
    return ids


def _to_keep(caller: str, key: Key, ids: tuple[UUID, ...]) -> Answer:
    reply = orjson.dumps(ids).decode()
    return Answer(caller=caller, key=f"enqueue:{key.text}", fingerprint=key.fingerprint, reply=reply)


def _answer(backend: SqlBackend, caller: str, key: Key) -> tuple[UUID, ...] | None:
    """What the request under this key was answered; raises IdempotencyKeyReused if it was another request."""
    with backend.database.connect() as connection:
        row = connection.execute(
            select(Reply.fingerprint, Reply.reply).where(
                Reply.caller == caller, Reply.key == f"enqueue:{key.text}"
            )
        ).one_or_none()
    if row is None:
        return None
    if row.fingerprint != key.fingerprint:
        raise IdempotencyKeyReused("this Idempotency-Key came before, with another request")
    return tuple(UUID(text) for text in orjson.loads(row.reply))


def _require_permitted(backend: SqlBackend, account_id: int, jobs: Sequence[NewJob]) -> None:
    wanted = {job.queue: _queue_id(backend, job.queue) for job in jobs}
    with backend.database.connect() as connection:
        permitted = set(
            connection.scalars(
                select(Allowance.queue_id)
                .where(Allowance.account_id == account_id)
                .union(select(Hire.queue_id).where(Hire.worker_id == account_id))
            )
        )
    refused = sorted(name or "" for name, queue_id in wanted.items() if queue_id not in permitted)
    if refused:
        names = ", ".join(repr(name) if name else "the default queue" for name in refused)
        raise QueueForbidden(
            f"you may not enqueue into {names}, or there is no such queue: on the server, "
            "`flask outsourcer worker allow`, or `client allow`, lets you",
            queues=refused,
        )


def _queue_id(backend: SqlBackend, name: str | None) -> int | None:
    try:
        return backend.names.queue(name).id
    except UnknownQueue:
        return None


def of_client(client: ClientIdentity) -> ColumnElement[bool]:
    """The jobs a client may see and cancel: its own."""
    return JobRow.client_id == client.id


def child(backend: SqlBackend, worker: WorkerIdentity, lease_id: UUID, job_id: UUID) -> Job | None:
    """A job that the leased job's task has enqueued; None for any other. Raises LeaseLost or NotFound."""
    return all_jobs.find(backend, job_id, of_parent(parent_id(backend, worker, lease_id)))


def parent_id(backend: SqlBackend, worker: WorkerIdentity, lease_id: UUID) -> UUID:
    """The id of the leased job; raises likewise."""
    with backend.database.connect() as connection:
        return leased_job(connection, worker, lease_id)


def of_parent(job_id: UUID) -> ColumnElement[bool]:
    """The jobs that a task may see and cancel: those it has enqueued itself."""
    return JobRow.parent_id == job_id


def listing(
    backend: SqlBackend, client: ClientIdentity, *, before: int | None, limit: int, **conditions: Any
) -> tuple[list[Job], int | None]:
    """A page of the client's jobs, newest first, and where the next one begins; see `jobs.page`."""
    return all_jobs.page(backend, of_client(client), before=before, limit=limit, **conditions)


def count_of(backend: SqlBackend, client: ClientIdentity, owner: Owner) -> dict[State, int]:
    """How many of the client's jobs this owner has, by state."""
    return all_jobs.count_of(backend, owner, of_client(client))


def cancel_of(backend: SqlBackend, client: ClientIdentity, owner: Owner) -> Cancelled:
    """Cancels the client's jobs of this owner, or asks their workers to stop."""
    of = {"owner_type": owner.type, "owner_id": owner.id, "client_id": client.id}
    return cancelling.cancel_all(backend, of, held="cancel", actor=f"client:{client.name}")
