"""What people look at: workers and queues as they stand, and the figures of the whole. Reads only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import orjson
from sqlalchemy import ColumnElement, Connection, func, or_, select

from outsourced.shown import ClientInfo, InstanceInfo, QueueInfo, WorkerInfo
from outsourced.sql import credentials, installation
from outsourced.sql.clients import id_of as client_id_of
from outsourced.sql.database import Database
from outsourced.sql.models import Allowance, Client, Hire, Instance, Job, Queue, Worker
from outsourced.sql.workers import id_of
from outsourced.states import State

#: a process of a worker that was not heard of for so long is not connected
CONNECTED_FOR = timedelta(seconds=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The whole in a few numbers."""

    jobs: dict[State, int]
    queues: int
    paused_queues: int
    workers: int
    connected_workers: int
    alive_at: datetime | None  #: last tick of the background duties


def workers(database: Database) -> list[WorkerInfo]:
    """All workers by name, with their queues, jobs in hand and last contact."""
    with database.connect() as connection:
        return _workers(connection)


def worker(database: Database, name: str) -> WorkerInfo:
    """The worker with its processes and credentials too; raises NotFound."""
    with database.connect() as connection:
        worker_id = id_of(connection, name)
        (info,) = _workers(connection, Worker.id == worker_id)
        return replace(
            info,
            instances=_instances(connection, worker_id),
            credentials=credentials.listing(connection, account_id=worker_id),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStats:
    """A worker, and its jobs by state: those in hand, and those it ended that are still kept."""

    info: WorkerInfo
    counts: dict[State, int]


def worker_stats(database: Database, names: Sequence[str]) -> list[WorkerStats]:
    """Of these workers, or of all; raises NotFound."""
    with database.connect() as connection:
        ids = [id_of(connection, name) for name in names]
        chosen = (Worker.id.in_(ids),) if ids else ()
        counts: dict[str, dict[State, int]] = defaultdict(dict)
        jobs = (
            select(Worker.name, Job.state, func.count())
            .join(Worker, Worker.id == Job.worker_id)
            .where(or_(Job.lease_until.is_not(None), Job.ended_at.is_not(None)), *chosen)
            .group_by(Worker.name, Job.state)
        )
        for name, state, number in connection.execute(jobs):
            counts[name][State(state)] = number
        return [WorkerStats(info=info, counts=counts[info.name]) for info in _workers(connection, *chosen)]


def known_tasks(database: Database) -> dict[str, list[str]]:
    """By the worker's name, the tasks its connected processes know."""
    known: dict[str, set[str]] = defaultdict(set)
    with database.connect() as connection:
        since = database.now(connection) - CONNECTED_FOR
        named = select(Worker.name, Instance.tasks).join(Worker, Worker.id == Instance.worker_id)
        for name, tasks in connection.execute(named.where(Instance.seen_at >= since)):
            known[name].update(orjson.loads(tasks))
    return {name: sorted(tasks) for name, tasks in sorted(known.items())}


def clients(database: Database) -> list[ClientInfo]:
    """All clients by name, with the queues they may enqueue into."""
    with database.connect() as connection:
        return _clients(connection)


def client(database: Database, name: str) -> ClientInfo:
    """The client with its credentials too; raises NotFound."""
    with database.connect() as connection:
        client_id = client_id_of(connection, name)
        (info,) = _clients(connection, Client.id == client_id)
        return replace(info, credentials=credentials.listing(connection, account_id=client_id))


def _clients(connection: Connection, *conditions: ColumnElement[bool]) -> list[ClientInfo]:
    allowed: dict[int, list[str]] = defaultdict(list)
    names = select(Allowance.account_id, Queue.name).join(Queue, Queue.id == Allowance.queue_id)
    for account_id, name in connection.execute(names.order_by(Queue.name)):
        allowed[account_id].append(name)
    rows = connection.execute(
        select(Client.id, Client.name, Client.state, Client.created_at)
        .where(*conditions)
        .order_by(Client.name)
    )
    return [
        ClientInfo(name=row.name, state=row.state, queues=tuple(allowed[row.id]), created_at=row.created_at)
        for row in rows
    ]


def queues(database: Database) -> list[QueueInfo]:
    """All queues by name, with their workers and the number of jobs in each state."""
    with database.connect() as connection:
        hired: dict[int, list[str]] = defaultdict(list)
        names = select(Hire.queue_id, Worker.name).join(Worker, Worker.id == Hire.worker_id)
        for queue_id, name in connection.execute(names.order_by(Worker.name)):
            hired[queue_id].append(name)
        counts: dict[int, dict[State, int]] = defaultdict(dict)
        states = select(Job.queue_id, Job.state, func.count()).group_by(Job.queue_id, Job.state)
        for queue_id, state, number in connection.execute(states):
            counts[queue_id][State(state)] = number
        rows = connection.execute(
            select(Queue.id, Queue.name, Queue.capacity, Queue.paused, Queue.is_default).order_by(Queue.name)
        )
        return [
            QueueInfo(
                name=row.name,
                capacity=row.capacity,
                paused=row.paused,
                default=row.is_default,
                workers=tuple(hired[row.id]),
                counts=counts[row.id],
            )
            for row in rows
        ]


def figures(database: Database) -> Figures:
    """How many there are of everything."""
    with database.connect() as connection:
        jobs: Counter[State] = Counter()
        for state, number in connection.execute(select(Job.state, func.count()).group_by(Job.state)):
            jobs[State(state)] = number
        since = database.now(connection) - CONNECTED_FOR
        connected = select(func.count(func.distinct(Instance.worker_id))).where(Instance.seen_at >= since)
        paused = list(connection.scalars(select(Queue.paused)))
        facts = installation.find_in(connection)
        return Figures(
            jobs=dict(jobs),
            queues=len(paused),
            paused_queues=sum(paused),
            workers=connection.scalar(select(func.count()).select_from(Worker)) or 0,
            connected_workers=connection.scalar(connected) or 0,
            alive_at=facts.alive_at if facts else None,
        )


def _workers(connection: Connection, *conditions: ColumnElement[bool]) -> list[WorkerInfo]:
    hired: dict[int, list[str]] = defaultdict(list)
    names = select(Hire.worker_id, Queue.name).join(Queue, Queue.id == Hire.queue_id)
    for worker_id, name in connection.execute(names.order_by(Queue.name)):
        hired[worker_id].append(name)
    # jobs_leased
    number = func.count().label("number")
    held = select(Job.worker_id, number).where(Job.lease_until.is_not(None)).group_by(Job.worker_id)
    leases = {row.worker_id: row.number for row in connection.execute(held)}
    moment = func.max(Instance.seen_at).label("moment")
    seen = select(Instance.worker_id, moment).group_by(Instance.worker_id)
    seen_at = {row.worker_id: row.moment for row in connection.execute(seen)}
    rows = connection.execute(
        select(Worker.id, Worker.name, Worker.state, Worker.paused, Worker.created_at)
        .where(*conditions)
        .order_by(Worker.name)
    )
    return [
        WorkerInfo(
            name=row.name,
            state=row.state,
            paused=row.paused,
            queues=tuple(hired[row.id]),
            created_at=row.created_at,
            seen_at=seen_at.get(row.id),
            leases=leases.get(row.id, 0),
        )
        for row in rows
    ]


def _instances(connection: Connection, worker_id: int) -> tuple[InstanceInfo, ...]:
    rows = connection.execute(
        select(
            Instance.id, Instance.host, Instance.pid, Instance.version, Instance.started_at, Instance.seen_at
        )
        .where(Instance.worker_id == worker_id)
        .order_by(Instance.seen_at.desc())
    )
    return tuple(InstanceInfo(**row._mapping) for row in rows)
