"""Every move, on both databases, against the oracle `next_state`: same edge, same refusal."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, select, update

from outsourced.errors import InvalidTransition
from outsourced.records import Origin
from outsourced.sql.backend import SqlBackend
from outsourced.sql.lifecycle import moves
from outsourced.sql.models import Job, Transition
from outsourced.states import Event, Facts, State, next_state
from tests.sql.conftest import new_job

LEASE = UUID(int=7)

#: moves and the facts that decide them; what a row looks like for each is in `_given`
FACTS: dict[str, list[str]] = {
    "promote": [],
    "expire": [],
    "cancel": [],
    "requeue": [],
    "revive": [],
    "claim": [],
    "begin": [],
    "complete": [],
    "fail": ["wants_retry", "retries_left", "expires_before_retry", "cancel_requested"],
    "replace": ["cancel_requested", "repeats"],
    "release": ["cancel_requested"],
    "report_lost": ["losses_left", "cancel_requested"],
    "take_back": ["losses_left", "cancel_requested"],
    "take_stuck": ["losses_left", "cancel_requested"],
    "send_back": ["cancel_requested"],
}


class _AnySyntax:
    """Only the events and sources are read of these moves, not their SQL."""

    now = "now"
    job_id = "id"

    def after(self, seconds: str) -> str:
        return seconds

    def given(self, name: str) -> str:
        return name

    def constant(self, name: str) -> str:
        return name


ALL = moves(_AnySyntax())


def cases() -> list[Any]:
    found = []
    for name, facts in FACTS.items():
        for state in State:
            for values in itertools.product((False, True), repeat=len(facts)):
                found.append(pytest.param(name, state, dict(zip(facts, values, strict=True))))
    return found


@pytest.mark.tampers
def test_moves_agree_with_the_oracle(backend: SqlBackend) -> None:
    for case in cases():
        name, state, facts = case.values
        job_id = _job_in(backend, state, facts)
        expected = _expected(state, ALL[name].event, facts, name)

        _apply(backend, name, job_id, facts)

        with backend.database.connect() as connection:
            after = connection.scalar(select(Job.state).where(Job.id == job_id))
            last = connection.execute(
                select(Transition.from_state, Transition.to_state, Transition.event)
                .where(Transition.job_id == job_id)
                .order_by(Transition.seq.desc())
                .limit(1)
            ).one()
        assert after == (expected or state), (name, state, facts)
        if expected is not None:
            assert tuple(last) == (state, expected, ALL[name].event), (name, state, facts)
        else:
            assert last.event == Event.ENQUEUE, (name, state, facts)


def _expected(state: State, event: Event, facts: dict[str, bool], name: str) -> State | None:
    """The oracle's word; None where it refuses, or where the move leaves this source to another one."""
    if state not in ALL[name].sources:
        return None
    try:
        return next_state(state, event, Facts(**facts, blocked=name == "revive"))
    except InvalidTransition:
        return None


def _job_in(backend: SqlBackend, state: State, facts: dict[str, bool]) -> UUID:
    job = new_job(max_retries=2, max_losses=2)
    child = new_job()
    backend.enqueue([job])
    backend.enqueue_for(Origin(actor="test", parent_id=job.id, root_id=job.id), [child])

    def put(connection: Connection) -> None:
        now = backend.database.now(connection)
        connection.execute(
            update(Job)
            .where(Job.id == job.id)
            .values(
                state=state,
                worker_id=1,
                lease_id=LEASE,
                begun_at=now,
                stuck_after=0,
                failures=0 if facts.get("retries_left", True) else 2,
                losses=0 if facts.get("losses_left", True) else 2,
                expires_at=now if facts.get("expires_before_retry") else None,
                cancel_requested_at=now if facts.get("cancel_requested") else None,
                repeats_after_complete=3600 if facts.get("repeats") else None,
            )
        )

    backend.database.write(put)
    return job.id


def _child_of(backend: SqlBackend, job_id: UUID) -> UUID:
    (child,) = backend.children(job_id)
    return child


def _apply(backend: SqlBackend, name: str, job_id: UUID, facts: dict[str, bool]) -> None:
    row = {
        "id": job_id,
        "lease_id": uuid4() if name == "claim" else LEASE,
        "began_ago": 0.0,
        "result": None,
        "reason": None,
        "error": None,
        "wants_retry": facts.get("wants_retry", False),
        "delay": 1.0,
        "max_retries": None,
        "live_key": None,
        "bounded_queue_id": None,
        "payload": None,
        "priority": None,
        "expires_in": None,
        "replaced_by": _child_of(backend, job_id),
        "task_id": 1,
    }
    parameters = {"worker_id": 1, "actor": "test", "ttl": 60.0, "instance_id": uuid4()}
    dialect = backend.database.dialect
    if name in ("take_back", "take_stuck", "send_back"):
        row = {"id": job_id, "reason": None}
    backend.database.run(lambda batch: dialect.move(batch, name, [row], parameters))
