"""Replacing in a crowd: members, bodies and errbacks are replaced, over and over, and every chord ends."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from outsourced import payload
from outsourced.sql import maintenance
from outsourced.sql.backend import SqlBackend
from outsourced.sql.models import Job
from outsourced.states import TERMINAL, Event, State
from tests.checker import assert_clean
from tests.sql.conftest import read
from tests.sql.crowd import Repeated, crowd, finish, retry
from tests.sql.test_crowd import url_of
from tests.sql.test_follow_crowd import NEAR, PATIENCE, chord_of

ROUNDS, MEMBERS = 20, 6
LEASE_TTL = timedelta(seconds=2)
#: of ten jobs so many, and so many of those that replace them
REPLACING = 0.3


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("people", [0, 2])
def test_chords_of_replaced_jobs_end_in_a_crowd(backend: SqlBackend, people: int) -> None:
    """Where `people` try again what has failed, all end well."""
    rounds = [chord_of(MEMBERS, "any") for _ in range(ROUNDS)]
    for jobs in rounds:
        backend.enqueue(jobs)
    # one question: else a job that failed may live again between two
    ended = TERMINAL - {State.FAILED} if people else TERMINAL
    others = select(func.count()).where(Job.state.not_in(ended))

    def unfinished() -> int:
        with backend.database.connect() as connection:
            return connection.scalar(others) or 0

    janitor = Repeated(lambda: maintenance.rescue(backend), lambda: maintenance.promote(backend))
    with janitor, crowd(3 + people) as (processes, stop):
        url = url_of(backend)
        crew = [processes.submit(finish, url, n, LEASE_TTL, NEAR, REPLACING) for n in range(3)]
        crew += [processes.submit(retry, url, n) for n in range(people)]
        deadline = time.monotonic() + PATIENCE
        while unfinished() and time.monotonic() < deadline:
            assert not [one.result() for one in crew if one.done()]
            time.sleep(0.2)
        stop.set()
        assert all(one.result() for one in crew)

    assert_clean(read(backend.database), lease_ttl=LEASE_TTL)
    assert unfinished() == 0, _told(backend)
    replaced = 0
    for *header, body, errback, last in rounds:
        states = [backend.job(one.id).state for one in (*header, body)]  # type: ignore[union-attr]
        all_well = set(states[:MEMBERS]) == {State.COMPLETED}
        assert states[MEMBERS] is (State.COMPLETED if all_well else State.FAILED)
        assert all_well or not people
        if all_well:
            given = payload.decode_call(str(backend.job(body.id).payload))[0]  # type: ignore[union-attr]
            assert given[-2] == [1] * MEMBERS
        events = [row.event for one in (*header, body, errback, last) for row in backend.history(one.id)]
        replaced += events.count(Event.REPLACE)
    assert replaced > ROUNDS


def _told(backend: SqlBackend) -> str:
    """How those stand that have not ended well."""
    with backend.database.connect() as connection:
        rows = connection.execute(select(Job.id, Job.state, Job.reason).where(Job.state != State.COMPLETED))
        return "\n".join(f"{row.id} {row.state} {row.reason}" for row in rows)
