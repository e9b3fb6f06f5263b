"""Leases that lapse: renewed in time, rescued when not, and brought home while nobody else has the job."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from outsourced.records import CommandKind, OutcomeKind, SettledStatus
from outsourced.states import Event, Reason, State
from tests.backends.stage import (
    TASK,
    TTL,
    Site,
    Stage,
    begun,
    enqueue,
    events_of,
    job_of,
    leased,
    outcome,
    state_of,
)

K = OutcomeKind


def lapse(stage: Stage) -> None:
    """Lets every lease lapse, and the server notice."""
    stage.pass_time(TTL + 1)
    stage.tick()


def test_lease_that_is_renewed_is_not_rescued(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    for _ in range(3):
        stage.pass_time(TTL - 5)
        assert near.keep(lease).commands == ()
        stage.tick()
    assert state_of(stage, lease.job_id) is State.WORKING


def test_lapsed_lease_of_a_begun_job_costs_a_loss(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    lapse(stage)
    stage.tick()
    (again,) = far.claim()
    job = job_of(stage, lease.job_id)
    assert (job.losses, job.failures, job.worker) == (1, 0, "far")
    assert (again.job_id, again.attempt) == (lease.job_id, 2)
    rescue = next(row for row in stage.producer.history(job.id) if row.event is Event.RESCUE)
    assert (rescue.actor, rescue.reason, rescue.lease_id) == ("janitor", Reason.LAPSED, lease.id)


def test_lapsed_lease_of_a_job_not_begun_costs_nothing(stage: Stage, near: Site) -> None:
    lease = leased(stage, near)
    lapse(stage)
    job = job_of(stage, lease.job_id)
    assert (job.state, job.attempt, job.losses) == (State.UNASSIGNED, 0, 0)


def test_job_with_a_lost_delivery_goes_out_alone_and_is_to_be_confirmed(
    stage: Stage, near: Site, far: Site
) -> None:
    lease = leased(stage, near)
    lapse(stage)
    enqueue(stage, 2)
    (alone,) = far.claim()
    assert (alone.job_id, alone.confirm) == (lease.job_id, True)
    assert len(far.claim()) == 2


def test_last_loss_fails_the_job(stage: Stage, near: Site) -> None:
    lease = begun(stage, near, max_losses=0)
    lapse(stage)
    job = job_of(stage, lease.job_id)
    assert (job.state, job.reason, job.losses) == (State.FAILED, Reason.LOST, 1)


def test_late_outcome_counts_while_nobody_took_the_lease(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    stage.pass_time(TTL + 1)
    assert near.settle(lease, K.COMPLETED).status is SettledStatus.RECORDED
    assert Event.RESCUE not in events_of(stage, lease.job_id)


def test_rescued_lease_comes_home_with_its_outcome(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    lapse(stage)
    assert near.settle(lease, K.COMPLETED, result="3").status is SettledStatus.RECORDED
    job = job_of(stage, lease.job_id)
    assert (job.state, job.attempt, job.losses, job.result) == (State.COMPLETED, 1, 0, "3")
    assert events_of(stage, lease.job_id)[-2:] == [Event.RECLAIM, Event.COMPLETE]


def test_rescued_lease_comes_home_by_a_heartbeat(stage: Stage, near: Site) -> None:
    kept, unbegun = begun(stage, near), leased(stage, near)
    lapse(stage)
    assert near.keep(kept, unbegun).commands == ()
    assert state_of(stage, kept.job_id) is State.WORKING
    assert state_of(stage, unbegun.job_id) is State.ASSIGNED
    assert job_of(stage, kept.job_id).losses == 0


def test_rescued_lease_comes_home_by_its_begin(stage: Stage, near: Site) -> None:
    lease = leased(stage, near)
    lapse(stage)
    assert near.begin(lease).commands == ()
    assert state_of(stage, lease.job_id) is State.WORKING


def test_lease_is_lost_once_another_has_the_job(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    lapse(stage)
    stage.tick()
    (theirs,) = far.claim()
    (command,) = near.keep(lease).commands
    assert (command.kind, command.lease_id) == (CommandKind.LOST, lease.id)
    assert command.reason == "rescue (lapsed)"
    settled = near.settle(lease, K.COMPLETED)
    assert (settled.status, settled.code) == (SettledStatus.REFUSED, "lease_lost")
    assert far.settle(theirs, K.COMPLETED).status is SettledStatus.RECORDED


def test_job_that_comes_home_with_a_claim_is_not_claimed_anew(stage: Stage, near: Site) -> None:
    lease = leased(stage, near)
    lapse(stage)
    claim = {"claim_id": uuid4(), "slots": 5, "tasks": (TASK,)}
    reply = near.say(outcomes=(outcome(lease, K.COMPLETED),), **claim)
    assert reply.leases == ()
    assert state_of(stage, lease.job_id) is State.COMPLETED


def test_worker_reports_that_a_job_came_too_late(stage: Stage, near: Site) -> None:
    lease = leased(stage, near, expires_in=timedelta(seconds=30))
    stage.pass_time(31)
    assert near.settle(lease, K.EXPIRED, ran_for=None).status is SettledStatus.RECORDED
    job = job_of(stage, lease.job_id)
    assert (job.state, job.attempt) == (State.EXPIRED, 0)
