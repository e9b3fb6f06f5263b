"""Rate limits: who sets them, what looking at them tells, a crowd that claims, a long line before others."""

from __future__ import annotations

import threading
import time
from uuid import uuid4

import pytest
from sqlalchemy import select

from outsourced import task
from outsourced.errors import UnknownQueue
from outsourced.records import WorkerIdentity
from outsourced.sql import audit, limits, queues, readiness
from outsourced.sql.backend import SqlBackend
from outsourced.sql.database import Database
from outsourced.sql.models import RateLimit, TaskName, Transition
from outsourced.states import Event
from tests.sql.conftest import TASK, Site, new_job, pass_time
from tests.sql.crowd import crowd, pull
from tests.sql.interleaving import PATIENCE, Aside, traced, until, waiting
from tests.sql.test_crowd import url_of

ADMIN = "admin:test"
OTHER = "tasks.other"
NEAR, FAR = WorkerIdentity(id=1, name="near", epoch=0), WorkerIdentity(id=2, name="far", epoch=0)


def limits_of(backend: SqlBackend) -> dict[str, tuple[str, str]]:
    return {info.name: (info.limit, info.by) for info in limits.listing(backend.database)}


def pace_of(backend: SqlBackend, name: str) -> float | None:
    """Seconds between two jobs, as claims see it."""
    of = select(RateLimit.pace).join(TaskName, TaskName.rate_id == RateLimit.id).where(TaskName.name == name)
    with backend.database.connect() as connection:
        return connection.scalar(of)


def test_limit_of_people_goes_before_the_codes(backend: SqlBackend) -> None:
    limits.declare(backend, {TASK: "10/m"})
    assert limits_of(backend) == {TASK: ("10/m", "code")}
    assert limits.limit_task(backend, TASK, "1/m", actor=ADMIN).changed
    limits.declare(backend, {TASK: "20/m"})
    assert (limits_of(backend), pace_of(backend, TASK)) == ({TASK: ("1/m", "people")}, 60)
    limits.limit_task(backend, TASK, "unlimited", actor=ADMIN)
    assert (limits_of(backend), pace_of(backend, TASK)) == ({TASK: ("unlimited", "people")}, None)
    limits.limit_task(backend, TASK, None, actor=ADMIN)
    assert (limits_of(backend), pace_of(backend, TASK)) == ({TASK: ("20/m", "code")}, 3)
    limits.declare(backend, {TASK: None})
    assert (limits_of(backend), pace_of(backend, TASK)) == ({}, None)
    acts = [(entry.act, entry.details["limit"]) for entry in audit.entries(backend.database, subject=TASK)]
    assert acts == [("task.limit", None), ("task.limit", "unlimited"), ("task.limit", "1/m")]


def test_declaring_what_is_known_writes_nothing(backend: SqlBackend) -> None:
    limits.declare(backend, {TASK: "10/m", OTHER: None})
    told: list[object] = []
    backend.notify = told.append
    limits.declare(backend, {TASK: "10/m", OTHER: None})
    assert told == []


def test_limit_of_a_task_registered_here_needs_no_job_of_it(backend: SqlBackend) -> None:
    task(name="limits.registered")(lambda: None)
    assert limits.limit_task(backend, "limits.registered", 2, actor=ADMIN).changed
    assert not limits.limit_task(backend, "limits.registered", 2, actor=ADMIN).changed


def test_destroyed_queue_leaves_no_limit(backend: SqlBackend) -> None:
    limits.limit_queue(backend, "small", "1/s", actor=ADMIN)
    queues.destroy(backend, "small", actor=ADMIN)
    assert limits_of(backend) == {}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.postgres
def test_limit_of_a_queue_that_is_being_destroyed_is_refused(backend: SqlBackend) -> None:
    queues.create(backend, "brief", actor=ADMIN)
    destroying, limited = threading.Event(), threading.Event()

    def heard(statement: str) -> None:
        """Stops it when its limits, but not yet the queue, are deleted."""
        if statement.startswith("DELETE FROM outsourced_queues"):
            destroying.set()
            assert limited.wait(PATIENCE)

    server = SqlBackend(Database(url_of(backend)))
    with traced(server.database.engine, heard):
        gone = Aside(lambda: queues.destroy(server, "brief", actor=ADMIN))
        assert destroying.wait(PATIENCE)
        limiting = Aside(lambda: backend.limit_queue("brief", "1/s"))
        until(lambda: bool(waiting(backend.database)) or limiting.is_done)
        limited.set()
        gone.result()
        with pytest.raises(UnknownQueue):
            limiting.result()
    server.database.dispose()
    assert limits_of(backend) == {}
    assert not backend.limits.in_force()


def test_process_that_knows_of_no_limit_hands_out_nothing_limited(backend: SqlBackend, near: Site) -> None:
    """It has looked a moment ago: another process sets the first limit there is."""
    backend.enqueue([new_job(), new_job(task=OTHER)])
    elsewhere = SqlBackend(Database(url_of(backend)))
    assert not backend.limits.in_force()
    elsewhere.limit_task(TASK, "1/m")
    (lease,) = near.say(claim_id=uuid4(), slots=10, tasks=(TASK, OTHER)).leases
    assert lease.task == OTHER
    backend.limits.forget()  # as a moment later
    assert len(near.claim()) == 1
    elsewhere.database.dispose()


def test_looking_tells_what_may_be_claimed_and_when_the_next_permit_comes(
    backend: SqlBackend, near: Site
) -> None:
    def look() -> readiness.Claimable:
        with backend.database.connect() as connection:
            return readiness.claimable(connection, lambda: backend.database.now(connection), counted=10)

    backend.enqueue([new_job() for _ in range(3)])
    assert look() == readiness.Claimable({("plain", TASK): 3})
    backend.limit_task(TASK, "2/m")
    assert look() == readiness.Claimable({("plain", TASK): 1}, 30)
    near.claim()
    found = look()
    assert found.ready == {}
    assert found.opens_in == pytest.approx(30, abs=5)
    pass_time(backend, 31)
    assert look().ready == {("plain", TASK): 1}


def test_long_line_of_limited_jobs_holds_nobody_up(backend: SqlBackend, near: Site) -> None:
    backend.limits.forget()
    limits.declare(backend, {TASK: "1/h"})
    for _ in range(10):
        backend.enqueue([new_job(priority=1) for _ in range(500)])
    backend.enqueue([new_job(task=OTHER, priority=9) for _ in range(20)])
    leases = near.say(claim_id=uuid4(), slots=100, tasks=(TASK, OTHER)).leases
    assert [lease.task for lease in leases] == [TASK] + [OTHER] * 20


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.postgres
def test_limit_holds_in_a_crowd(backend: SqlBackend) -> None:
    """Four processes claim and give back as fast as they can; the checker counts in the end."""
    backend.enqueue([new_job() for _ in range(20)])
    backend.limit_task(TASK, "40/s")
    claims = select(Transition.seq).where(Transition.event == Event.CLAIM)

    def begun() -> int:
        with backend.database.connect() as connection:
            return len(connection.execute(claims).all())

    began = time.monotonic()
    with crowd(4) as (processes, stop):
        pulls = [processes.submit(pull, url_of(backend), one) for one in (NEAR, FAR, NEAR, FAR)]
        until(lambda: begun() >= 100)
        took = time.monotonic() - began
        stop.set()
        assert sum(one.result() for one in pulls) == begun()
    assert took >= (100 - 4) / 40
