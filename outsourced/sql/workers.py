"""What people do to workers: create, hire, fire, lock, pause, and their credentials.

Each verb is one transaction that takes the worker's exclusive lock first: a claim already running
has ended before it, the next one sees what it did. The audit row is part of it. A verb that finds
things as they should be changes nothing, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from outsourced.errors import AlreadyExists, NotFound
from outsourced.sql import audit, credentials, leases, queues
from outsourced.sql.models import Hire, Worker
from outsourced.sql.people import Done, announce, check_name
from outsourced.states import Event, Reason
from outsourced.wording import similar

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend

#: what becomes of the jobs a fired worker has begun
JobsOfFired = Literal["finish", "release", "cancel"]


class _Standing(NamedTuple):
    """A worker's row as it is under its lock."""

    id: int
    state: str
    paused: bool


#: changes a worker whose lock is held
Change = Callable[[Connection, _Standing], Done]


def create(backend: SqlBackend, name: str, *, actor: str) -> None:
    """Makes a worker, hired nowhere and without credentials; raises AlreadyExists."""
    check_name(name, "worker")

    def work(connection: Connection) -> None:
        at = backend.database.now(connection)
        try:
            connection.execute(insert(Worker).values(name=name, created_at=at))
        except IntegrityError as error:
            raise AlreadyExists(f"there is a worker {name!r} already", worker=name) from error
        audit.record(connection, at=at, actor=actor, act="worker.create", subject=name)

    backend.database.write(work)


def hire(backend: SqlBackend, name: str, queue: str, *, actor: str) -> Done:
    """Lets the worker work the queue too."""

    def change(connection: Connection, worker: _Standing) -> Done:
        queue_id = queues.id_of(connection, queue)
        backend.database.dialect.lock_queue(connection, queue_id)
        if _is_hired(connection, worker.id, queue_id):
            return Done(changed=False)
        at = backend.database.now(connection)
        connection.execute(insert(Hire).values(worker_id=worker.id, queue_id=queue_id, created_at=at))
        return Done(changed=True)

    return _act(backend, name, change, act="worker.hire", actor=actor, queue=queue)


def fire(backend: SqlBackend, name: str, queue: str, *, actor: str, jobs: JobsOfFired = "finish") -> Done:
    """Takes the queue from the worker: no new claims, what it has not begun goes back.

    What it has begun finishes, is given back (`release`), or is cancelled. Firing again with another
    word for `jobs` applies that to what is still in hand.
    """

    def change(connection: Connection, worker: _Standing) -> Done:
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

    return _act(backend, name, change, act="worker.fire", actor=actor, queue=queue, jobs=jobs)


def lock(backend: SqlBackend, name: str, *, actor: str) -> Done:
    """Locks the worker out: its tokens are refused, all it has in hand goes back at once."""

    def change(connection: Connection, worker: _Standing) -> Done:
        if worker.state == "locked":
            return Done(changed=False)
        _set(connection, worker, state="locked")
        moved = leases.take_back(
            backend.database, connection, worker_id=worker.id, actor=actor, reason=Reason.LOCKED
        )
        return Done(changed=True, moved=moved)

    return _act(backend, name, change, act="worker.lock", actor=actor)


def unlock(backend: SqlBackend, name: str, *, actor: str) -> Done:
    """Lets a locked worker in again, with the tokens and credentials it had."""

    def change(connection: Connection, worker: _Standing) -> Done:
        if worker.state != "locked":
            return Done(changed=False)
        _set(connection, worker, state="active")
        return Done(changed=True)

    return _act(backend, name, change, act="worker.unlock", actor=actor)


def pause(backend: SqlBackend, name: str, *, actor: str) -> Done:
    """Gives the worker no new jobs; what it has goes on."""
    return _act(backend, name, _pausing(paused=True), act="worker.pause", actor=actor)


def resume(backend: SqlBackend, name: str, *, actor: str) -> Done:
    """Gives a paused worker jobs again."""
    return _act(backend, name, _pausing(paused=False), act="worker.resume", actor=actor)


def add_credential(backend: SqlBackend, name: str, public_jwk: Mapping[str, Any], *, actor: str) -> str:
    """Lets the worker sign with this key too; gives its key id. Raises AlreadyExists for one too many."""
    kids: list[str] = []

    def change(connection: Connection, worker: _Standing) -> Done:
        kids[:] = [credentials.add(connection, worker_id=worker.id, public_jwk=public_jwk)]
        return Done(changed=True)

    _act(backend, name, change, act="worker.config", actor=actor)
    return kids[0]


def revoke(backend: SqlBackend, name: str, kid: str, *, actor: str) -> None:
    """Ends one credential and every token of the worker; raises NotFound."""

    def change(connection: Connection, worker: _Standing) -> Done:
        credentials.revoke(connection, worker_id=worker.id, kid=kid)
        return Done(changed=True)

    _act(backend, name, change, act="worker.revoke", actor=actor, kid=kid)


def reset(backend: SqlBackend, name: str, *, actor: str) -> int:
    """Ends all credentials and tokens of the worker; gives the number of credentials."""
    ended: list[int] = []

    def change(connection: Connection, worker: _Standing) -> Done:
        ended[:] = [credentials.reset(connection, worker_id=worker.id)]
        return Done(changed=True)

    _act(backend, name, change, act="worker.reset", actor=actor)
    return ended[0]


def id_of(connection: Connection, name: str) -> int:
    """The worker's number; raises NotFound that suggests what may have been meant."""
    found = connection.scalar(select(Worker.id).where(Worker.name == name))
    if found is None:
        known = connection.scalars(select(Worker.name)).all()
        hint = similar(name, known) or f": make one with `flask outsourcer worker create {name}`"
        raise NotFound(f"there is no worker {name!r}{hint}", worker=name)
    return found


def _act(backend: SqlBackend, name: str, change: Change, *, act: str, actor: str, **details: Any) -> Done:
    """Runs `change` under the worker's lock with its audit row, then wakes whom it concerns."""

    def work(connection: Connection) -> Done:
        worker_id = id_of(connection, name)
        backend.database.dialect.lock_worker(connection, worker_id)
        worker: Any = connection.execute(
            select(Worker.id, Worker.state, Worker.paused).where(Worker.id == worker_id)
        ).one_or_none()
        if worker is None:
            raise NotFound(f"there is no worker {name!r} any more", worker=name)
        done = change(connection, worker)
        if done.changed:
            at = backend.database.now(connection)
            audit.record(connection, at=at, actor=actor, act=act, subject=name, **details)
        return done

    done = backend.database.write(work)
    announce(backend, done, [name])
    return done


def _pausing(*, paused: bool) -> Change:
    def change(connection: Connection, worker: _Standing) -> Done:
        if worker.paused == paused:
            return Done(changed=False)
        _set(connection, worker, paused=paused)
        return Done(changed=True)

    return change


def _set(connection: Connection, worker: _Standing, **values: Any) -> None:
    connection.execute(update(Worker).where(Worker.id == worker.id).values(**values))


def _is_hired(connection: Connection, worker_id: int, queue_id: int) -> bool:
    hired = select(Hire.worker_id).where(Hire.worker_id == worker_id, Hire.queue_id == queue_id)
    return connection.scalar(hired) is not None
