"""The outbox of callbacks: ends of owners' jobs, told at least once.

A row is written with the end itself, by the move, where the type of the owner is listened to. Whoever
delivers it takes it for a while, in a short transaction; it is gone once the callbacks have returned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from outsourced.records import Job
from outsourced.sql import jobs
from outsourced.sql.bookkeeping import Ending, Listener
from outsourced.states import TERMINAL

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend

log = logging.getLogger(__name__)

#: ends taken at a time
BATCH = 20
#: how long whoever took an end has to tell of it before it is told again
TAKEN_FOR = timedelta(minutes=5)
#: tries of an end whose callback raises, with delayed_job's pauses: n**4 + 5 seconds, three weeks in all
MAX_TRIES = 25
#: a type that no process has spoken for in so long is listened to no more
LISTENS_FOR = timedelta(days=7)


def listen(backend: SqlBackend, owner_types: Collection[str]) -> None:
    """From now on, ends of jobs of these owners are kept until they are told."""
    for owner_type in owner_types:
        _listen(backend, owner_type)


def deliver(backend: SqlBackend, owner_types: Collection[str], tell: Callable[[Job], object]) -> int:
    """Tells of the ends that are due, each with the job as it ended; gives how many were told.

    `tell` is called outside of any transaction. An end for which it raises is told again later, and given up
    after MAX_TRIES.
    """
    told = [
        ending.id
        for ending in backend.database.write(lambda connection: _take(backend, connection, owner_types))
        if _told(backend, ending, tell)
    ]
    if told:
        done = delete(Ending).where(Ending.id.in_(told))
        backend.database.write(lambda connection: connection.execute(done))
    return len(told)


def forget_silent(backend: SqlBackend) -> int:
    """Listens no more to types that no process speaks for; gives how many ends nobody will hear of."""

    def work(connection: Connection) -> int:
        past = backend.database.now(connection) - LISTENS_FOR
        silent = connection.scalars(select(Listener.owner_type).where(Listener.seen_at < past)).all()
        if not silent:
            return 0
        connection.execute(delete(Listener).where(Listener.owner_type.in_(silent)))
        return connection.execute(delete(Ending).where(Ending.owner_type.in_(silent))).rowcount

    return backend.database.write(work)


def _listen(backend: SqlBackend, owner_type: str) -> None:
    def work(connection: Connection) -> None:
        now = backend.database.now(connection)
        spoken_for = update(Listener).where(Listener.owner_type == owner_type).values(seen_at=now)
        if not connection.execute(spoken_for).rowcount:
            connection.execute(insert(Listener).values(owner_type=owner_type, seen_at=now))

    try:
        backend.database.write(work)
    except IntegrityError:
        return  # another process was first


def _take(backend: SqlBackend, connection: Connection, owner_types: Collection[str]) -> Sequence[Any]:
    now = backend.database.now(connection)
    # endings_due
    due = (
        select(Ending.id, Ending.job_id, Ending.tries)
        .where(Ending.owner_type.in_(owner_types), Ending.due_at <= now)
        .order_by(Ending.due_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    taken = connection.execute(due).all()
    if taken:
        mine = update(Ending).where(Ending.id.in_([ending.id for ending in taken]))
        connection.execute(mine.values(due_at=now + TAKEN_FOR, tries=Ending.tries + 1))
    return taken


def _told(backend: SqlBackend, ending: Any, tell: Callable[[Job], object]) -> bool:
    """Whether it is done with: told, or given up."""
    job = jobs.find(backend, ending.job_id)
    if job is None or job.state not in TERMINAL:
        return True  # it is forgotten; or it lives again, and its next end is told
    tries: int = ending.tries + 1
    try:
        tell(job)
    except Exception:
        log.exception("a callback for the end of job %s failed, try %d of %d", job.id, tries, MAX_TRIES)
        if tries < MAX_TRIES:
            backend.database.write(lambda connection: _put_off(backend, connection, ending.id, tries))
        return tries >= MAX_TRIES
    return True


def _put_off(backend: SqlBackend, connection: Connection, ending_id: int, tries: int) -> None:
    due_at = backend.database.now(connection) + timedelta(seconds=tries**4 + 5)
    connection.execute(update(Ending).where(Ending.id == ending_id).values(due_at=due_at))
