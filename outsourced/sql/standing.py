"""What a worker may know of itself."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from outsourced.errors import AuthenticationFailed
from outsourced.records import WorkerIdentity
from outsourced.sql.database import Database
from outsourced.sql.models import Hire, Queue, Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a worker stands now, and the queues it is hired for, paused or not."""

    worker: str
    state: str
    paused: bool
    queues: tuple[str, ...]


def read(database: Database, worker: WorkerIdentity) -> Standing:
    """The worker's standing; raises AuthenticationFailed where it is gone."""
    hired = select(Queue.name).join(Hire, Hire.queue_id == Queue.id).where(Hire.worker_id == worker.id)
    with database.connect() as connection:
        row = connection.execute(
            select(Worker.name, Worker.state, Worker.paused).where(Worker.id == worker.id)
        ).one_or_none()
        if row is None:
            raise AuthenticationFailed("there is no such worker any more")
        queues = tuple(connection.scalars(hired.order_by(Queue.name)))
    return Standing(worker=row.name, state=row.state, paused=row.paused, queues=queues)
