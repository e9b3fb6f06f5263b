"""Looking at jobs, and people's verbs on single ones: cancel, and retry of ended ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    func,
    select,
    true,
    union,
)
from sqlalchemy.exc import IntegrityError

from outsourced.errors import InvalidTransition, KeyTaken, NotFound, QueueFull
from outsourced.records import HANDING_ON, Changes, Owner, Transition
from outsourced.records import Job as JobRecord
from outsourced.sql import exchange, files, progress, reviving
from outsourced.sql.models import Edge, Job, JobArgs, JobResult, Queue, TaskName, Worker
from outsourced.sql.models import Transition as HistoryRow
from outsourced.states import LEASED, TERMINAL, Event, State

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend

#: jobs read at a time while an owner's are iterated over
PAGE = 200


def find(backend: SqlBackend, job_id: UUID, *conditions: ColumnElement[bool]) -> JobRecord | None:
    """The job with its arguments, result, last error and files; None also where a condition is not met."""
    with backend.database.connect() as connection:
        row = connection.execute(
            _jobs()
            .add_columns(JobArgs.args, JobResult.result, JobResult.job_id.label("result_of"))
            .outerjoin(JobArgs, JobArgs.job_id == Job.id)
            .outerjoin(JobResult, JobResult.job_id == Job.id)
            .where(Job.id == job_id, *conditions)
        ).one_or_none()
        if row is None:
            return None
        return _record(
            row,
            payload=row.args,
            result=row.result,
            result_pruned=row.result_of is not None and row.result is None,
            error=exchange.load_failure(_last_error(connection, job_id)),
            files=files.of_job(connection, job_id),
            progress=progress.under(connection, row) if row.state == State.WORKING else None,
        )


def children(backend: SqlBackend, job_id: UUID, *conditions: ColumnElement[bool]) -> list[UUID]:
    """What the job's task has enqueued and what comes after it, if it meets the conditions; oldest first."""
    # jobs_parent, pk_outsourced_edges
    enqueued = select(Job.id).where(Job.parent_id == job_id)
    following = select(Edge.downstream_id).where(Edge.upstream_id == job_id, Edge.kind.in_(HANDING_ON))
    found = select(Job.id).where(Job.id.in_(union(enqueued, following)), *conditions).order_by(Job.seq)
    with backend.database.connect() as connection:
        return list(connection.scalars(found))


def listing(
    backend: SqlBackend, *, queue: str | None, state: State | None, task: str | None, limit: int
) -> list[JobRecord]:
    """The newest jobs first, without arguments and results; raises UnknownQueue."""
    if queue is not None:
        queue = backend.names.queue(queue).name
    found, _ = page(backend, true(), queue=queue, state=state, task=task, limit=limit)
    return found


def page(
    backend: SqlBackend,
    condition: ColumnElement[bool],
    *,
    queue: str | None = None,
    state: State | None = None,
    task: str | None = None,
    owner: Owner | None = None,
    before: int | None = None,
    limit: int,
) -> tuple[list[JobRecord], int | None]:
    """Jobs that meet the condition, newest first, and the `before` of the next page; None: no more."""
    query = _jobs().where(condition).order_by(Job.seq.desc()).limit(limit + 1)
    if queue is not None:
        query = query.where(Queue.name == queue)
    if state is not None:
        query = query.where(Job.state == state)
    if task is not None:
        query = query.where(TaskName.name == task)
    if owner is not None:
        query = query.where(_owned_by(owner))
    if before is not None:
        query = query.where(Job.seq < before)
    with backend.database.connect() as connection:
        rows = connection.execute(query).all()
    return [_record(row) for row in rows[:limit]], rows[limit - 1].seq if len(rows) > limit else None


def count_of(backend: SqlBackend, owner: Owner, *conditions: ColumnElement[bool]) -> dict[State, int]:
    """How many jobs the owner has that meet the conditions, by state."""
    # jobs_owner, of which it needs nothing else where there is no condition
    counts = select(Job.state, func.count()).where(_owned_by(owner), *conditions).group_by(Job.state)
    with backend.database.connect() as connection:
        return {State(state): number for state, number in connection.execute(counts)}


def of_owner(backend: SqlBackend, owner: Owner) -> Iterator[JobRecord]:
    """The owner's jobs, newest first, a page at a time."""
    before: int | None = None
    while True:
        found, before = page(backend, _owned_by(owner), before=before, limit=PAGE)
        yield from found
        if before is None:
            return


def _owned_by(owner: Owner) -> ColumnElement[bool]:
    return and_(Job.owner_type == owner.type, Job.owner_id == owner.id)


def history(backend: SqlBackend, job_id: UUID) -> Sequence[Transition]:
    """The job's transitions, oldest first."""
    with backend.database.connect() as connection:
        rows = connection.execute(
            select(HistoryRow).where(HistoryRow.job_id == job_id).order_by(HistoryRow.seq)
        ).all()
    return [
        Transition(
            job_id=row.job_id,
            seq=row.seq,
            from_state=None if row.from_state is None else State(row.from_state),
            to_state=State(row.to_state),
            event=Event(row.event),
            attempt=row.attempt,
            actor=row.actor,
            lease_id=row.lease_id,
            at=row.at,
            reason=row.reason,
            error=exchange.load_failure(row.error),
        )
        for row in rows
    ]


def cancel(backend: SqlBackend, job_id: UUID, *, unless_begun: bool, actor: str) -> Changes:
    """Cancels an unleased job at once; asks the worker of a leased one to stop. Leaves ended ones.

    `unless_begun` leaves those that are worked on, too: under the job's lock, so that none begins meanwhile.
    """
    dialect = backend.database.dialect
    states = "'assigned'" if unless_begun else "'assigned', 'working'"

    def work(connection: Connection) -> Changes:
        batch = backend.database.batch(connection)
        dialect.lock_jobs(batch, [job_id])
        if list(dialect.move(batch, "cancel", [{"id": job_id}], {"actor": actor})):
            return Changes()
        asked = batch.execute(
            f"UPDATE outsourced_jobs SET cancel_requested_at = coalesce(cancel_requested_at, {batch.now})"
            f" WHERE id = {batch.parameter('id')} AND state IN ({states}) RETURNING worker_id",
            {"id": job_id},
        )
        workers = [worker_id for (worker_id,) in asked]
        names = connection.scalars(select(Worker.name).where(Worker.id.in_(workers)))
        return Changes(workers=frozenset(names))

    return backend.database.write(work)


def requeue(backend: SqlBackend, job_id: UUID, *, actor: str) -> list[tuple[Any, ...]]:
    """Gives an ended job new budgets and another life; its unique key and the queue's room are asked again.

    Where it had not completed, those wait again for which that had decided. Raises NotFound,
    InvalidTransition, QueueFull or KeyTaken.
    """
    while True:
        try:
            return backend.database.write(
                lambda connection: _requeue(backend, connection, job_id, actor=actor)
            )
        except IntegrityError as error:
            raise KeyTaken("a live job holds this job's unique key now", job_id=str(job_id)) from error
        except _Overtaken:
            continue


class _Overtaken(Exception):
    """Another job came to wait for these, being replaced, before they were locked."""


def _requeue(
    backend: SqlBackend, connection: Connection, job_id: UUID, *, actor: str
) -> list[tuple[Any, ...]]:
    dialect, batch = backend.database.dialect, backend.database.batch(connection)
    behind = reviving.behind(connection, job_id)
    queues = reviving.queues_of(connection, [job_id, *behind])
    if job_id not in queues:
        raise NotFound("there is no such job", job_id=str(job_id))
    for queue_id in sorted({queue.id for queue in queues.values()}):
        dialect.lock_queue(connection, queue_id)
    dialect.lock_jobs(batch, [job_id, *behind])
    if set(reviving.behind(connection, job_id)) != set(behind):
        raise _Overtaken
    state = State(connection.scalars(select(Job.state).where(Job.id == job_id)).one())
    if state not in TERMINAL:
        raise InvalidTransition(f"only an ended job can be retried, this one is {state}", job_id=str(job_id))
    _require_filled(connection, job_id)
    if state is State.COMPLETED:
        reviving.wait_anew(connection, job_id)
        revived = []
    else:
        revived = reviving.revived(connection, job_id, behind)
    _require_places(connection, [queues[one] for one in (job_id, *revived)])
    rows = {
        one: {"id": one, "bounded_queue_id": None if queue.capacity is None else queue.id}
        for one, queue in queues.items()
    }
    moved = list(dialect.move(batch, "requeue", [rows[job_id]], {"actor": actor}))
    if revived:
        dialect.move(batch, "revive", [rows[one] for one in revived], {"actor": actor})
    # or a further run that returns nothing would seem to have returned this
    connection.execute(delete(JobResult).where(JobResult.job_id == job_id))
    return moved


def _require_filled(connection: Connection, job_id: UUID) -> None:
    """A job that waited in vain has not been given what it was to work on."""
    if not reviving.is_filled(connection, job_id):
        raise InvalidTransition(
            "it waited for jobs of which one did not complete, and was never given their results: "
            "retry that one, and this one waits for it again",
            job_id=str(job_id),
        )


def _require_places(connection: Connection, queues: Sequence[reviving.Place]) -> None:
    for queue, asked in Counter(queues).items():
        if queue.capacity is None:
            continue
        used = connection.scalar(select(func.count()).where(Job.bounded_queue_id == queue.id)) or 0
        if used + asked > queue.capacity:
            free = max(0, queue.capacity - used)
            raise QueueFull(
                f"queue {queue.name!r} is full: {free} of {queue.capacity} places free, {asked} asked for",
                queue=queue.name,
                capacity=queue.capacity,
                free=free,
                asked=asked,
                retry_after=5,
            )


def _last_error(connection: Connection, job_id: UUID) -> str | None:
    error: str | None = connection.scalar(
        select(HistoryRow.error)
        .where(HistoryRow.job_id == job_id, HistoryRow.error.is_not(None))
        .order_by(HistoryRow.seq.desc())
        .limit(1)
    )
    return error


def _jobs() -> Select[Any]:
    return (
        select(
            Job.__table__, Queue.name.label("queue"), TaskName.name.label("task"), Worker.name.label("worker")
        )
        .join(Queue, Queue.id == Job.queue_id)
        .join(TaskName, TaskName.id == Job.task_id)
        .outerjoin(Worker, Worker.id == Job.worker_id)
    )


def _after(start: datetime | None, seconds: float | None) -> datetime | None:
    return None if start is None or seconds is None else start + timedelta(seconds=seconds)


def _record(row: Any, **more: Any) -> JobRecord:
    state = State(row.state)
    held = state in LEASED or state in TERMINAL
    return JobRecord(
        id=row.id,
        task=row.task,
        queue=row.queue,
        state=state,
        priority=row.priority,
        attempt=row.attempt,
        failures=row.failures,
        losses=row.losses,
        max_retries=row.max_retries,
        max_losses=row.max_losses,
        owner=None if row.owner_type is None else Owner(type=row.owner_type, id=row.owner_id),
        created_at=row.created_at,
        runs_at=row.runs_at,
        expires_at=row.expires_at,
        gets_stuck_at=_after(row.begun_at if state is State.WORKING else row.runs_at, row.stuck_after),
        repeats_after_fail_at=_after(row.starts_at, row.repeats_after_fail),
        repeats_after_complete_at=_after(row.starts_at, row.repeats_after_complete),
        repeat_of=row.repeat_of,
        parent_id=row.parent_id,
        root_id=row.root_id,
        begun_at=row.begun_at,
        ended_at=row.ended_at,
        cancel_requested_at=row.cancel_requested_at,
        reason=row.reason,
        worker=row.worker if held else None,
        **more,
    )
