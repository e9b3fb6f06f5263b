"""Leases: which job one is for, and taking them back when people fire, lock or cancel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from outsourced.errors import LeaseLost, NotFound
from outsourced.records import WorkerIdentity
from outsourced.sql.database import Database
from outsourced.sql.models import Job, Transition
from outsourced.states import LEASED, Event

Moved = tuple[Any, ...]  #: (job id, state after, queue id, task id, lease id)


def take_back(
    database: Database,
    connection: Connection,
    *,
    worker_id: int,
    queue_id: int | None = None,
    event: Event = Event.RESCUE,
    only_unbegun: bool = False,
    actor: str,
    reason: str,
) -> list[Moved]:
    """Ends the worker's leases (of one queue) inside the caller's transaction.

    With RESCUE, begun jobs spend a loss and the lease may still come home by `reclaim`; with RELEASE
    nothing is spent and it may not. Call it under `dialect.lock_worker`.
    """
    batch = database.batch(connection)
    condition = f"worker_id = {batch.parameter('worker_id')}"
    parameters: dict[str, Any] = {"worker_id": worker_id, "actor": actor, "i_reason": reason}
    if queue_id is not None:
        condition += f" AND queue_id = {batch.parameter('queue_id')}"
        parameters["queue_id"] = queue_id
    if only_unbegun:
        condition += " AND state = 'assigned'"
    move = "take_back" if event is Event.RESCUE else "send_back"
    return list(database.dialect.sweep(batch, move, condition, parameters, limit=None))


def request_cancels(
    database: Database, connection: Connection, *, worker_id: int, queue_id: int | None = None
) -> int:
    """Asks the worker to stop what it holds (of one queue); gives how many jobs that are."""
    of = {"worker_id": worker_id} | ({} if queue_id is None else {"queue_id": queue_id})
    return request_stops(database, connection, of)


def request_stops(database: Database, connection: Connection, of: Mapping[str, Any]) -> int:
    """Asks for a stop of the leased jobs whose columns have these values; gives how many that are."""
    batch = database.batch(connection)
    conditions = "".join(f" AND {column} = {batch.parameter(column)}" for column in of)
    rows = batch.execute(
        f"UPDATE outsourced_jobs SET cancel_requested_at = {batch.now}"
        f" WHERE state IN ('assigned', 'working') AND cancel_requested_at IS NULL{conditions} RETURNING id",
        of,
    )
    return len(list(rows))


def leased_job(connection: Connection, worker: WorkerIdentity, lease_id: UUID) -> UUID:
    """The job this worker holds under this lease; LeaseLost where it did, NotFound where it never did."""
    claimed = connection.execute(
        select(Transition.job_id).where(
            Transition.lease_id == lease_id,
            Transition.event == "claim",
            Transition.actor == f"worker:{worker.name}",
        )
    ).scalar_one_or_none()
    if claimed is None:
        raise NotFound("no such lease")
    held = connection.scalar(
        select(Job.id).where(
            Job.id == claimed, Job.lease_id == lease_id, Job.worker_id == worker.id, Job.state.in_(LEASED)
        )
    )
    if held is None:
        raise LeaseLost("this lease has ended", lease_id=str(lease_id))
    return claimed
