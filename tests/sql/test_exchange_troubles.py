"""What may come in the way of an exchange: a lock-out half way through, a history that is damaged."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from outsourced.errors import WorkerLocked
from outsourced.records import ExchangeReply, Outcome, OutcomeKind, SettledStatus
from outsourced.sql import late, maintenance, workers
from outsourced.sql.backend import SqlBackend
from outsourced.sql.models import Transition
from outsourced.states import Event, State
from tests.sql.conftest import Site, held, new_job, outcome, pass_time, state_of
from tests.sql.interleaving import Aside, holding, traced, until, waiting

ACTOR = "admin:test"


def test_a_lock_out_between_the_two_transactions_of_an_exchange_is_told_as_one(
    backend: SqlBackend, near: Site, far: Site
) -> None:
    """The first settles what the guards find; the second looks up the rest, and finds the door shut."""
    backend.enqueue([new_job()])
    (lost,) = near.claim()
    pass_time(backend, 61)
    maintenance.rescue(backend)
    far.claim()
    backend.enqueue([new_job()])
    (good,) = near.claim()
    said = tuple(outcome(lease, OutcomeKind.COMPLETED, result="3") for lease in (lost, good))

    exchange = locked_out_half_way(backend, near, said, lost.job_id)

    with pytest.raises(WorkerLocked):
        exchange.result()
    assert state_of(backend, good.job_id) is State.COMPLETED
    workers.unlock(backend, "near", actor=ACTOR)
    settled = {one.lease_id: (one.status, one.code) for one in near.say(outcomes=said).settled}
    assert settled == {
        lost.id: (SettledStatus.REFUSED, "lease_lost"),
        good.id: (SettledStatus.REPLAYED, None),
    }


@pytest.mark.parametrize("kind", [OutcomeKind.COMPLETED, OutcomeKind.RELEASED])
def test_an_outcome_counts_where_a_heartbeat_brings_its_lease_home_half_way(
    backend: SqlBackend, near: Site, monkeypatch: pytest.MonkeyPatch, kind: OutcomeKind
) -> None:
    """A worker has two exchanges in flight: the one finds the job taken back, the other reclaims it."""
    backend.enqueue([new_job()])
    (lease,) = near.claim()
    near.begin(lease)
    pass_time(backend, 61)
    maintenance.rescue(backend)
    resolve = late.resolve

    def after_a_heartbeat(*said: Any) -> late.Resolved:
        monkeypatch.undo()
        near.say(held=(held(lease),))
        return resolve(*said)

    monkeypatch.setattr(late, "resolve", after_a_heartbeat)
    (settled,) = near.settle(lease, kind).settled
    assert settled.status is SettledStatus.RECORDED
    assert state_of(backend, lease.job_id) in (State.COMPLETED, State.UNASSIGNED)


def locked_out_half_way(
    backend: SqlBackend, site: Site, said: tuple[Outcome, ...], job_id: UUID
) -> Aside[ExchangeReply]:
    """The exchange, after a person has locked the worker out between its two transactions."""
    play = _on_sqlite if backend.database.dialect.name == "sqlite" else _on_postgresql
    return play(backend, site, said, job_id)


def _on_postgresql(
    backend: SqlBackend, site: Site, said: tuple[Outcome, ...], job_id: UUID
) -> Aside[ExchangeReply]:
    """The first transaction waits for a job; the lock-out then queues for the worker before the second."""
    row = "SELECT 1 FROM outsourced_jobs WHERE id = :id FOR UPDATE"
    with holding(backend.database, row, {"id": job_id}):
        exchange = Aside(lambda: site.say(outcomes=said))
        until(lambda: len(waiting(backend.database)) == 1)
        lock_out = Aside(lambda: workers.lock(backend, "near", actor=ACTOR))
        until(lambda: len(waiting(backend.database)) == 2)
    lock_out.result()
    return exchange


def _on_sqlite(
    backend: SqlBackend, site: Site, said: tuple[Outcome, ...], job_id: UUID
) -> Aside[ExchangeReply]:
    """The worker is locked out when the thread of the exchange is about to begin its second transaction."""
    done: dict[threading.Thread, int] = {}

    def heard(statement: str) -> None:
        thread = threading.current_thread()
        if statement == "COMMIT":
            done[thread] = done.get(thread, 0) + 1
        elif statement == "BEGIN IMMEDIATE" and done.pop(thread, 0) == 1:
            Aside(lambda: workers.lock(backend, "near", actor=ACTOR)).result()

    with traced(backend.database.engine, heard):
        exchange = Aside(lambda: site.say(outcomes=said))
        until(lambda: exchange.is_done)
    return exchange


@pytest.mark.tampers
@pytest.mark.parametrize("slots", [0, 1])
def test_a_row_of_history_in_the_way_is_an_error_and_not_tried_for_ever(
    backend: SqlBackend, near: Site, slots: int
) -> None:
    """Only a claim's reply may be there already; whatever else is, is no replay."""
    backend.enqueue([new_job()])
    (lease,) = near.claim()
    backend.database.write(
        lambda connection: connection.execute(
            insert(Transition).values(
                job_id=lease.job_id,
                seq=3,
                to_state=State.COMPLETED,
                event=Event.COMPLETE,
                attempt=1,
                actor="nobody",
                at=backend.database.now(connection),
            )
        )
    )
    said = (outcome(lease, OutcomeKind.COMPLETED, result="3"),)

    with pytest.raises(IntegrityError):
        near.say(outcomes=said, slots=slots, claim_id=uuid4() if slots else None, tasks=(lease.task,))

    assert state_of(backend, lease.job_id) is State.ASSIGNED
