"""Replacing, where something is tried again, or waits for more than its replacement."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from outsourced import payload
from outsourced.following import ACCUMULATE
from outsourced.records import Edge, EdgeKind, OutcomeKind, SettledStatus
from outsourced.states import Event, State
from tests.backends.stage import FAILURE, Site, Stage, begun, events_of, leased, new_job, state_of
from tests.backends.topics.replacing import after, end, replace, replaced, take, with_child

K, S = OutcomeKind, State


def fail(site: Site, job_id: UUID) -> None:
    end(site, job_id, K.FAILED, error=FAILURE)


def test_retry_far_up_a_replacement_is_waited_for_again(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    child = new_job()
    last = after(child)
    near.consumer.producer(lease).enqueue([child, last])
    replace(near, lease, last)
    fail(far, child.id)
    stage.retry(child.id)
    assert state_of(stage, lease.job_id) is S.WAITING
    end(far, child.id, result="1")
    end(far, last.id, result="2")
    assert payload.decode_call(take(far, lease.job_id, task=ACCUMULATE).payload)[0] == [2, 1, 2]


def test_retry_of_a_replacement_s_replacement_is_waited_for_again(
    stage: Stage, near: Site, far: Site
) -> None:
    lease = begun(stage, near)
    child = replaced(near, lease)
    second = take(far, child.id)
    grandchild = with_child(far, second)
    replace(far, second, grandchild)
    fail(near, grandchild.id)
    stage.retry(grandchild.id)
    assert state_of(stage, lease.job_id) is S.WAITING
    end(near, grandchild.id, result="3")
    near.settle(take(near, child.id, task=ACCUMULATE), K.COMPLETED, result="3")
    assert payload.decode_call(take(far, lease.job_id, task=ACCUMULATE).payload)[0] == [3, 1, 2]


def test_job_is_no_child_of_its_replacement(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    child = replaced(near, lease)
    assert lease.job_id not in stage.producer.children(child.id)


@pytest.mark.parametrize("kind", [K.COMPLETED, K.FAILED])
def test_replaced_job_waits_no_more_for_what_it_was_given(
    stage: Stage, near: Site, far: Site, kind: OutcomeKind
) -> None:
    first = new_job()
    second = after(first)
    stage.producer.enqueue([first, second])
    end(near, first.id, result="1")
    lease = take(near, second.id)
    child = replaced(near, lease)
    stage.retry(first.id)
    end(near, first.id, kind, error=FAILURE, result="2")
    assert state_of(stage, second.id) is S.WAITING
    end(far, child.id, result="3")
    assert payload.decode_call(take(far, second.id, task=ACCUMULATE).payload)[0] == [3, 1, 1, 2]


@pytest.mark.parametrize("kind", [K.COMPLETED, K.FAILED])
def test_replaced_errback_goes_on_whatever_becomes_of_the_failure(
    stage: Stage, near: Site, far: Site, kind: OutcomeKind
) -> None:
    first = new_job()
    errback = after(first, EdgeKind.ERROR)
    stage.producer.enqueue([first, errback])
    fail(near, first.id)
    lease = take(near, errback.id)
    child = replaced(near, lease)
    stage.retry(first.id)
    end(near, first.id, kind, error=FAILURE)
    assert state_of(stage, errback.id) is S.WAITING
    end(far, child.id, result="3")
    assert state_of(stage, errback.id) is S.UNASSIGNED


def test_replaced_errback_that_has_ended_is_not_called_anew(stage: Stage, near: Site, far: Site) -> None:
    """What it would run by now is not its own task: it would give the old result once more."""
    first = new_job()
    errback = after(first, EdgeKind.ERROR)
    stage.producer.enqueue([first, errback])
    fail(near, first.id)
    lease = take(near, errback.id)
    child = replaced(near, lease)
    end(far, child.id, result="3")
    near.settle(take(near, errback.id, task=ACCUMULATE), K.COMPLETED, result="3")
    stage.retry(first.id)
    assert state_of(stage, errback.id) is S.COMPLETED
    fail(near, first.id)
    assert state_of(stage, errback.id) is S.COMPLETED


def test_errback_of_two_goes_on_when_one_is_replaced_by_what_had_expired(
    stage: Stage, near: Site, far: Site
) -> None:
    first, other = new_job(), new_job()
    errback = new_job(after=tuple(Edge(upstream=one.id, kind=EdgeKind.ERROR) for one in (first, other)))
    stage.producer.enqueue([first, other, errback])
    lease = take(near, first.id)
    child = with_child(near, lease, expires_in=timedelta(seconds=1))
    stage.pass_time(2)
    stage.tick()
    replace(near, lease, child)
    assert (state_of(stage, first.id), state_of(stage, errback.id)) == (S.FAILED, S.WAITING)
    end(far, other.id)
    assert state_of(stage, errback.id) is S.CANCELLED


def test_replaced_job_does_not_expire_while_it_waits(stage: Stage, near: Site, far: Site) -> None:
    first = new_job()
    second = new_job(after=(Edge(upstream=first.id),), expires_in=timedelta(seconds=30))
    stage.producer.enqueue([first, second])
    end(near, first.id)
    lease = take(near, second.id)
    near.begin(lease)
    child = replaced(near, lease)
    stage.pass_time(31)
    stage.tick()
    assert state_of(stage, second.id) is S.WAITING
    end(far, child.id)
    stage.pass_time(31)
    stage.tick()
    assert state_of(stage, second.id) is S.UNASSIGNED


def test_job_is_not_replaced_twice_by_the_same_child(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    child = replaced(near, lease)
    end(far, child.id)
    again = take(near, lease.job_id, task=ACCUMULATE)
    settled = replace(near, again, child)
    assert (settled.status, settled.code) == (SettledStatus.REFUSED, "invalid_transition")


def test_chain_of_replacements_fails_as_one(stage: Stage, near: Site) -> None:
    lease = top = leased(stage, near)
    for _ in range(40):
        child = with_child(near, lease)
        replace(near, lease, child)
        lease = take(near, child.id)
    near.settle(lease, K.FAILED, error=FAILURE)
    assert state_of(stage, top.job_id) is S.FAILED
    assert events_of(stage, top.job_id)[-2:] == [Event.REPLACE, Event.FAIL]
