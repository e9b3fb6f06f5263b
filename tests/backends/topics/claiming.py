"""Claiming and beginning: who gets which job, in which order, and the same again to the same question."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from outsourced.errors import WorkerLocked
from outsourced.records import CommandKind, OutcomeKind, Owner, SettledStatus
from outsourced.states import State
from tests.backends.stage import TASK, TTL, Site, Stage, begun, enqueue, job_of, leased, state_of


def test_claim_hands_out_small_priorities_first_and_the_older_of_two(stage: Stage, near: Site) -> None:
    (late,) = enqueue(stage, priority=1)
    older, newer = enqueue(stage, 2)
    (urgent,) = enqueue(stage, priority=-1, queue="small")
    order = [lease.job_id for _ in range(4) for lease in near.claim(1)]
    assert order == [urgent, older, newer, late]


def test_claim_of_many_keeps_the_order(stage: Stage, near: Site) -> None:
    (late,) = enqueue(stage, priority=1)
    jobs = enqueue(stage, 5)
    assert [lease.job_id for lease in near.claim()] == [*jobs, late]


def test_claim_takes_no_more_than_there_are_slots(stage: Stage, near: Site) -> None:
    enqueue(stage, 3)
    assert len(near.claim(2)) == 2
    assert len(near.claim(2)) == 1
    assert near.claim(2) == ()


def test_lease_says_all_a_worker_needs(stage: Stage, near: Site) -> None:
    owner = Owner(type="Order", id="7")
    (job_id,) = enqueue(
        stage, queue="small", priority=5, owner=owner, max_retries=1, expires_in=timedelta(hours=1)
    )
    (lease,) = near.claim()
    assert (lease.job_id, lease.task, lease.queue, lease.priority) == (job_id, TASK, "small", 5)
    assert lease.payload == {"args": [1, 2], "kwargs": {}}
    assert (lease.attempt, lease.failures, lease.max_retries, lease.owner) == (1, 0, 1, owner)
    assert (lease.ttl, lease.confirm, lease.attachment) == (TTL, False, None)
    assert lease.expires_in == pytest.approx(3600, abs=60)
    assert state_of(stage, job_id) is State.ASSIGNED
    assert job_of(stage, job_id).worker == "near"


def test_one_job_is_leased_once(stage: Stage, near: Site, far: Site) -> None:
    enqueue(stage, 4)
    leases = [*near.claim(2), *far.claim(2)]
    assert len({lease.job_id for lease in leases}) == len({lease.id for lease in leases}) == 4
    assert near.claim() == far.claim() == ()


def test_claim_leaves_tasks_the_worker_does_not_know(stage: Stage, near: Site) -> None:
    enqueue(stage, task="tasks.other")
    known = enqueue(stage)
    assert [lease.job_id for lease in near.claim()] == known


def test_claim_leaves_queues_the_worker_is_not_hired_for(stage: Stage, near: Site, far: Site) -> None:
    stage.fire("near", "small")
    (job_id,) = enqueue(stage, queue="small")
    assert near.claim() == ()
    assert [lease.job_id for lease in far.claim()] == [job_id]


def test_claim_leaves_paused_queues_until_they_are_resumed(stage: Stage, near: Site) -> None:
    stage.pause_queue("small")
    enqueue(stage, queue="small")
    assert near.claim() == ()
    stage.resume_queue("small")
    assert len(near.claim()) == 1


def test_paused_worker_gets_nothing_and_may_end_what_it_has(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    stage.pause("near")
    enqueue(stage)
    assert near.claim() == ()
    assert near.settle(lease, OutcomeKind.COMPLETED).status is SettledStatus.RECORDED
    stage.resume("near")
    assert len(near.claim()) == 1


def test_locked_worker_is_refused_until_it_is_unlocked(stage: Stage, near: Site) -> None:
    enqueue(stage)
    stage.lock("near")
    with pytest.raises(WorkerLocked):
        near.claim()
    stage.unlock("near")
    assert len(near.claim()) == 1


def test_claim_sent_again_gets_the_same_leases_and_no_more(stage: Stage, near: Site) -> None:
    enqueue(stage, 5)
    again = uuid4()
    first = near.claim(2, claim_id=again)
    second = near.claim(2, claim_id=again)
    assert [(one.id, one.job_id) for one in second] == [(one.id, one.job_id) for one in first]


def test_claim_sent_again_leaves_out_what_has_ended(stage: Stage, near: Site) -> None:
    enqueue(stage, 2)
    again = uuid4()
    ended, open_ = near.claim(claim_id=again)
    near.settle(ended, OutcomeKind.COMPLETED)
    assert [lease.id for lease in near.claim(claim_id=again)] == [open_.id]


def test_poll_is_answered_at_once_where_there_is_a_job(stage: Stage, near: Site) -> None:
    enqueue(stage)
    reply = near.say(claim_id=uuid4(), slots=1, tasks=(TASK,), wait=20)
    assert len(reply.leases) == 1


def test_begin_makes_a_job_working_and_counts_the_attempt(stage: Stage, near: Site) -> None:
    lease = leased(stage, near)
    assert near.begin(lease).commands == ()
    job = job_of(stage, lease.job_id)
    assert (job.state, job.attempt, job.worker) == (State.WORKING, 1, "near")
    assert job.begun_at is not None


def test_begin_reported_twice_counts_once(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    assert near.begin(lease).commands == ()
    assert job_of(stage, lease.job_id).attempt == 1


def test_begin_under_a_lease_that_has_ended_is_lost(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    near.settle(lease, OutcomeKind.COMPLETED)
    (command,) = near.begin(lease).commands
    assert (command.kind, command.lease_id, command.reason) == (CommandKind.LOST, lease.id, "complete")


def test_begin_under_the_lease_of_another_is_lost(stage: Stage, near: Site, far: Site) -> None:
    lease = leased(stage, near)
    (command,) = far.begin(lease).commands
    assert (command.kind, command.reason) == (CommandKind.LOST, None)
    assert state_of(stage, lease.job_id) is State.ASSIGNED
