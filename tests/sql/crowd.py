"""A crowd of clients in processes of their own, which begin together.

The functions here run in those processes: each makes a backend of its own, as a server process has.
"""

from __future__ import annotations

import multiprocessing
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from multiprocessing.synchronize import Barrier, Event
from uuid import UUID, uuid4

from sqlalchemy import Engine, create_engine, select

from outsourced.errors import AuthenticationFailed, BackendUnavailable, InvalidTransition, LeaseLost
from outsourced.following import ACCUMULATE
from outsourced.payload import encode_call
from outsourced.records import Edge, Lease, NewJob, Outcome, OutcomeKind, WorkerIdentity
from outsourced.sql import recurring
from outsourced.sql.backend import SqlBackend
from outsourced.sql.database import Database
from outsourced.sql.models import Job
from outsourced.sql.task_producer import TaskProducer
from outsourced.states import Reason, State
from tests.checker import Call
from tests.sql.clients import Client
from tests.sql.conftest import FAILURE, TASK, Site, new_job, outcome

#: seconds within which all processes have come to life on a very busy machine
PATIENCE = 90.0

#: seconds between two rounds of what is done beside the crowd
PAUSE = 0.02

_start: Barrier
_stop: Event


@contextmanager
def crowd(size: int) -> Iterator[tuple[ProcessPoolExecutor, Event]]:
    """Processes for `size` of the functions below, and the event that ends those that go on until told."""
    context = multiprocessing.get_context("spawn")
    start, stop = context.Barrier(size), context.Event()
    with ProcessPoolExecutor(size, context, initializer=_adopt, initargs=(start, stop)) as processes:
        try:
            yield processes, stop
        finally:
            stop.set()


def _adopt(start: Barrier, stop: Event) -> None:
    global _start, _stop
    _start, _stop = start, stop


@contextmanager
def _client(url: str, worker: WorkerIdentity, lease_ttl: timedelta) -> Iterator[Client]:
    database = Database(url)
    backend = SqlBackend(database, lease_ttl=lease_ttl)
    try:
        yield Client(backend, Site(backend, worker))
    finally:
        database.dispose()


def produce(url: str, queue: str, number: int, times: int, worker: WorkerIdentity) -> list[Call]:
    """Enqueues so many batches, a few of them in ways that are rolled back, and cancels some jobs."""
    chance, stored = random.Random(number), list[NewJob]()
    host = create_engine(url)
    with _client(url, worker, timedelta(seconds=60)) as client, closing_engine(host):
        joins = host.dialect.name == "postgresql"  # on SQLite a host's transaction makes all others wait
        _start.wait(PATIENCE)
        for one in range(times):
            batch = [new_job(queue=queue) for _ in range(chance.randint(1, 4))]
            match one % 5:
                case 0 if stored:
                    client.enqueue(*batch, chance.choice(stored))  # that one is there already
                    continue
                case 1 if joins:
                    client.enqueue_joined(host, *batch, commit=False)
                    continue
                case 2 if joins:
                    status = client.enqueue_joined(host, *batch)
                case _:
                    status = client.enqueue(*batch)
            stored += batch if status == "ok" else []
            if one % 7 == 6 and stored:
                client.cancel(chance.choice(stored).id)
        return client.calls


@contextmanager
def closing_engine(engine: Engine) -> Iterator[None]:
    try:
        yield
    finally:
        engine.dispose()


def work(url: str, number: int, lease_ttl: timedelta, worker: WorkerIdentity) -> list[Call]:
    """Claims and settles until it is told to stop; leaves every tenth job lying, to be rescued."""
    chance = random.Random(number)
    kinds = [OutcomeKind.COMPLETED] * 6 + [OutcomeKind.RETRY, OutcomeKind.RELEASED, OutcomeKind.FAILED]
    with _client(url, worker, lease_ttl) as client:
        _start.wait(PATIENCE)
        while not _stop.is_set():
            try:
                leases = client.claim(slots=3)
            except BackendUnavailable:
                continue
            for lease in leases:
                if chance.random() < 0.9:
                    client.settle(lease, chance.choice(kinds), error=FAILURE, result="3")
            _stop.wait(0.0 if leases else 0.01)
        return client.calls


def finish(
    url: str, number: int, lease_ttl: timedelta, worker: WorkerIdentity, replacing: float = 0.0
) -> int:
    """Ends jobs until told to stop: well if their argument is "sure", else in any way; leaves some lying.

    So many of them, of 1.0, are replaced by one or more with the same argument.
    """
    chance, ended, tasks = random.Random(number), 0, (TASK, ACCUMULATE)
    with _client(url, worker, lease_ttl) as client:
        _start.wait(PATIENCE)
        while not _stop.is_set():
            try:
                leases = client.site.say(claim_id=uuid4(), slots=8, tasks=tasks).leases
                outcomes = [
                    _replaced(client, lease, chance)
                    if lease.task == TASK and chance.random() < replacing
                    else outcome(lease, _any_way(lease, chance), error=FAILURE, result="1")
                    for lease in leases
                    if chance.random() < 0.99
                ]
                ended += len(client.site.say(outcomes=tuple(outcomes)).settled)
            except (BackendUnavailable, LeaseLost):
                continue
            _stop.wait(0.0 if leases else 0.01)
        return ended


def _any_way(lease: Lease, chance: random.Random) -> OutcomeKind:
    others = [OutcomeKind.RETRY, OutcomeKind.RELEASED, OutcomeKind.FAILED]
    sure = '"sure"' in str(lease.payload)
    return OutcomeKind.COMPLETED if sure else chance.choice([OutcomeKind.COMPLETED] * 9 + others)


def _replaced(client: Client, lease: Lease, chance: random.Random) -> Outcome:
    """By one job, by two in a row, or by one for two; now and then it is waited until others can end it."""
    how = "sure" if '"sure"' in str(lease.payload) else "any"
    jobs = [replace(new_job(), payload=encode_call((how,), {})) for _ in range(chance.randint(1, 3))]
    if len(jobs) > 1:
        edges = tuple(Edge(upstream=job.id) for job in jobs[:-1])
        jobs[-1] = replace(jobs[-1], after=edges)
    TaskProducer(client.backend, client.site.identity, lease).enqueue(jobs)
    _stop.wait(chance.choice([0.0, 0.0, 0.02]))
    return outcome(lease, OutcomeKind.REPLACED, replaced_by=jobs[-1].id)


def retry(url: str, number: int) -> int:
    """Tries failed jobs again, as people do, until told to stop; gives how many."""
    chance, retried = random.Random(number), 0
    database = Database(url)
    backend = SqlBackend(database)
    failed = select(Job.id).where(Job.state == State.FAILED, Job.reason.is_distinct_from(Reason.UPSTREAM))
    _start.wait(PATIENCE)
    while not _stop.wait(PAUSE):
        with database.connect() as connection:
            ids = list(connection.scalars(failed))
        for job_id in chance.sample(ids, k=len(ids)):
            try:
                backend.requeue(job_id)
                retried += 1
            except (BackendUnavailable, InvalidTransition):
                continue  # another was first
    database.dispose()
    return retried


def pull(url: str, worker: WorkerIdentity) -> int:
    """Claims a job and gives it back, until told to stop; gives how often it had one."""
    pulled = 0
    with _client(url, worker, timedelta(seconds=60)) as client:
        _start.wait(PATIENCE)
        while not _stop.is_set():
            try:
                for lease in client.site.claim(slots=1):
                    pulled += 1
                    client.site.settle(lease, OutcomeKind.RELEASED)
            except (AuthenticationFailed, BackendUnavailable):
                continue  # locked out for the moment
        return pulled


class Repeated(threading.Thread):
    """Duties done over and over beside the crowd, until the block ends; their error is raised there."""

    def __init__(self, *duties: Callable[[], object]) -> None:
        super().__init__()
        self._duties = duties
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        while not self._ended.wait(PAUSE):
            for duty in self._duties:
                try:
                    duty()
                except BackendUnavailable:
                    continue
                except BaseException as error:  # noqa: BLE001 - raised where the block ends
                    self._error = error
                    return

    def __enter__(self) -> Repeated:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self.join()
        if self._error is not None:
            raise self._error


def ids(calls: list[Call]) -> set[UUID]:
    """The jobs that the calls say are stored."""
    return {call.job_id for call in calls if call.kind == "enqueue" and call.status == "ok" and call.job_id}


def recur(url: str, steps: int, step: timedelta) -> int:
    """Moves the clock on so many times, each time with the others, and ticks; gives the ticks it got."""
    database = Database(url)
    backend, taken = SqlBackend(database), 0
    try:
        for _ in range(steps):
            _start.wait(PATIENCE)
            database.clock_offset += step
            taken += recurring.tick(backend)
    finally:
        database.dispose()
    return taken
