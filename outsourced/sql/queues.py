"""What people do to queues: create, change, pause, resume, empty and destroy them.

As with workers, each verb is one transaction with its audit row, under the locks that make it act
at once: of every hired worker for a pause, of the queue's producers for a change of capacity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from outsourced.errors import AlreadyExists, InvalidRequest, InvalidTransition, UnknownQueue
from outsourced.sql import audit, cancelling, retention
from outsourced.sql.cancelling import Cancelled, JobsHeld
from outsourced.sql.database import Database
from outsourced.sql.models import Hire, Job, Queue, QueueTask, RateLimit, Worker
from outsourced.sql.people import Done, announce, check_name
from outsourced.wording import similar

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend

#: no queue has this number: whoever makes queues, or chooses the default one, locks it
_ALL_QUEUES: Final = 0

#: the largest capacity the database can hold
MAX_CAPACITY = 2**31 - 1


def create(backend: SqlBackend, name: str, *, capacity: int | None = None, actor: str) -> bool:
    """Makes a queue, unlimited where capacity is None or 0; gives whether it became the default one.

    The first queue does. Raises AlreadyExists.
    """
    check_name(name, "queue")
    limit = _limit(capacity)

    def work(connection: Connection) -> bool:
        backend.database.dialect.lock_queue(connection, _ALL_QUEUES)
        at = backend.database.now(connection)
        is_default = connection.scalar(select(Queue.id).where(Queue.is_default)) is None
        try:
            connection.execute(
                insert(Queue).values(name=name, capacity=limit, is_default=is_default, created_at=at)
            )
        except IntegrityError as error:
            raise AlreadyExists(f"there is a queue {name!r} already", queue=name) from error
        audit.record(connection, at=at, actor=actor, act="queue.create", subject=name, capacity=limit)
        return is_default

    is_default = backend.database.write(work)
    backend.names.forget_queues()
    return is_default


def change(
    backend: SqlBackend, name: str, *, actor: str, capacity: int | None = None, default: bool = False
) -> bool:
    """Changes what it is told to and nothing else: the capacity (0: unlimited), or the default queue.

    Jobs already in a queue that gets a capacity count towards it, and stay even where they are more.
    """

    def work(connection: Connection) -> bool:
        if default:
            backend.database.dialect.lock_queue(connection, _ALL_QUEUES)
        queue_id = id_of(connection, name)
        details: dict[str, Any] = {}
        if capacity is not None and _set_capacity(backend, connection, queue_id, _limit(capacity)):
            details["capacity"] = capacity
        if default and _make_default(connection, queue_id):
            details["default"] = True
        if details:
            at = backend.database.now(connection)
            audit.record(connection, at=at, actor=actor, act="queue.change", subject=name, **details)
        return bool(details)

    changed = backend.database.write(work)
    backend.names.forget_queues()
    return changed


def pause(backend: SqlBackend, name: str, *, actor: str) -> Done:
    """Hands out no job of the queue any more; those in hand go on."""
    return _set_paused(backend, name, actor=actor, paused=True)


def resume(backend: SqlBackend, name: str, *, actor: str) -> Done:
    """Hands out the queue's jobs again."""
    return _set_paused(backend, name, actor=actor, paused=False)


def empty(backend: SqlBackend, name: str, *, held: JobsHeld = "finish", actor: str) -> Cancelled:
    """Cancels the queue's jobs; those in hand finish, or are asked to stop.

    Jobs enqueued meanwhile may stay.
    """
    with backend.database.connect() as connection:
        queue_id = id_of(connection, name)
    done = cancelling.cancel_all(backend, {"queue_id": queue_id}, held=held, actor=actor)

    def note(connection: Connection) -> None:
        at = backend.database.now(connection)
        details = {"held": held, "cancelled": done.cancelled}
        audit.record(connection, at=at, actor=actor, act="queue.empty", subject=name, **details)

    backend.database.write(note)
    return done


def destroy(backend: SqlBackend, name: str, *, actor: str) -> int:
    """Ends a queue without live jobs for good, and forgets its ended ones; gives how many.

    Raises InvalidTransition where jobs are left in it.
    """

    def work(connection: Connection) -> int:
        queue_id = id_of(connection, name)
        _lock_with_hired(backend, connection, queue_id)
        live = select(func.count()).select_from(Job).where(Job.queue_id == queue_id, Job.ended_at.is_(None))
        left = connection.scalar(live) or 0
        if left:
            raise InvalidTransition(
                f"queue {name!r} holds {left} live jobs: `flask outsourcer queue empty {name}` cancels them",
                live=left,
            )
        connection.execute(delete(QueueTask).where(QueueTask.queue_id == queue_id))
        connection.execute(delete(RateLimit).where(RateLimit.queue_id == queue_id))
        connection.execute(delete(Queue).where(Queue.id == queue_id))
        at = backend.database.now(connection)
        audit.record(connection, at=at, actor=actor, act="queue.destroy", subject=name)
        return queue_id

    queue_id = backend.database.write(work)
    backend.names.forget_queues()
    return retention.forget_queue(backend, queue_id)


def is_worked(database: Database, name: str) -> bool:
    """Whether anybody is hired for the queue."""
    hired = select(Hire.queue_id).join(Queue, Queue.id == Hire.queue_id).where(Queue.name == name).limit(1)
    with database.connect() as connection:
        return connection.scalar(hired) is not None


def id_of(connection: Connection, name: str) -> int:
    """The queue's number; raises UnknownQueue that suggests what may have been meant."""
    found = connection.scalar(select(Queue.id).where(Queue.name == name))
    if found is None:
        known = connection.scalars(select(Queue.name)).all()
        hint = similar(name, known) or f": make it with `flask outsourcer queue create {name}`"
        raise UnknownQueue(f"there is no queue {name!r}{hint}", queue=name)
    return found


def lock_existing(backend: SqlBackend, connection: Connection, name: str) -> int:
    """Locks the queue against whoever destroys it; gives its number, or raises as `id_of` does."""
    backend.database.dialect.lock_queue(connection, id_of(connection, name))
    return id_of(connection, name)


def _limit(capacity: int | None) -> int | None:
    if capacity is not None and not 0 <= capacity <= MAX_CAPACITY:
        raise InvalidRequest(f"a queue's capacity is a number from 1 to {MAX_CAPACITY}, or 0 for unlimited")
    return capacity or None


def _set_capacity(backend: SqlBackend, connection: Connection, queue_id: int, limit: int | None) -> bool:
    backend.database.dialect.lock_queue(connection, queue_id)
    before = connection.scalar(select(Queue.capacity).where(Queue.id == queue_id))
    if before == limit:
        return False
    connection.execute(update(Queue).where(Queue.id == queue_id).values(capacity=limit))
    if (before is None) != (limit is None):
        # locks jobs as it finds them, not by id: of us and an exchange in the way, one tries again
        bounded = None if limit is None else queue_id
        live = update(Job).where(
            Job.queue_id == queue_id,
            Job.ended_at.is_(None),
            Job.bounded_queue_id.is_(None) if limit is not None else Job.bounded_queue_id.is_not(None),
        )
        connection.execute(live.values(bounded_queue_id=bounded))
        # anew, for the repeat of a job whose end was waited for: it knew the queue as it was
        connection.execute(live.values(bounded_queue_id=bounded))
    return True


def _make_default(connection: Connection, queue_id: int) -> bool:
    if connection.scalar(select(Queue.is_default).where(Queue.id == queue_id)):
        return False
    connection.execute(update(Queue).values(is_default=Queue.id == queue_id))
    return True


def _set_paused(backend: SqlBackend, name: str, *, actor: str, paused: bool) -> Done:
    workers: list[str] = []

    def work(connection: Connection) -> Done:
        queue_id = id_of(connection, name)
        workers[:] = _lock_with_hired(backend, connection, queue_id)
        if connection.scalar(select(Queue.paused).where(Queue.id == queue_id)) == paused:
            return Done(changed=False)
        connection.execute(update(Queue).where(Queue.id == queue_id).values(paused=paused))
        act = "queue.pause" if paused else "queue.resume"
        audit.record(connection, at=backend.database.now(connection), actor=actor, act=act, subject=name)
        return Done(changed=True)

    done = backend.database.write(work)
    announce(backend, done, workers)
    return done


def _lock_with_hired(backend: SqlBackend, connection: Connection, queue_id: int) -> list[str]:
    """Locks the hired workers in the order of their numbers, then the queue; gives the workers' names."""
    dialect = backend.database.dialect
    hired = (
        select(Worker.id, Worker.name)
        .join(Hire, Hire.worker_id == Worker.id)
        .where(Hire.queue_id == queue_id)
        .order_by(Worker.id)
    )
    locked: dict[int, str] = {}
    for worker_id, name in connection.execute(hired).all():
        dialect.lock_worker(connection, worker_id)
        locked[worker_id] = name
    dialect.lock_queue(connection, queue_id)
    # hiring takes the queue's lock too: whom it let in meanwhile is now to be seen
    for worker_id, name in connection.execute(hired).all():
        if worker_id not in locked:
            dialect.lock_worker(connection, worker_id)
            locked[worker_id] = name
    return sorted(locked.values())
