"""What people do takes effect at once: fire, lock, another try of an ended job; and history tells it."""

from __future__ import annotations

from uuid import uuid4

import pytest

from outsourced.errors import InvalidTransition, KeyTaken, NotFound, QueueFull
from outsourced.records import CommandKind, OutcomeKind, SettledStatus
from outsourced.states import Event, Reason, State
from tests.backends.stage import ADMIN, FAILURE, Site, Stage, begun, enqueue, job_of, leased, state_of

K = OutcomeKind


def test_fire_takes_back_what_has_not_begun_and_lets_the_rest_finish(stage: Stage, near: Site) -> None:
    running, waiting = begun(stage, near), leased(stage, near)
    stage.fire("near", "plain")
    assert state_of(stage, waiting.job_id) is State.UNASSIGNED
    last = stage.producer.history(waiting.job_id)[-1]
    assert (last.event, last.actor, last.reason) == (Event.RESCUE, ADMIN, Reason.FIRED)
    assert near.claim() == ()
    assert near.settle(running, K.COMPLETED).status is SettledStatus.RECORDED


def test_fire_may_give_back_what_has_begun(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    stage.fire("near", "plain", "release")
    job = job_of(stage, lease.job_id)
    assert (job.state, job.losses) == (State.UNASSIGNED, 0)
    assert near.settle(lease, K.COMPLETED).code == "lease_lost"


def test_fire_may_cancel_what_has_begun(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    stage.fire("near", "plain", "cancel")
    assert [command.kind for command in near.say().commands] == [CommandKind.CANCEL]
    near.settle(lease, K.CANCELLED)
    assert state_of(stage, lease.job_id) is State.CANCELLED


def test_fire_leaves_the_jobs_of_other_queues(stage: Stage, near: Site) -> None:
    lease = leased(stage, near, queue="small")
    stage.fire("near", "plain")
    assert state_of(stage, lease.job_id) is State.ASSIGNED


def test_lock_takes_everything_back(stage: Stage, near: Site, far: Site) -> None:
    running, waiting = begun(stage, near), leased(stage, near)
    stage.lock("near")
    assert state_of(stage, running.job_id) is State.RETRYING
    assert state_of(stage, waiting.job_id) is State.UNASSIGNED
    last = stage.producer.history(running.job_id)[-1]
    assert (last.event, last.actor, last.reason) == (Event.RESCUE, ADMIN, Reason.LOCKED)
    stage.tick()
    assert {lease.job_id for _ in range(2) for lease in far.claim(1)} == {running.job_id, waiting.job_id}


def test_unlocked_worker_may_bring_its_outcomes_home(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    stage.lock("near")
    stage.unlock("near")
    assert near.settle(lease, K.COMPLETED).status is SettledStatus.RECORDED
    assert job_of(stage, lease.job_id).losses == 0


def test_retry_gives_an_ended_job_new_budgets_and_keeps_its_history(stage: Stage, near: Site) -> None:
    lease = leased(stage, near)
    near.settle(lease, K.FAILED, error=FAILURE)
    job = stage.retry(lease.job_id)
    assert (job.state, job.attempt, job.failures, job.ended_at) == (State.UNASSIGNED, 1, 0, None)
    last = stage.producer.history(job.id)[-1]
    assert (last.seq, last.from_state, last.event, last.actor) == (4, State.FAILED, Event.RETRY, ADMIN)
    (again,) = near.claim()
    assert (again.job_id, again.attempt) == (job.id, 2)


def test_retry_forgets_the_result_of_before(stage: Stage, near: Site) -> None:
    lease = leased(stage, near)
    near.settle(lease, K.COMPLETED, result="3")
    stage.retry(lease.job_id)
    (again,) = near.claim()
    near.settle(again, K.COMPLETED)
    assert job_of(stage, lease.job_id).result is None


def test_retry_of_a_live_job_is_refused(stage: Stage) -> None:
    (job_id,) = enqueue(stage)
    with pytest.raises(InvalidTransition):
        stage.retry(job_id)


def test_retry_of_a_live_job_is_not_a_matter_of_room(stage: Stage) -> None:
    job_id, *_ = enqueue(stage, 3, queue="small")
    with pytest.raises(InvalidTransition):
        stage.retry(job_id)


def test_retry_of_an_unknown_job_is_refused(stage: Stage) -> None:
    with pytest.raises(NotFound):
        stage.retry(uuid4())


def test_retry_needs_a_place_in_the_queue(stage: Stage, near: Site) -> None:
    lease = leased(stage, near, queue="small")
    near.settle(lease, K.COMPLETED)
    enqueue(stage, 3, queue="small")
    with pytest.raises(QueueFull):
        stage.retry(lease.job_id)
    assert state_of(stage, lease.job_id) is State.COMPLETED


def test_retry_needs_the_job_s_key(stage: Stage, near: Site) -> None:
    lease = leased(stage, near, unique_key="k")
    near.settle(lease, K.COMPLETED)
    enqueue(stage, unique_key="k")
    with pytest.raises(KeyTaken):
        stage.retry(lease.job_id)


def test_history_tells_who_did_what_when_and_under_which_lease(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    near.settle(lease, K.RETRY, delay=10.0, error=FAILURE)
    stage.producer.cancel(lease.job_id)
    rows = stage.producer.history(lease.job_id)
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5]
    assert [(row.from_state, row.to_state) for row in rows] == [
        (None, State.UNASSIGNED),
        (State.UNASSIGNED, State.ASSIGNED),
        (State.ASSIGNED, State.WORKING),
        (State.WORKING, State.RETRYING),
        (State.RETRYING, State.CANCELLED),
    ]
    worker = "worker:near"
    assert [row.actor for row in rows] == [stage.actor, worker, worker, worker, stage.actor]
    assert [row.lease_id for row in rows] == [None, lease.id, lease.id, lease.id, None]
    assert [row.attempt for row in rows] == [0, 0, 1, 1, 1]
    assert [row.error for row in rows] == [None, None, None, FAILURE, None]
    assert sorted(row.at for row in rows) == [row.at for row in rows]
    assert {row.job_id for row in rows} == {lease.job_id}
