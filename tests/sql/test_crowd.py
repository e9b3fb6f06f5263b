"""A bounded queue in a crowd: never above its capacity, and no worker waits for a producer."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import create_engine, event, func, select, text
from sqlalchemy.orm import Session

from outsourced.records import OutcomeKind, SettledStatus, WorkerIdentity
from outsourced.sql import maintenance, queues
from outsourced.sql.backend import SqlBackend
from outsourced.sql.models import Job
from outsourced.states import TERMINAL
from tests.checker import Call, assert_clean
from tests.sql.clients import Client
from tests.sql.conftest import Site, new_job, read
from tests.sql.crowd import Repeated, crowd, ids, produce, work
from tests.sql.interleaving import Aside

CAPACITY, PRODUCERS, WORKERS, TIMES = 100, 8, 2, 25
LEASE_TTL = timedelta(seconds=2)
NEAR = WorkerIdentity(id=1, name="near", epoch=0)

#: jobs that count towards the capacity, by the column that producers count, and by state
COUNTED = select(func.count()).where(Job.bounded_queue_id == 2)
RECOUNT = select(func.count()).where(Job.queue_id == 2, Job.state.not_in(TERMINAL))

GATES_HELD = """
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE datname = current_database() AND locktype = 'advisory' AND mode = 'ExclusiveLock'
"""


def url_of(backend: SqlBackend) -> str:
    return backend.database.engine.url.render_as_string(hide_password=False)


def number(backend: SqlBackend, query: object) -> int:
    with backend.database.connect() as connection:
        return connection.scalar(query) or 0  # type: ignore[call-overload]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_bounded_queue_holds_in_a_crowd(backend: SqlBackend, near: Site, noted: list[Call]) -> None:
    queues.change(backend, "small", capacity=CAPACITY, actor="admin:test")
    depths: list[int] = []

    noted += mob(backend, depths)

    assert max(depths) <= CAPACITY
    assert {call.code for call in noted} >= {"queue_full", "already_exists"}
    assert number(backend, COUNTED) == number(backend, RECOUNT)
    drain(backend, near, noted)
    assert_clean(read(backend.database), calls=noted, lease_ttl=LEASE_TTL)
    assert number(backend, COUNTED) == number(backend, RECOUNT) == 0
    refill(Client(backend, near, noted))


def mob(backend: SqlBackend, depths: list[int]) -> list[Call]:
    """Producers that roll back and cancel, workers that abandon, a janitor and an onlooker, all at once."""
    watch = Repeated(lambda: depths.append(number(backend, COUNTED)))
    janitor = Repeated(lambda: maintenance.rescue(backend), lambda: maintenance.promote(backend))
    url = url_of(backend)
    with watch, janitor, crowd(PRODUCERS + WORKERS) as (processes, stop):
        workers = [processes.submit(work, url, one, LEASE_TTL, NEAR) for one in range(WORKERS)]
        producers = [processes.submit(produce, url, "small", one, TIMES, NEAR) for one in range(PRODUCERS)]
        calls = [call for producer in producers for call in producer.result()]
        stop.set()
        return calls + [call for worker in workers for call in worker.result()]


def drain(backend: SqlBackend, near: Site, calls: list[Call]) -> None:
    """Takes back what was abandoned, and works until nothing is left."""
    settled = []
    while number(backend, RECOUNT):
        maintenance.rescue(backend)
        maintenance.promote(backend)
        for lease in near.claim(slots=50):
            near.settle(lease, OutcomeKind.COMPLETED, result="3")
            settled.append(Call(kind="settle", status="ok", job_id=lease.job_id, lease_id=lease.id))
    calls += settled
    assert ids(calls)


def refill(client: Client) -> None:
    assert client.enqueue(*(new_job(queue="small") for _ in range(CAPACITY))) == "ok"
    assert client.enqueue(new_job(queue="small")) == "fail"
    assert client.calls[-1].code == "queue_full"
    assert number(client.backend, COUNTED) == number(client.backend, RECOUNT) == CAPACITY


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_idle_transaction_of_a_producer_delays_no_worker(backend: SqlBackend, near: Site) -> None:
    """A host has enqueued, and even passed the gate, and then sits there with its transaction open."""
    backend.enqueue([new_job(queue="small"), new_job(queue="small")])
    host = create_engine(backend.database.engine.url)
    event.listen(host, "commit", lambda connection: idle(backend, near))

    with Session(host) as session:
        backend.enqueue([new_job(queue="small")], session=session)
        session.commit()
    host.dispose()

    assert number(backend, COUNTED) == number(backend, RECOUNT) == 2


def idle(backend: SqlBackend, near: Site) -> None:
    """Just before the COMMIT: a worker claims, begins and completes, and nobody has waited for a lock."""
    assert number(backend, text(GATES_HELD)) == 1
    first, second = Aside(lambda: near.claim()).result()
    Aside(lambda: near.begin(second)).result()
    (settled,) = Aside(lambda: near.settle(first, OutcomeKind.COMPLETED, result="3")).result().settled
    assert settled.status is SettledStatus.RECORDED
