"""Enqueueing inside a host's transaction: the jobs exist if, and only if, it commits.

The rows are written at the call, so that savepoints and rollbacks stay the database's affair. What
only the commit can settle is asked right before it: whether bounded queues have room. Their gates
are taken then, after the session's flush and in the order of the queues, and held no longer than
the commit takes. Workers are woken after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import URL, Connection, event, inspect
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from outsourced.errors import ConfigurationError, InvalidRequest, QueueBusy
from outsourced.following import check_waits
from outsourced.records import Changes, NewJob, Origin
from outsourced.sql import files
from outsourced.sql.database import translated
from outsourced.sql.enqueue import (
    added_by,
    changes_by,
    conflict,
    edges_of,
    is_gate_timeout,
    raise_if_full,
    row_of,
)
from outsourced.sql.models import Job
from outsourced.sql.names import Names
from outsourced.sql.owner_limits import asked_of, raise_if_over

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend

T = TypeVar("T")

#: in `session.info`: what its transaction has enqueued
_KEY = "outsourced"


def enqueue(backend: SqlBackend, session: Any, jobs: Sequence[NewJob], *, origin: Origin) -> None:
    """Stores all jobs or none, inside the session's transaction, which it begins where there is none.

    Raises what `enqueue.enqueue` does; QueueFull only where the queue is full now: at the commit it is
    asked again. The transaction stays usable.
    """
    check_waits(jobs, parent_id=origin.parent_id)
    if added_by(jobs):
        raise InvalidRequest("add_to_chord joins no transaction: others that end would wait for its commit")
    session = _require_session(session)
    connection = _connection(backend, session)
    names = _names(backend, connection)
    queues = {job.queue: names.queue(job.queue) for job in jobs}
    rows = [row_of(names, queues[job.queue], job, origin) for job in jobs]
    dialect = backend.database.dialect
    with files.stored_attachments(backend.storage, jobs, limit=backend.max_attachment) as attachments:
        try:
            with dialect.savepoint(connection, backend.database.clock_offset) as batch:
                raise_if_full(connection, rows)
                raise_if_over(connection, asked_of(backend.owner_limits, rows))
                dialect.insert_jobs(batch, rows, origin.actor)
                if edges := edges_of(jobs):
                    dialect.insert_edges(batch, edges)
                files.insert_attachments(batch, attachments)
        except IntegrityError as error:
            raise conflict(error, rows) from error
        except DBAPIError as error:
            raise translated(error) from error
    enqueued = _Enqueued.by(session, backend)
    enqueued.rows += rows
    enqueued.ready.update(changes_by(queues, jobs).ready)


class _Enqueued:
    """What a session's transaction has enqueued; more than that, where a savepoint was rolled back."""

    def __init__(self, backend: SqlBackend) -> None:
        self._backend = backend
        self.rows: list[dict[str, Any]] = []
        self.ready: Counter[tuple[str, str]] = Counter()

    @classmethod
    def by(cls, session: Session, backend: SqlBackend) -> _Enqueued:
        """The session's, watching over its end from now on."""
        known: dict[SqlBackend, _Enqueued] = session.info.setdefault(_KEY, {})
        if backend not in known:
            enqueued = known[backend] = cls(backend)
            event.listen(session, "before_commit", enqueued._require_room)
            event.listen(session, "after_commit", enqueued._tell)
            event.listen(session, "after_transaction_end", enqueued._forget)
        return known[backend]

    def _require_room(self, session: Session) -> None:
        """Raises QueueFull or QueueBusy, unless the jobs fit; the commit may then be tried again."""
        if session.in_nested_transaction() or not self.rows:
            return
        session.flush()  # else what is flushed after this would hold the gates
        connection = _connection(self._backend, session)
        dialect = self._backend.database.dialect
        gates = sorted({(row["queue_id"], row["bounded_queue_id"] is not None) for row in self.rows})
        try:
            with dialect.savepoint(connection, self._backend.database.clock_offset) as batch:
                for queue_id, bounded in gates:
                    if not dialect.has_room(batch, queue_id, bounded=bounded, asked=0):
                        self._refuse(connection)
                for one in asked_of(self._backend.owner_limits, self.rows):
                    if not dialect.has_owner_room(batch, one.type, one.id, room=one.limit):
                        raise_if_over(connection, [one], stored=True)
        except DBAPIError as error:
            if is_gate_timeout(error):
                raise QueueBusy(
                    "other producers hold the gate of a bounded queue: commit again", retry_after=1
                ) from error
            raise translated(error) from error

    def _refuse(self, connection: Connection) -> None:
        self._backend.names.forget_queues()
        raise_if_full(connection, self.rows, stored=True)
        raise QueueBusy(
            "the limit of a queue was changed meanwhile: roll back, and enqueue again", retry_after=1
        )

    def _tell(self, session: Session) -> None:
        if not session.in_nested_transaction():
            self._backend.tell(Changes(ready=dict(self.ready)))

    def _forget(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None:
            self.rows.clear()
            self.ready.clear()


class _OnlyConnection:
    """Stands for the database where the host's connection is the only one that can write now."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        yield self._connection

    def write(self, work: Callable[[Connection], T]) -> T:
        return work(self._connection)


def _names(backend: SqlBackend, connection: Connection) -> Names:
    """Names to look up; new ones are written at once where that can be, else with the host's commit."""
    if backend.database.dialect.has_one_writer:
        return Names(_OnlyConnection(connection), default_queue=backend.names.default_queue)
    return backend.names


def _require_session(session: Any) -> Session:
    if isinstance(session, scoped_session):
        session = session()
    if not isinstance(session, Session):
        raise TypeError(f"session= is a SQLAlchemy session, not {session!r}")
    return session


def _connection(backend: SqlBackend, session: Session) -> Connection:
    connection = session.connection(bind_arguments={"mapper": inspect(Job)})
    theirs, ours = connection.engine.url, backend.database.engine.url
    if connection.engine is not backend.database.engine and _place(theirs) != _place(ours):
        raise ConfigurationError(
            f"the session is on {theirs.render_as_string()}, the jobs are on {ours.render_as_string()}: "
            "to join its transaction, leave OUTSOURCED_DATABASE_URL unset"
        )
    backend.database.dialect.require_joinable(connection)
    return connection


def _place(url: URL) -> tuple[Any, ...]:
    query = {name: url.query.get(name) for name in ("host", "port", "dbname")}
    return url.get_backend_name(), url.host, url.port, url.database, *query.values()
