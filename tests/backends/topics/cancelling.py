"""Cancelling: at once while nobody has the job, else by its worker, and never run again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from outsourced.records import CommandKind, OutcomeKind, SettledStatus
from outsourced.states import State
from tests.backends.stage import TTL, Site, Stage, begun, enqueue, events_of, job_of, leased, state_of

K = OutcomeKind


@pytest.mark.parametrize("later", [None, timedelta(hours=1)])
def test_cancel_ends_a_job_nobody_has(stage: Stage, near: Site, later: timedelta | None) -> None:
    (job_id,) = enqueue(stage, runs_in=later)
    cancelled = stage.producer.cancel(job_id)
    assert cancelled is not None
    assert cancelled.state is State.CANCELLED
    assert cancelled.cancel_requested_at is not None
    assert near.claim() == ()


def test_cancel_leaves_an_ended_job(stage: Stage, near: Site) -> None:
    lease = leased(stage, near)
    near.settle(lease, K.COMPLETED)
    before = job_of(stage, lease.job_id)
    assert stage.producer.cancel(lease.job_id) == before


@pytest.mark.parametrize("make", [leased, begun])
def test_worker_hears_of_a_cancel_and_reports_it(stage: Stage, near: Site, far: Site, make: object) -> None:
    lease = make(stage, near)  # type: ignore[operator]
    asked = stage.producer.cancel(lease.job_id)
    assert asked is not None
    assert asked.state in (State.ASSIGNED, State.WORKING)
    assert asked.cancel_requested_at is not None
    assert far.say().commands == ()
    (command,) = near.say().commands
    assert (command.kind, command.lease_id) == (CommandKind.CANCEL, lease.id)

    assert near.settle(lease, K.CANCELLED).status is SettledStatus.RECORDED
    assert state_of(stage, lease.job_id) is State.CANCELLED
    assert near.say().commands == ()
    assert near.settle(lease, K.CANCELLED).status is SettledStatus.REPLAYED


def test_cancel_unless_begun_leaves_what_is_worked_on(stage: Stage, near: Site) -> None:
    working = begun(stage, near)
    left = stage.producer.cancel(working.job_id, unless_begun=True)
    assert left is not None
    assert (left.state, left.cancel_requested_at) == (State.WORKING, None)
    assert near.say().commands == ()


@pytest.mark.parametrize("later", [None, timedelta(hours=1)])
def test_cancel_unless_begun_ends_a_job_nobody_has(stage: Stage, later: timedelta | None) -> None:
    (job_id,) = enqueue(stage, runs_in=later)
    cancelled = stage.producer.cancel(job_id, unless_begun=True)
    assert cancelled is not None
    assert cancelled.state is State.CANCELLED


def test_cancel_unless_begun_asks_for_what_is_only_fetched(stage: Stage, near: Site) -> None:
    lease = leased(stage, near)
    asked = stage.producer.cancel(lease.job_id, unless_begun=True)
    assert asked is not None
    assert asked.cancel_requested_at is not None
    assert [command.lease_id for command in near.say().commands] == [lease.id]


def test_job_that_completes_first_is_completed(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    stage.producer.cancel(lease.job_id)
    near.settle(lease, K.COMPLETED)
    assert state_of(stage, lease.job_id) is State.COMPLETED


@pytest.mark.parametrize("kind", [K.RETRY, K.RELEASED, K.LOST])
def test_job_to_be_cancelled_is_never_run_again(stage: Stage, near: Site, kind: OutcomeKind) -> None:
    lease = begun(stage, near)
    stage.producer.cancel(lease.job_id)
    near.settle(lease, kind, delay=0.0 if kind is K.RETRY else None)
    assert state_of(stage, lease.job_id) is State.CANCELLED


def test_job_to_be_cancelled_ends_with_its_lease(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    stage.producer.cancel(lease.job_id)
    stage.pass_time(TTL + 1)
    stage.tick()
    assert state_of(stage, lease.job_id) is State.CANCELLED
    assert events_of(stage, lease.job_id)[-1] == "rescue"


def test_cancel_asked_twice_is_one(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    first = stage.producer.cancel(lease.job_id)
    stage.pass_time(5)
    assert stage.producer.cancel(lease.job_id) == first
