"""Why a job that waits is not running, in words for the person who asks. Reads only."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, func, select, tuple_

from outsourced.records import EdgeKind
from outsourced.records import Job as JobRecord
from outsourced.sql.database import Database
from outsourced.sql.models import Edge, Hire, Instance, Job, Queue, TaskName, Worker
from outsourced.sql.overview import CONNECTED_FOR
from outsourced.states import State


def why_waiting(database: Database, job: JobRecord) -> str | None:
    """The reason, and where there is one, the command that ends it; None for a job that runs or has ended."""
    match job.state:
        case State.SCHEDULED:
            return f"it is scheduled for {_moment(job.runs_at)}"
        case State.RETRYING:
            return (
                f"its attempt {job.attempt} failed or was lost; it is tried again at {_moment(job.runs_at)}"
            )
        case State.ASSIGNED:
            return f"worker {job.worker!r} has it and has not reported that it began"
        case State.WAITING:
            with database.connect() as connection:
                return _what_it_waits_for(connection, job)
        case State.UNASSIGNED:
            with database.connect() as connection:
                return _why_unclaimed(database, connection, job)
        case _:
            return None


_WAITS: dict[str, str] = {
    EdgeKind.ERROR: "it is to be called if {} fails",
    EdgeKind.REPLACEMENT: "it is replaced by {}, and waits for it",
}


def _what_it_waits_for(connection: Connection, job: JobRecord) -> str:
    # outsourced_edges_downstream
    open_ones = (Edge.downstream_id == job.id, Edge.position >= 0, Edge.met.is_(None))
    rest = (connection.scalar(select(func.count()).select_from(Edge).where(*open_ones)) or 0) - 1
    first = connection.execute(
        select(Job.id, TaskName.name, Job.state, Edge.kind)
        .select_from(Edge)
        .join(Job, Job.id == Edge.upstream_id)
        .join(TaskName, TaskName.id == Job.task_id)
        .where(*open_ones)
        .order_by(Edge.position)
        .limit(1)
    ).one_or_none()
    if first is None:
        return "it waits for other jobs"
    told = f"job {first.id} ({first.name}, {first.state})"
    if rest:
        told += f" or one of {rest} more" if first.kind == EdgeKind.ERROR else f" and {rest} more"
    return _WAITS.get(first.kind, "it waits for {}").format(told)


def _why_unclaimed(database: Database, connection: Connection, job: JobRecord) -> str:
    if connection.scalar(select(Queue.paused).where(Queue.name == job.queue)):
        return f"the queue is paused: `flask outsourcer queue resume {job.queue}`"
    hired = connection.execute(
        select(Worker.id, Worker.name, Worker.state, Worker.paused)
        .join(Hire, Hire.worker_id == Worker.id)
        .join(Queue, Queue.id == Hire.queue_id)
        .where(Queue.name == job.queue)
        .order_by(Worker.name)
    ).all()
    if not hired:
        return f"nobody is hired for this queue: `flask outsourcer queue hire {job.queue} WORKER`"
    able = [worker for worker in hired if worker.state == "active" and not worker.paused]
    if not able:
        return f"every worker hired for this queue is locked or paused: {_names(hired)}"
    since = database.now(connection) - CONNECTED_FOR
    processes = connection.execute(
        select(Instance.tasks).where(
            Instance.worker_id.in_([worker.id for worker in able]), Instance.seen_at >= since
        )
    ).all()
    if not processes:
        return f"no worker hired for this queue is connected; start `outsourced_worker` as {_names(able)}"
    if not any(job.task in orjson.loads(process.tasks) for process in processes):
        if job.task.startswith("outsourced."):
            return (
                f"no connected worker knows {job.task}, which came with a later version: upgrade the workers"
            )
        return (
            f"no connected worker knows the task {job.task!r}: "
            "add the module that defines it to `include:` in the worker's configuration"
        )
    return _place_in_line(connection, job)


def _place_in_line(connection: Connection, job: JobRecord) -> str:
    itself = select(Job.priority, Job.seq, Job.queue_id).where(Job.id == job.id).subquery()
    ahead = connection.scalar(
        select(func.count())
        .select_from(Job)
        .join(itself, itself.c.queue_id == Job.queue_id)
        .where(
            Job.state == State.UNASSIGNED,
            tuple_(Job.priority, Job.seq) < tuple_(itself.c.priority, itself.c.seq),
        )
    )
    return f"workers are busy: {ahead} other jobs of its queue come first" if ahead else "it is next in line"


def _names(workers: list[Any] | Any) -> str:
    return ", ".join(worker.name for worker in workers)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
