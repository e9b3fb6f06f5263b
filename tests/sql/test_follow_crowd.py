"""Chords in a crowd: whoever ends last, in whatever process, the body is released once."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select

from outsourced import payload
from outsourced.records import Edge, EdgeKind, NewJob, WorkerIdentity
from outsourced.sql import maintenance
from outsourced.sql.backend import SqlBackend
from outsourced.sql.models import Job
from outsourced.states import TERMINAL, Event, State
from tests.checker import assert_clean
from tests.sql.conftest import new_job, read
from tests.sql.crowd import Repeated, crowd, finish, retry
from tests.sql.test_crowd import url_of

WORKERS, MEMBERS, PATIENCE = 4, 1000, 120.0
LEASE_TTL = timedelta(seconds=2)
NEAR = WorkerIdentity(id=1, name="near", epoch=0)


def chord_of(members: int, how: str) -> list[NewJob]:
    """A chord whose members end "sure" well, or in "any" way; its errback, and a job after its body."""
    call = payload.encode_call((how,), {})
    header = [replace(new_job(), payload=call) for _ in range(members)]
    edges = tuple(
        Edge(upstream=job.id, kind=EdgeKind.CHORD, opens=int(n == 0), closes=int(n == members - 1))
        for n, job in enumerate(header)
    )
    body = replace(new_job(after=edges), payload=payload.encode_call(("sure",), {}))
    errback = new_job(after=(Edge(upstream=body.id, kind=EdgeKind.ERROR),))
    last = new_job(after=(Edge(upstream=body.id),))
    return [*header, body, errback, last]


def live(backend: SqlBackend) -> int:
    with backend.database.connect() as connection:
        return connection.scalar(select(func.count()).where(Job.state.not_in(TERMINAL))) or 0


def admitted(backend: SqlBackend, job_id: UUID) -> int:
    return [step.event for step in backend.history(job_id)].count(Event.ADMIT)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_chords_release_their_bodies_once_in_a_crowd(backend: SqlBackend) -> None:
    rounds = [chord_of(MEMBERS, "sure"), *(chord_of(8, how) for how in ("sure", "any") * 20)]
    for jobs in rounds:
        backend.enqueue(jobs)
    janitor = Repeated(lambda: maintenance.rescue(backend), lambda: maintenance.promote(backend))
    with janitor, crowd(WORKERS) as (processes, stop):
        workers = [processes.submit(finish, url_of(backend), n, LEASE_TTL, NEAR) for n in range(WORKERS)]
        deadline = time.monotonic() + PATIENCE
        while live(backend) and time.monotonic() < deadline:
            assert not any(worker.done() for worker in workers)
            time.sleep(0.2)
        stop.set()
        assert sum(worker.result() for worker in workers) >= MEMBERS

    assert_clean(read(backend.database), lease_ttl=LEASE_TTL)
    assert live(backend) == 0
    told: Counter[State] = Counter()
    for *header, body, errback, last in rounds:
        job = backend.job(body.id)
        assert job is not None
        all_well = all(backend.job(one.id).state is State.COMPLETED for one in header)  # type: ignore[union-attr]
        assert admitted(backend, body.id) == int(all_well)
        assert (job.state is State.COMPLETED) == all_well
        assert (admitted(backend, errback.id), admitted(backend, last.id)) == ((0, 1) if all_well else (1, 0))
        told[job.state] += 1
        if all_well:
            assert payload.decode_call(str(job.payload))[0][0] == [1] * len(header)
    assert told[State.COMPLETED] > 20
    assert told[State.FAILED] > 3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_retries_in_a_crowd_bring_every_chord_to_its_end(backend: SqlBackend) -> None:
    """Members of one chord fail, and are tried again by two people at once, while others end."""
    rounds = [chord_of(8, "any") for _ in range(40)]
    for jobs in rounds:
        backend.enqueue(jobs)
    # one question: else a job that failed may live again between two
    others = select(func.count()).where(Job.state.not_in(TERMINAL - {State.FAILED}))

    def unfinished() -> int:
        with backend.database.connect() as connection:
            return connection.scalar(others) or 0

    janitor = Repeated(lambda: maintenance.rescue(backend), lambda: maintenance.promote(backend))
    with janitor, crowd(4) as (processes, stop):
        url = url_of(backend)
        workers = [processes.submit(finish, url, n, LEASE_TTL, NEAR) for n in range(2)]
        people = [processes.submit(retry, url, n) for n in range(2)]
        deadline = time.monotonic() + PATIENCE
        while unfinished() and time.monotonic() < deadline:
            assert not any(one.done() for one in (*workers, *people))
            time.sleep(0.2)
        stop.set()
        assert sum(one.result() for one in people) > 20
        assert sum(one.result() for one in workers) > 0

    assert_clean(read(backend.database), lease_ttl=LEASE_TTL)
    assert unfinished() == 0
    for *header, body, errback, last in rounds:
        jobs = {one.id: backend.job(one.id) for one in (*header, body, errback, last)}
        states = [jobs[one.id].state for one in (*header, body, last)]  # type: ignore[union-attr]
        assert states == [State.COMPLETED] * len(states)
        assert payload.decode_call(str(jobs[body.id].payload))[0] == [[1] * len(header), "sure"]  # type: ignore[union-attr]
        assert jobs[errback.id].state in (State.COMPLETED, State.CANCELLED)  # type: ignore[union-attr]
