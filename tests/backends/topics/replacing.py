"""Replacing: a job that has a child take its place, waits for it, and ends as it does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from outsourced import payload
from outsourced.following import ACCUMULATE
from outsourced.records import Edge, EdgeKind, Lease, NewJob, OutcomeKind, Settled, SettledStatus
from outsourced.states import Event, Reason, State
from tests.backends.stage import (
    FAILURE,
    TASK,
    Site,
    Stage,
    begun,
    enqueue,
    events_of,
    job_of,
    leased,
    new_job,
    state_of,
)

K, S = OutcomeKind, State


def after(upstream: NewJob, kind: EdgeKind = EdgeKind.CHAIN) -> NewJob:
    return new_job(after=(Edge(upstream=upstream.id, kind=kind),))


def with_child(site: Site, lease: Lease, **options: Any) -> NewJob:
    """A job that the task has enqueued."""
    child = new_job(**options)
    site.consumer.producer(lease).enqueue([child])
    return child


def replace(site: Site, lease: Lease, by: NewJob, **more: Any) -> Settled:
    return site.settle(lease, K.REPLACED, replaced_by=by.id, **more)


def replaced(site: Site, lease: Lease) -> NewJob:
    """Has a job that the task has enqueued take its place; gives that one."""
    child = with_child(site, lease)
    assert replace(site, lease, child).status is SettledStatus.RECORDED
    return child


def take(site: Site, job_id: UUID, *, task: str = TASK) -> Lease:
    """The lease of this job; the others that are ready go back."""
    reply = site.say(claim_id=uuid4(), slots=50, tasks=(task,))
    leases = {lease.job_id: lease for lease in reply.leases}
    found = leases.pop(job_id)
    for lease in leases.values():
        site.settle(lease, K.RELEASED)
    return found


def end(site: Site, job_id: UUID, kind: OutcomeKind = K.COMPLETED, **more: Any) -> None:
    site.settle(take(site, job_id), kind, **more)


def test_job_waits_for_its_replacement_and_is_given_its_result(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    child = with_child(near, lease)
    assert replace(near, lease, child).status is SettledStatus.RECORDED
    assert state_of(stage, lease.job_id) is S.WAITING
    end(far, child.id, result='"the result"')
    assert state_of(stage, lease.job_id) is S.UNASSIGNED
    passing = take(far, lease.job_id, task=ACCUMULATE)
    assert payload.decode_call(passing.payload)[:2] == (["the result", 1, 2], {})
    assert passing.task == ACCUMULATE
    assert events_of(stage, lease.job_id)[-3:] == [Event.REPLACE, Event.ADMIT, Event.CLAIM]


def test_history_keeps_what_is_told_of_the_replacement(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    child = with_child(near, lease)
    replace(near, lease, child, reason="tasks.add, by another")
    assert (job_of(stage, lease.job_id).reason, job_of(stage, lease.job_id).state) == (
        "tasks.add, by another",
        S.WAITING,
    )
    end(far, child.id)
    assert job_of(stage, lease.job_id).reason is None
    assert [row.reason for row in stage.producer.history(lease.job_id)][-2:] == [
        "tasks.add, by another",
        None,
    ]


def test_replacement_may_have_ended_already(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    child = with_child(near, lease)
    end(far, child.id, result="5")
    replace(near, lease, child)
    assert payload.decode_call(take(far, lease.job_id, task=ACCUMULATE).payload)[0] == [5, 1, 2]


def test_replacement_may_have_failed_already(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    child = with_child(near, lease, max_retries=0)
    end(far, child.id, K.FAILED, error=FAILURE)
    replace(near, lease, child)
    assert state_of(stage, lease.job_id) is S.FAILED


def test_job_fails_with_its_replacement_and_its_error(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    child = replaced(near, lease)
    end(far, child.id, K.FAILED, error=FAILURE)
    job = job_of(stage, lease.job_id)
    assert (job.state, job.reason) == (S.FAILED, Reason.UPSTREAM)
    assert job.error is not None
    assert (job.error.type, job.error.message) == (FAILURE.type, FAILURE.message)


def test_what_waits_for_the_job_waits_for_its_replacement(stage: Stage, near: Site, far: Site) -> None:
    first = new_job()
    second = after(first)
    stage.producer.enqueue([first, second])
    (lease,) = near.claim()
    child = replaced(near, lease)
    assert state_of(stage, second.id) is S.WAITING
    end(far, child.id, result="7")
    assert state_of(stage, second.id) is S.WAITING
    near.settle(take(near, first.id, task=ACCUMULATE), K.COMPLETED, result="7")
    assert payload.decode_call(take(far, second.id).payload)[0] == [7, 1, 2]


def test_errback_of_the_job_is_called_when_its_replacement_fails(stage: Stage, near: Site, far: Site) -> None:
    first = new_job()
    errback = after(first, EdgeKind.ERROR)
    stage.producer.enqueue([first, errback])
    (lease,) = near.claim()
    child = new_job()
    last = after(child)  # a chain, of which the first one fails
    near.consumer.producer(lease).enqueue([child, last])
    replace(near, lease, last)
    end(far, child.id, K.FAILED, error=FAILURE)
    assert state_of(stage, first.id) is S.FAILED
    assert state_of(stage, errback.id) is S.UNASSIGNED


def test_job_that_was_given_a_result_is_not_given_it_again(stage: Stage, near: Site, far: Site) -> None:
    first = new_job()
    second = after(first)
    stage.producer.enqueue([first, second])
    end(near, first.id, result="1")
    lease = take(near, second.id)
    child = replaced(near, lease)
    end(far, child.id, result="9")
    assert payload.decode_call(take(far, second.id, task=ACCUMULATE).payload)[0] == [9, 1, 1, 2]


def test_countdown_of_the_job_is_not_begun_anew(stage: Stage, near: Site, far: Site) -> None:
    first = new_job()
    second = new_job(after=(Edge(upstream=first.id),), runs_in=timedelta(seconds=30))
    stage.producer.enqueue([first, second])
    end(near, first.id)
    stage.pass_time(31)
    stage.tick()
    lease = take(near, second.id)
    child = replaced(near, lease)
    end(far, child.id)
    assert state_of(stage, second.id) is S.UNASSIGNED


def test_replacement_may_be_replaced(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    child = replaced(near, lease)
    second = take(far, child.id)
    grandchild = with_child(far, second)
    replace(far, second, grandchild)
    end(near, grandchild.id, result="3")
    for waiting in (child.id, lease.job_id):
        near.settle(take(near, waiting, task=ACCUMULATE), K.COMPLETED, result="3")
    assert job_of(stage, lease.job_id).result == "3"


def test_replacement_said_again_is_known(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    child = replaced(near, lease)
    before = stage.producer.history(lease.job_id)
    assert replace(near, lease, child).status is SettledStatus.REPLAYED
    assert stage.producer.history(lease.job_id) == before
    assert near.settle(lease, K.COMPLETED).code == "lease_lost"


def test_only_who_holds_the_lease_has_the_job_replaced(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    child = with_child(near, lease)
    assert replace(far, lease, child).status is SettledStatus.REFUSED
    assert state_of(stage, lease.job_id) is S.WORKING
    assert replace(near, lease, child).status is SettledStatus.RECORDED


@pytest.mark.parametrize("whose", ["stranger", "unknown", "itself"])
def test_only_a_child_of_its_own_replaces_a_job(stage: Stage, near: Site, whose: str) -> None:
    lease = begun(stage, near)
    stranger = new_job()
    stage.producer.enqueue([stranger])
    by = {"stranger": stranger.id, "unknown": uuid4(), "itself": lease.job_id}[whose]
    settled = near.settle(lease, K.REPLACED, replaced_by=by)
    assert (settled.status, settled.code) == (SettledStatus.REFUSED, "invalid_transition")
    assert state_of(stage, lease.job_id) is S.WORKING


def test_job_to_be_cancelled_is_cancelled_in_its_stead(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    child = with_child(near, lease)
    stage.producer.cancel(lease.job_id)
    replace(near, lease, child)
    job = job_of(stage, lease.job_id)
    assert (job.state, job.task) == (S.CANCELLED, TASK)


def test_waiting_job_may_be_cancelled(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    child = replaced(near, lease)
    stage.producer.cancel(lease.job_id)
    end(far, child.id)
    assert state_of(stage, lease.job_id) is S.CANCELLED


@pytest.mark.parametrize("dates", [{"repeats_after_complete": timedelta(hours=1)},
                                   {"repeats_after_fail": timedelta(hours=1)}])  # fmt: skip
def test_job_that_repeats_fails_instead(stage: Stage, near: Site, dates: dict[str, timedelta]) -> None:
    lease = begun(stage, near, **dates)
    child = with_child(near, lease)
    assert replace(near, lease, child).status is SettledStatus.RECORDED
    job = job_of(stage, lease.job_id)
    assert (job.state, job.task) == (S.FAILED, TASK)
    assert job.error is not None
    assert "a job that repeats cannot be replaced" in job.error.message


def test_lease_that_comes_home_late_may_be_replaced(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    child = with_child(near, lease)
    stage.pass_time(lease.ttl + 1)
    stage.tick()
    assert replace(near, lease, child).status is SettledStatus.RECORDED
    assert state_of(stage, lease.job_id) is S.WAITING


def test_job_waits_anew_when_its_replacement_is_retried(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    child = replaced(near, lease)
    end(far, child.id, K.FAILED, error=FAILURE)
    stage.retry(child.id)
    assert state_of(stage, lease.job_id) is S.WAITING
    end(far, child.id, result="4")
    assert payload.decode_call(take(far, lease.job_id, task=ACCUMULATE).payload)[0] == [4, 1, 2]


def test_replaced_job_keeps_its_place_in_a_bounded_queue(stage: Stage, near: Site, far: Site) -> None:
    lease = leased(stage, near, queue="small")
    child = replaced(near, lease)
    enqueue(stage, 2, queue="small")
    with pytest.raises(Exception, match="full"):
        enqueue(stage, 1, queue="small")
    end(far, child.id)
    near.settle(take(near, lease.job_id, task=ACCUMULATE), K.COMPLETED)
    enqueue(stage, 1, queue="small")
