"""Cancelling many jobs: those of a queue, those of an owner. In short transactions, each with its history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlalchemy import Connection, select

from outsourced.records import Changes
from outsourced.sql.leases import request_stops
from outsourced.sql.models import Job, Worker
from outsourced.states import LEASED

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend

#: jobs cancelled in one transaction
BATCH = 500
#: what becomes of the jobs that workers have in hand
JobsHeld = Literal["finish", "cancel"]


class Cancelled(NamedTuple):
    """Jobs cancelled, and jobs whose worker is asked to stop."""

    cancelled: int
    cancelling: int


def cancel_all(backend: SqlBackend, of: Mapping[str, Any], *, held: JobsHeld, actor: str) -> Cancelled:
    """Cancels the jobs whose columns have these values; those in hand finish, or are asked to stop."""
    cancelled = 0
    while True:
        number = backend.database.write(lambda connection: _cancel_some(backend, connection, of, actor))
        cancelled += number
        if number < BATCH:
            break
    if held == "finish":
        return Cancelled(cancelled, 0)
    number = backend.database.write(lambda connection: request_stops(backend.database, connection, of))
    if number:
        backend.notify(Changes(workers=frozenset(_workers_with(backend, of))))
    return Cancelled(cancelled, number)


def _cancel_some(backend: SqlBackend, connection: Connection, of: Mapping[str, Any], actor: str) -> int:
    batch = backend.database.batch(connection)
    condition = " AND ".join(f"{column} = {batch.parameter(column)}" for column in of)
    moved = backend.database.dialect.sweep(batch, "cancel", condition, {**of, "actor": actor}, limit=BATCH)
    return len(list(moved.jobs))


def _workers_with(backend: SqlBackend, of: Mapping[str, Any]) -> list[str]:
    holding = select(Job.worker_id).where(Job.state.in_(LEASED)).filter_by(**of)
    with backend.database.connect() as connection:
        return list(connection.scalars(select(Worker.name).where(Worker.id.in_(holding))))
