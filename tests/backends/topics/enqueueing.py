"""Enqueueing: all of a call or nothing, room, keys, and what is told of a job."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from outsourced.errors import AlreadyExists, KeyTaken, OwnerFull, QueueFull
from outsourced.records import OutcomeKind, Owner
from outsourced.states import State
from tests.backends.stage import TASK, Site, Stage, enqueue, job_of, new_job, state_of


def test_enqueue_stores_what_it_was_told(stage: Stage) -> None:
    owner = Owner(type="Order", id="7")
    new = new_job(queue="small", priority=5, owner=owner, max_retries=1, max_losses=2)
    stage.producer.enqueue([new])
    job = job_of(stage, new.id)
    assert (job.task, job.queue, job.state, job.priority) == (TASK, "small", State.UNASSIGNED, 5)
    assert (job.owner, job.max_retries, job.max_losses, job.payload) == (owner, 1, 2, new.payload)
    assert (job.attempt, job.failures, job.losses, job.worker, job.ended_at) == (0, 0, 0, None, None)


def test_enqueue_without_a_queue_takes_the_default_one(stage: Stage) -> None:
    (job_id,) = enqueue(stage)
    assert job_of(stage, job_id).queue == "plain"


def test_enqueue_of_nothing_does_nothing(stage: Stage, near: Site) -> None:
    stage.producer.enqueue([])
    assert list(near.claim(10)) == []


def test_enqueue_beyond_the_capacity_stores_nothing_and_says_how_much_is_free(stage: Stage) -> None:
    enqueue(stage, queue="small")
    jobs = [new_job(), *(new_job(queue="small") for _ in range(3))]
    with pytest.raises(QueueFull) as full:
        stage.producer.enqueue(jobs)
    facts = full.value.facts
    assert (facts["queue"], facts["capacity"], facts["free"], facts["asked"]) == ("small", 3, 2, 3)
    assert facts["retry_after"] > 0
    assert [stage.producer.job(job.id) for job in jobs] == [None] * 4


def test_enqueue_fills_a_queue_to_the_last_place(stage: Stage) -> None:
    enqueue(stage, 3, queue="small")
    with pytest.raises(QueueFull):
        enqueue(stage, queue="small")


def test_job_that_ends_makes_room_and_no_other(stage: Stage, near: Site) -> None:
    enqueue(stage, 3, queue="small")
    lease, *_ = near.claim()
    with pytest.raises(QueueFull):
        enqueue(stage, queue="small")
    near.settle(lease, OutcomeKind.COMPLETED)
    enqueue(stage, queue="small")


def test_enqueue_of_an_id_that_is_there_stores_nothing(stage: Stage) -> None:
    known, fresh = new_job(), new_job()
    stage.producer.enqueue([known])
    with pytest.raises(AlreadyExists):
        stage.producer.enqueue([fresh, known])
    assert stage.producer.job(fresh.id) is None


def test_enqueue_of_a_key_that_a_live_job_holds_is_refused(stage: Stage, near: Site) -> None:
    enqueue(stage, unique_key="k")
    with pytest.raises(KeyTaken) as taken:
        enqueue(stage, unique_key="k")
    assert taken.value.facts["keys"] == ["k"]
    (lease,) = near.claim()
    with pytest.raises(KeyTaken):
        enqueue(stage, unique_key="k")
    near.settle(lease, OutcomeKind.COMPLETED)
    enqueue(stage, unique_key="k")


def test_two_jobs_of_one_call_cannot_hold_one_key(stage: Stage) -> None:
    jobs = [new_job(unique_key="k"), new_job(unique_key="k")]
    with pytest.raises(KeyTaken):
        stage.producer.enqueue(jobs)
    assert stage.producer.job(jobs[0].id) is None


def test_enqueue_into_an_unknown_queue_is_refused(stage: Stage) -> None:
    jobs = [new_job(), new_job(queue="smal")]
    with pytest.raises(stage.refuses_unknown_queues):
        stage.producer.enqueue(jobs)
    assert stage.producer.job(jobs[0].id) is None


def test_job_for_later_is_scheduled_and_ready_when_its_time_has_come(stage: Stage, near: Site) -> None:
    (job_id,) = enqueue(stage, runs_in=timedelta(seconds=30))
    assert state_of(stage, job_id) is State.SCHEDULED
    stage.pass_time(29)
    stage.tick()
    assert near.claim() == ()
    stage.pass_time(2)
    stage.tick()
    assert [lease.job_id for lease in near.claim()] == [job_id]


def test_job_for_a_moment_that_has_passed_is_ready(stage: Stage) -> None:
    (first,) = enqueue(stage)
    (job_id,) = enqueue(stage, runs_at=job_of(stage, first).created_at - timedelta(minutes=1))
    assert state_of(stage, job_id) is State.UNASSIGNED


def test_job_not_begun_in_time_expires(stage: Stage, near: Site) -> None:
    (job_id,) = enqueue(stage, expires_in=timedelta(seconds=30))
    stage.pass_time(31)
    assert near.claim() == ()
    stage.tick()
    assert state_of(stage, job_id) is State.EXPIRED


def test_nothing_is_known_of_an_unknown_job(stage: Stage) -> None:
    nobody = uuid4()
    assert stage.producer.job(nobody) is None
    assert list(stage.producer.history(nobody)) == []
    assert stage.producer.wait(nobody, 0) is None
    assert stage.producer.cancel(nobody) is None


def test_wait_gives_the_job_as_it_stands_or_as_it_ended(stage: Stage, near: Site) -> None:
    (job_id,) = enqueue(stage)
    waiting = stage.producer.wait(job_id, 0.01)
    assert waiting is not None
    assert waiting.state is State.UNASSIGNED
    (lease,) = near.claim()
    near.settle(lease, OutcomeKind.COMPLETED, result="3")
    ended = stage.producer.wait(job_id, 5)
    assert ended is not None
    assert (ended.state, ended.result) == (State.COMPLETED, "3")
    assert ended.ended_at is not None


def test_owner_is_told_how_many_jobs_it_has_in_each_state(stage: Stage, near: Site) -> None:
    owner = Owner(type="Order", id="7")
    jobs = enqueue(stage, 3, owner=owner)
    enqueue(stage, owner=Owner(type="Order", id="8"))
    lease, *_ = near.claim(1)
    near.settle(lease, OutcomeKind.COMPLETED)
    assert dict(stage.owners.count_of(owner)) == {State.COMPLETED: 1, State.UNASSIGNED: 2}
    assert [job.id for job in stage.owners.jobs_of(owner)] == jobs[::-1]


def test_owner_of_a_type_with_a_limit_has_no_more_live_jobs_than_that(stage: Stage, near: Site) -> None:
    film = Owner(type="Film", id="7")
    enqueue(stage, owner=film)
    jobs = [new_job(owner=film), new_job(owner=film), new_job(owner=Owner(type="Film", id="8"))]
    with pytest.raises(OwnerFull) as full:
        stage.producer.enqueue(jobs)
    facts = full.value.facts
    assert (facts["owner"], facts["limit"], facts["free"], facts["asked"]) == (
        {"type": "Film", "id": "7"},
        2,
        1,
        2,
    )
    assert stage.producer.job(jobs[2].id) is None
    enqueue(stage, owner=film)
    lease, *_ = near.claim()
    near.settle(lease, OutcomeKind.COMPLETED)
    enqueue(stage, owner=film)


def test_owner_cancels_all_its_jobs(stage: Stage, near: Site) -> None:
    owner = Owner(type="Order", id="7")
    begun = enqueue(stage, owner=owner)
    near.claim()
    waiting = enqueue(stage, 2, owner=owner)
    assert stage.owners.cancel_of(owner) == (2, 1)
    assert {state_of(stage, job_id) for job_id in waiting} == {State.CANCELLED}
    assert job_of(stage, begun[0]).cancel_requested_at is not None
