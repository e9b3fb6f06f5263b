"""Schedules: one row each; at a tick a job, stored in the very transaction that takes the tick.

However many processes look, a tick is one job: whoever moves `due_at` on has it. Ticks that fell into a
time when nothing ran are made up for by one. A tick whose job is refused is skipped, and says why.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from outsourced.app.periodic import Entry
from outsourced.errors import BackendUnavailable, ConfigurationError, NotFound, OutsourcedError, QueueBusy
from outsourced.payload import decode, decode_call, encode_call, encode_result
from outsourced.records import NewJob, Origin
from outsourced.registry import registry
from outsourced.remotes import RemoteTask
from outsourced.schedules import next_tick
from outsourced.shown import ScheduleInfo
from outsourced.sql import audit, enqueue
from outsourced.sql.bookkeeping import Schedule
from outsourced.sql.dialects import Refused
from outsourced.sql.people import Done
from outsourced.wording import similar

if TYPE_CHECKING:
    from outsourced.sql.backend import SqlBackend
    from outsourced.sql.database import Database

log = logging.getLogger(__name__)

#: schedules that one round serves at most; the rest are due a moment later
ROUND = 500
#: what a declaration says of a schedule; the rest of its row is its life
_DECLARED = ("declared_by", "task", "spec", "zone", "args", "options")


def declare(backend: SqlBackend, entries: Sequence[Entry], *, zone: str, declared_by: str) -> None:
    """Makes these the schedules that this app has declared: new ones begin, changed ones begin anew.

    Those it declared before and does not now are gone; those of other apps stay, and so does a pause.
    Raises ConfigurationError for an entry that could never be enqueued.
    """
    wanted = {entry.name: _definition(entry, zone, declared_by) for entry in entries}
    try:
        backend.database.write(lambda connection: _declare(backend, connection, wanted, declared_by))
    except IntegrityError:
        # another process, which starts at the same time, was first with a name
        backend.database.write(lambda connection: _declare(backend, connection, wanted, declared_by))


def tick(backend: SqlBackend) -> int:
    """Enqueues the jobs of schedules that are due and that nobody else has taken; gives how many."""
    with backend.database.connect() as connection:
        now = backend.database.now(connection)
        due = connection.execute(
            select(Schedule.__table__)
            .where(Schedule.due_at <= now, Schedule.paused.is_(False))
            .order_by(Schedule.due_at)
            .limit(ROUND)
        ).all()
    return sum(_take(backend, row, now) for row in due)


def pause(backend: SqlBackend, name: str, *, actor: str) -> Done:
    """Leaves out all ticks until `resume`."""
    return _set_paused(backend, name, actor=actor, paused=True)


def resume(backend: SqlBackend, name: str, *, actor: str) -> Done:
    """Ticks again, from now on: nothing that was left out is made up for."""
    return _set_paused(backend, name, actor=actor, paused=False)


def run(backend: SqlBackend, name: str, *, actor: str) -> UUID:
    """Enqueues the job of a tick now, between its ticks; gives its id. Raises NotFound, QueueFull …"""
    with backend.database.connect() as connection:
        job = _job_of(_row(connection, name))
    backend.enqueue([job], actor=actor)
    return job.id


def listing(database: Database) -> list[ScheduleInfo]:
    """The schedules by name."""
    with database.connect() as connection:
        rows = connection.execute(select(Schedule.__table__).order_by(Schedule.name)).all()
    return [
        ScheduleInfo(
            name=row.name,
            task=row.task,
            spec=row.spec,
            zone=row.zone,
            queue=decode(row.options).get("queue"),
            paused=row.paused,
            due_at=row.due_at,
            ticked_at=row.ticked_at,
            job_id=row.last_job_id,
            skipped=row.skipped,
        )
        for row in rows
    ]


def _definition(entry: Entry, zone: str, declared_by: str) -> dict[str, str]:
    try:
        _new_job(entry.task, entry.args, entry.kwargs, entry.options)
        return {
            "declared_by": declared_by,
            "task": entry.task,
            "spec": entry.schedule.spec,
            "zone": zone,
            "args": encode_call(tuple(entry.args), entry.kwargs),
            "options": encode_result(dict(entry.options)),
        }
    except (TypeError, ValueError, OutsourcedError) as error:
        raise ConfigurationError(f"schedule {entry.name!r}: {error}") from error


def _declare(
    backend: SqlBackend, connection: Connection, wanted: Mapping[str, Mapping[str, str]], declared_by: str
) -> None:
    now = backend.database.now(connection)
    known = {row.name: row._mapping for row in connection.execute(select(Schedule.__table__)).all()}
    for name, definition in wanted.items():
        before = known.get(name)
        if before is not None and all(before[column] == definition[column] for column in _DECLARED):
            continue
        begun: dict[str, Any] = {**definition}
        if before is None or any(before[column] != definition[column] for column in ("spec", "zone")):
            begun["due_at"] = next_tick(definition["spec"], definition["zone"], last=now, now=now)
        if before is None:
            connection.execute(insert(Schedule).values(name=name, paused=False, **begun))
        else:
            connection.execute(update(Schedule).where(Schedule.name == name).values(**begun))
    connection.execute(
        delete(Schedule).where(Schedule.declared_by == declared_by, Schedule.name.not_in(list(wanted)))
    )


def _take(backend: SqlBackend, row: Row[Any], now: datetime) -> bool:
    """Takes a tick, if nobody else has: stores its job, or why there is none. Gives whether there is one."""
    after = {"due_at": next_tick(row.spec, row.zone, last=row.due_at, now=now), "ticked_at": now}
    try:
        job = _job_of(row)
        taken = _store(backend, row, job, {**after, "last_job_id": job.id, "skipped": None})
    except (BackendUnavailable, QueueBusy):
        raise  # still due
    except (OutsourcedError, Refused, IntegrityError, TypeError, ValueError) as error:
        reason = _why(backend, row, error)
        log.warning("schedule %r: the tick of %s is skipped: %s", row.name, row.due_at, reason)
        skipped = {**after, "last_job_id": None, "skipped": reason}
        backend.database.write(lambda connection: _advance(connection, row, skipped))
        return False
    if taken:
        backend.tell(enqueue.changes_by({job.queue: backend.names.queue(job.queue)}, [job]))
    return taken


def _store(backend: SqlBackend, row: Row[Any], job: NewJob, values: Mapping[str, Any]) -> bool:
    store = enqueue.storing(backend, [job], origin=Origin(actor=f"schedule:{row.name}"[:255]))

    def work(connection: Connection) -> bool:
        taken = _advance(connection, row, values)
        if taken:
            store(backend.database.batch(connection))
        return taken

    return backend.database.write(work)


def _advance(connection: Connection, row: Row[Any], values: Mapping[str, Any]) -> bool:
    mine = update(Schedule).where(
        Schedule.name == row.name, Schedule.due_at == row.due_at, Schedule.paused.is_(False)
    )
    return connection.execute(mine.values(values)).rowcount == 1


def _why(backend: SqlBackend, row: Row[Any], error: Exception) -> str:
    if isinstance(error, Refused):
        backend.names.forget_queues()
        return f"queue {decode(row.options).get('queue') or 'by default'} is full, or its job's owner is"
    if isinstance(error, IntegrityError):
        return f"a live job holds the key {decode(row.options).get('unique_key')!r}"
    return str(error)


def _job_of(row: Row[Any]) -> NewJob:
    args, kwargs, _ = decode_call(row.args)
    return _new_job(row.task, args, kwargs, decode(row.options))


def _new_job(task: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> NewJob:
    return (registry.get(task) or RemoteTask[..., Any](task)).new_job(tuple(args), kwargs, **options)


def _set_paused(backend: SqlBackend, name: str, *, actor: str, paused: bool) -> Done:
    def work(connection: Connection) -> Done:
        row, now = _row(connection, name), backend.database.now(connection)
        if row.paused == paused:
            return Done(changed=False)
        missed = not paused and row.due_at <= now
        due_at = next_tick(row.spec, row.zone, last=row.due_at, now=now) if missed else row.due_at
        named = update(Schedule).where(Schedule.name == name)
        connection.execute(named.values(paused=paused, due_at=due_at))
        act = "schedule.pause" if paused else "schedule.resume"
        audit.record(connection, at=now, actor=actor, act=act, subject=name)
        return Done(changed=True)

    return backend.database.write(work)


def _row(connection: Connection, name: str) -> Row[Any]:
    found = connection.execute(select(Schedule.__table__).where(Schedule.name == name)).one_or_none()
    if found is None:
        known = connection.scalars(select(Schedule.name)).all()
        hint = similar(name, known) or ": `flask outsourcer schedule list` shows those there are"
        raise NotFound(f"there is no schedule {name!r}{hint}", schedule=name)
    return found
