"""What has ended is kept for a while, then forgotten, in short transactions that skip what others hold.

A job goes whole: its history, arguments, result and files in the transaction that deletes its row.
Only ended jobs are ever picked. A result goes earlier than its job, and leaves its empty row behind:
so that nobody takes a result that is gone for a task that returned nothing.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, delete, exists, insert, select, tuple_, update
from sqlalchemy.orm import aliased

from outsourced.sql import endings
from outsourced.sql.bookkeeping import Ending, Group, Reply
from outsourced.sql.models import (
    Edge,
    Instance,
    Job,
    JobArgs,
    JobFile,
    JobProgress,
    JobResult,
    Transition,
)
from outsourced.states import TERMINAL, State

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend

#: rows that go in one transaction: jobs, results, …
BATCH = 500
#: seconds a turn of the janitor spends on it, so that its other duties are not kept waiting
TURN = 1.0
#: how long replies are kept, and with them the memory of what was answered
REPLIES_KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long what has ended is kept."""

    completed: timedelta = timedelta(days=7)  #: cancelled and expired jobs too
    failed: timedelta = timedelta(days=90)
    results: timedelta = timedelta(days=1)


#: where nothing else is configured
RETENTION = Retention()

#: deletes at most BATCH rows of its kind; gives how many
Forget = Callable[["SqlBackend"], int]


def prune(backend: SqlBackend, *, seconds: float = math.inf) -> Counter[str]:
    """Forgets what is old enough, for about so many seconds; gives how many of each kind."""
    deadline = time.monotonic() + seconds
    pruned: Counter[str] = Counter()
    for kind, forget in KINDS.items():
        number = BATCH
        while number == BATCH and time.monotonic() < deadline:
            number = forget(backend)
            pruned[kind] += number
    return pruned


def prune_for_a_turn(backend: SqlBackend) -> int:
    """The janitor's duty; gives how many things it forgot."""
    return prune(backend, seconds=TURN).total()


def ended_before(moment: datetime, states: Sequence[State]) -> Select[Any]:
    """The jobs to forget, locked: one that a person tries again in this moment is skipped."""
    # jobs_ended
    old = select(Job.id).where(Job.state.in_(states), Job.ended_at < moment, ~_wanted(Job.id))
    return old.limit(BATCH).with_for_update(skip_locked=True)


def results_before(moment: datetime) -> Select[Any]:
    """The jobs whose result is to be forgotten."""
    # job_results_kept
    old = select(JobResult.job_id).where(
        JobResult.result.is_not(None), JobResult.at < moment, ~_wanted(JobResult.job_id)
    )
    return old.limit(BATCH).with_for_update(skip_locked=True)


def _wanted(job_id: Any) -> ColumnElement[bool]:
    """Whether a job waits to be given the result of this one, or its error."""
    # pk_outsourced_edges
    follower = aliased(Job)
    waits = exists().where(Edge.upstream_id == job_id, follower.id == Edge.downstream_id)
    return waits.where(follower.state == State.WAITING)


def _still_unwanted(connection: Connection, job_ids: Sequence[UUID]) -> Sequence[UUID]:
    """Of these, now locked, those that no job waits for: a retry may have revived one while they were."""
    if not job_ids:
        return ()
    return connection.scalars(select(Job.id).where(Job.id.in_(job_ids), ~_wanted(Job.id))).all()


def _forget_completed(backend: SqlBackend) -> int:
    return _forget_jobs(backend, backend.retention.completed, sorted(TERMINAL - {State.FAILED}))


def _forget_failed(backend: SqlBackend) -> int:
    return _forget_jobs(backend, backend.retention.failed, [State.FAILED])


def forget_queue(backend: SqlBackend, queue_id: int) -> int:
    """Forgets the ended jobs of a queue that is no more; gives how many.

    Those that others wait for stay until they are old, as any job does.
    """
    ended = select(Job.id).where(Job.queue_id == queue_id, Job.ended_at.is_not(None), ~_wanted(Job.id))
    chosen = ended.limit(BATCH).with_for_update(skip_locked=True)
    forgotten, number = 0, BATCH
    while number == BATCH:
        number = _forget_all(backend, lambda connection: chosen)
        forgotten += number
    return forgotten


def _forget_jobs(backend: SqlBackend, age: timedelta, states: Sequence[State]) -> int:
    return _forget_all(
        backend, lambda connection: ended_before(backend.database.now(connection) - age, states)
    )


def _forget_all(backend: SqlBackend, choose: Callable[[Connection], Select[Any]]) -> int:
    """Deletes the jobs chosen with all that is theirs, in one transaction."""
    keys: list[UUID] = []

    def work(connection: Connection) -> int:
        ids = _still_unwanted(connection, connection.scalars(choose(connection)).all())
        keys[:] = connection.scalars(select(JobFile.key).where(JobFile.job_id.in_(ids))) if ids else ()
        for table in (JobFile, JobResult, JobArgs, JobProgress, Transition, Ending) if ids else ():
            connection.execute(delete(table).where(table.job_id.in_(ids)))
        if ids:
            connection.execute(delete(Edge).where(Edge.upstream_id.in_(ids)))
            # outsourced_edges_downstream
            connection.execute(delete(Edge).where(Edge.downstream_id.in_(ids), Edge.position >= 0))
            connection.execute(delete(Job).where(Job.id.in_(ids)))
        shared = connection.scalars(select(JobFile.key).where(JobFile.key.in_(keys))).all() if keys else ()
        keys[:] = [key for key in keys if key not in shared]  # a repeat has them still
        return len(ids)

    number = backend.database.write(work)
    for key in keys:  # bytes after rows: a crash in between leaves bytes that nobody knows, which are swept
        assert backend.storage is not None
        backend.storage.delete(key)
    return number


def _forget_results(backend: SqlBackend) -> int:
    def work(connection: Connection) -> int:
        old = results_before(backend.database.now(connection) - backend.retention.results)
        ids = _still_unwanted(connection, connection.scalars(old).all())
        if ids:
            connection.execute(update(JobResult).where(JobResult.job_id.in_(ids)).values(result=None))
        return len(ids)

    return backend.database.write(work)


def forget_result(backend: SqlBackend, job_id: UUID) -> None:
    """Keeps the result of the job no longer, if it has ended and no other is still to be given it."""

    def work(connection: Connection) -> None:
        ended = select(Job.id).where(Job.id == job_id, Job.ended_at.is_not(None))
        if not _still_unwanted(connection, connection.scalars(ended.with_for_update()).all()):
            return
        of_job = update(JobResult).where(JobResult.job_id == job_id)
        if not connection.execute(of_job.values(result=None)).rowcount:
            now = backend.database.now(connection)
            connection.execute(insert(JobResult).values(job_id=job_id, result=None, at=now))

    backend.database.write(work)


def _forget_replies(backend: SqlBackend) -> int:
    def work(connection: Connection) -> int:
        past = backend.database.now(connection) - REPLIES_KEPT
        # outsourced_replies.at
        old = select(Reply.caller, Reply.key).where(Reply.at < past).limit(BATCH)
        keys = connection.execute(old.with_for_update(skip_locked=True)).all()
        if keys:
            named = tuple_(Reply.caller, Reply.key).in_([tuple(key) for key in keys])
            connection.execute(delete(Reply).where(named))
        return len(keys)

    return backend.database.write(work)


def _forget_groups(backend: SqlBackend) -> int:
    def work(connection: Connection) -> int:
        past = backend.database.now(connection) - backend.retention.completed
        # outsourced_groups.at
        old = select(Group.scope, Group.id).where(Group.at < past).limit(BATCH)
        keys = connection.execute(old.with_for_update(skip_locked=True)).all()
        if keys:
            named = tuple_(Group.scope, Group.id).in_([tuple(key) for key in keys])
            connection.execute(delete(Group).where(named))
        return len(keys)

    return backend.database.write(work)


def _forget_instances(backend: SqlBackend) -> int:
    def work(connection: Connection) -> int:
        past = backend.database.now(connection) - backend.retention.completed
        old = select(Instance.id).where(Instance.seen_at < past).limit(BATCH)
        return connection.execute(delete(Instance).where(Instance.id.in_(old))).rowcount

    return backend.database.write(work)


#: what is forgotten, in the words of `flask outsourcer prune`
KINDS: dict[str, Forget] = {
    "results": _forget_results,
    "completed jobs": _forget_completed,
    "failed jobs": _forget_failed,
    "replies": _forget_replies,
    "saved groups": _forget_groups,
    "worker processes": _forget_instances,
    "ends nobody listens to": endings.forget_silent,
}
