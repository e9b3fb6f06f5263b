"""Rate limits of tasks and of queues: set by people, declared by code, and known to be there or not.

Claims look at limits only where this process believes that there are any. It may be wrong for a
moment: then jobs with a limit wait, for no claim that does not look takes them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Row, insert, select, update

from outsourced.errors import NotFound
from outsourced.rates import Rate, rate
from outsourced.registry import registry
from outsourced.shown import LimitInfo
from outsourced.sql import audit, overview
from outsourced.sql.models import Queue, RateLimit, TaskName, Worker
from outsourced.sql.people import Done, announce
from outsourced.sql.queues import lock_existing
from outsourced.wording import similar

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend
    from outsourced.sql.database import Database

#: no queue has this number: whoever sets a limit locks it
_ALL_LIMITS: Final = -1
#: seconds for which a process goes by what it knows
KNOWN_FOR = 1.0
#: how no limit is written
UNLIMITED: Final = "unlimited"


class Limits:
    """The process's knowledge of whether there are limits at all."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._in_force = False
        self._read_at = -KNOWN_FOR

    def in_force(self) -> bool:
        """Whether any task or queue has a limit, or had one a moment ago."""
        if time.monotonic() - self._read_at >= KNOWN_FOR:
            with self._database.connect() as connection:
                found = connection.scalar(select(RateLimit.id).where(RateLimit.pace.is_not(None)).limit(1))
            self._in_force, self._read_at = found is not None, time.monotonic()
        return self._in_force

    def forget(self) -> None:
        """Looks anew at the next use."""
        self._read_at = -KNOWN_FOR


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """What is limited, by its number."""

    model: type[TaskName] | type[Queue]
    column: str
    id: int

    @property
    def row(self) -> Any:
        return getattr(RateLimit, self.column) == self.id


def limit_task(backend: SqlBackend, name: str, limit: str | float | None, *, actor: str) -> Done:
    """Begins no more jobs of the task than this, from now on and on all workers together.

    0 stands for no limit, None for what its code says. Raises NotFound, or ValueError.
    """
    chosen = written(limit)
    _require_known(backend, name)
    task_id = backend.names.task_id(name)

    def work(connection: Connection) -> Done:
        workers = _lock_all(backend, connection)
        subject = _Subject(model=TaskName, column="task_id", id=task_id)
        done = _choose(backend, connection, subject, chosen, actor=actor, act="task.limit", about=name)
        return replace(done, details={"workers": workers})

    return _announced(backend, backend.database.write(work))


def limit_queue(backend: SqlBackend, name: str, limit: str | float | None, *, actor: str) -> Done:
    """Begins no more jobs of the queue than this, likewise; 0 and None stand for no limit.

    Raises UnknownQueue, or ValueError.
    """
    chosen = written(limit)

    def work(connection: Connection) -> Done:
        workers = _lock_all(backend, connection)
        subject = _Subject(model=Queue, column="queue_id", id=lock_existing(backend, connection, name))
        done = _choose(backend, connection, subject, chosen, actor=actor, act="queue.limit", about=name)
        return replace(done, details={"workers": workers})

    return _announced(backend, backend.database.write(work))


def declare(backend: SqlBackend, limits: Mapping[str, str | float | None]) -> None:
    """Makes these the limits that the code of these tasks declares; what people chose goes before.

    Of two programs that differ, the one that began later is right. Raises ValueError.
    """
    wanted = {name: None if rate(limit) is None else str(limit) for name, limit in limits.items()}
    with backend.database.connect() as connection:
        rows = connection.execute(
            select(TaskName.name, RateLimit.declared).join(RateLimit, RateLimit.task_id == TaskName.id)
        )
        declared = {name: text for name, text in rows if text is not None}
    news = {name: text for name, text in wanted.items() if declared.get(name) != text}
    if not news:
        return
    ids = {backend.names.task_id(name): text for name, text in news.items()}

    def work(connection: Connection) -> Done:
        workers = _lock_all(backend, connection)
        for task_id, text in ids.items():
            subject = _Subject(model=TaskName, column="task_id", id=task_id)
            _put(backend, connection, subject, declared=text)
        return Done(changed=True, details={"workers": workers})

    _announced(backend, backend.database.write(work))


def listing(database: Database) -> list[LimitInfo]:
    """The limits of tasks and of queues, by kind and name."""
    with database.connect() as connection:
        rows = connection.execute(
            select(TaskName.name.label("task"), Queue.name.label("queue"), RateLimit.__table__)
            .select_from(RateLimit)
            .outerjoin(TaskName, TaskName.id == RateLimit.task_id)
            .outerjoin(Queue, Queue.id == RateLimit.queue_id)
        ).all()
    found = [
        LimitInfo(
            kind="queue" if row.task is None else "task",
            name=row.queue if row.task is None else row.task,
            limit=row.chosen or row.declared or UNLIMITED,
            by="people" if row.chosen else "code",
        )
        for row in rows
        if row.chosen or row.declared
    ]
    return sorted(found, key=lambda info: (info.kind, info.name))


def written(limit: str | float | None) -> str | None:
    """The limit as it is kept; None: none is chosen. Raises ValueError."""
    if limit is None:
        return None
    return UNLIMITED if limit == UNLIMITED or rate(limit) is None else str(limit)


def _read(text: str | None) -> Rate | None:
    return None if text == UNLIMITED else rate(text)


def _require_known(backend: SqlBackend, name: str) -> None:
    if name in registry:
        return
    elsewhere = overview.known_tasks(backend.database).values()
    known = {*registry, *backend.names.tasks(), *(task for tasks in elsewhere for task in tasks)}
    if name not in known:
        raise NotFound(f"no task {name!r} is known here or to a worker{similar(name, known)}", task=name)


def _choose(
    backend: SqlBackend,
    connection: Connection,
    subject: _Subject,
    chosen: str | None,
    *,
    actor: str,
    act: str,
    about: str,
) -> Done:
    if connection.scalar(select(RateLimit.chosen).where(subject.row)) == chosen:
        return Done(changed=False)
    _put(backend, connection, subject, chosen=chosen)
    at = backend.database.now(connection)
    audit.record(connection, at=at, actor=actor, act=act, subject=about, limit=chosen)
    return Done(changed=True)


def _lock_all(backend: SqlBackend, connection: Connection) -> list[str]:
    """Waits out all claims, which may have seen things as they were; gives the workers' names."""
    dialect = backend.database.dialect
    dialect.lock_queue(connection, _ALL_LIMITS)
    rows = connection.execute(select(Worker.id, Worker.name).order_by(Worker.id)).all()
    for row in rows:
        dialect.lock_worker(connection, row.id)
    return [row.name for row in rows]


def _put(backend: SqlBackend, connection: Connection, subject: _Subject, **texts: str | None) -> None:
    """Writes one of the two texts, and puts in force what both say together."""
    row = connection.execute(select(RateLimit.__table__).where(subject.row)).one_or_none()
    both = (
        {"declared": None, "chosen": None}
        if row is None
        else {"declared": row.declared, "chosen": row.chosen}
    )
    both |= texts
    limit = _read(both["chosen"] or both["declared"])
    now = backend.database.now(connection)
    values = both | {
        "pace": None if limit is None else limit.pace,
        "burst": 1 if limit is None else limit.burst,
        "next_at": now if row is None or limit is None else _owed(row, limit, now),
    }
    if row is None:
        connection.execute(insert(RateLimit).values(**{subject.column: subject.id}, **values))
    else:
        connection.execute(update(RateLimit).where(subject.row).values(**values))
    number = connection.scalar(select(RateLimit.id).where(subject.row))
    mark = update(subject.model).where(subject.model.id == subject.id)
    connection.execute(mark.values(rate_id=None if limit is None else number))


def _owed(row: Row[Any], limit: Rate, now: Any) -> Any:
    """What was begun just now still counts, as one job does under the new limit."""
    return min(row.next_at, now + timedelta(seconds=limit.pace))


def _announced(backend: SqlBackend, done: Done) -> Done:
    backend.limits.forget()
    announce(backend, done, done.details.get("workers", ()))
    return replace(done, details={})
