"""What people do to workers: what they do to every account, and hire, fire, pause."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection, delete, insert, select

from outsourced.records import WorkerIdentity
from outsourced.sql import leases, queues
from outsourced.sql.accounts import Accounts, Change, Standing, set_values
from outsourced.sql.database import Database
from outsourced.sql.models import Hire, Worker
from outsourced.sql.people import Done
from outsourced.states import Event, Reason

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend

#: what becomes of the jobs of a queue that its fired worker has begun
JobsOfFired = Literal["finish", "release", "cancel"]

_workers = Accounts("worker")
create = _workers.create
lock = _workers.lock
unlock = _workers.unlock
allow = _workers.allow
deny = _workers.deny
add_credential = _workers.add_credential
revoke = _workers.revoke
reset = _workers.reset
destroy = _workers.destroy
id_of = _workers.id_of


def identity(database: Database, name: str) -> WorkerIdentity | None:
    """The worker as it is now, for who acts as it by right of having the database; None: there is none."""
    with database.connect() as connection:
        row = connection.execute(
            select(Worker.id, Worker.epoch).where(Worker.kind == "worker", Worker.name == name)
        ).one_or_none()
    return None if row is None else WorkerIdentity(id=row.id, name=name, epoch=row.epoch)


def hire(backend: SqlBackend, name: str, queue: str, *, actor: str) -> Done:
    """Lets the worker work the queue too."""

    def change(connection: Connection, worker: Standing) -> Done:
        queue_id = queues.id_of(connection, queue)
        backend.database.dialect.lock_queue(connection, queue_id)
        if _is_hired(connection, worker.id, queue_id):
            return Done(changed=False)
        at = backend.database.now(connection)
        connection.execute(insert(Hire).values(worker_id=worker.id, queue_id=queue_id, created_at=at))
        return Done(changed=True)

    return _workers.act(backend, name, change, act="hire", actor=actor, queue=queue)


def fire(backend: SqlBackend, name: str, queue: str, *, actor: str, jobs: JobsOfFired = "finish") -> Done:
    """Takes the queue from the worker: no new claims, what it has not begun goes back.

    What it has begun finishes, is given back (`release`), or is cancelled. Firing again with another
    word for `jobs` applies that to what is still in hand.
    """

    def change(connection: Connection, worker: Standing) -> Done:
        queue_id = queues.id_of(connection, queue)
        ended = connection.execute(
            delete(Hire).where(Hire.worker_id == worker.id, Hire.queue_id == queue_id)
        ).rowcount
        # rescued, not released: a worker that has begun without our knowing may still deliver
        moved = leases.take_back(
            backend.database,
            connection,
            worker_id=worker.id,
            queue_id=queue_id,
            event=Event.RELEASE if jobs == "release" else Event.RESCUE,
            only_unbegun=jobs != "release",
            actor=actor,
            reason=Reason.FIRED,
        )
        cancelling = 0
        if jobs == "cancel":
            cancelling = leases.request_cancels(
                backend.database, connection, worker_id=worker.id, queue_id=queue_id
            )
        return Done(changed=bool(ended or moved or cancelling), moved=moved, cancelling=cancelling)

    return _workers.act(backend, name, change, act="fire", actor=actor, queue=queue, jobs=jobs)


def pause(backend: SqlBackend, name: str, *, actor: str) -> Done:
    """Gives the worker no new jobs; what it has goes on."""
    return _workers.act(backend, name, _pausing(paused=True), act="pause", actor=actor)


def resume(backend: SqlBackend, name: str, *, actor: str) -> Done:
    """Gives a paused worker jobs again."""
    return _workers.act(backend, name, _pausing(paused=False), act="resume", actor=actor)


def _pausing(*, paused: bool) -> Change:
    def change(connection: Connection, worker: Standing) -> Done:
        if worker.paused == paused:
            return Done(changed=False)
        set_values(connection, worker, paused=paused)
        return Done(changed=True)

    return change


def _is_hired(connection: Connection, worker_id: int, queue_id: int) -> bool:
    hired = select(Hire.worker_id).where(Hire.worker_id == worker_id, Hire.queue_id == queue_id)
    return connection.scalar(hired) is not None
