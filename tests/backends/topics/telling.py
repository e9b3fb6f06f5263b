"""Telling: what a task says of itself while it runs, who may say it, and how long it holds."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from outsourced.records import ExchangeReply, Lease, OutcomeKind, Owner, Progress, Told
from outsourced.states import State
from tests.backends.stage import TASK, TTL, Site, Stage, begun, enqueue, job_of, leased, outcome, state_of

K = OutcomeKind
HALF = Progress(state="PROGRESS", meta='{"current":1,"total":2}')
WHOLE = Progress(state="PROGRESS", meta='{"current":2,"total":2}')


def told(lease: Lease, progress: Progress = HALF, *, number: int = 1) -> Told:
    return Told(lease_id=lease.id, job_id=lease.job_id, number=number, progress=progress)


def tell(
    site: Site, lease: Lease, progress: Progress = HALF, *, number: int = 1, **more: Any
) -> ExchangeReply:
    return site.say(progress=(told(lease, progress, number=number),), **more)


def shown(stage: Stage, lease: Lease) -> Progress | None:
    return job_of(stage, lease.job_id).progress


def test_progress_is_shown_while_the_job_is_working(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    assert shown(stage, lease) is None
    assert tell(near, lease) == ExchangeReply()
    assert shown(stage, lease) == HALF
    tell(near, lease, WHOLE, number=2)
    assert shown(stage, lease) == WHOLE
    assert state_of(stage, lease.job_id) is State.WORKING


def test_progress_is_no_row_of_history(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    before = stage.producer.history(lease.job_id)
    tell(near, lease)
    assert stage.producer.history(lease.job_id) == before


def test_progress_of_an_earlier_word_comes_too_late(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    tell(near, lease, WHOLE, number=2)
    tell(near, lease, HALF, number=1)
    tell(near, lease, HALF, number=2)
    assert shown(stage, lease) == WHOLE


def test_progress_of_several_jobs_goes_in_one_request(stage: Stage, near: Site) -> None:
    enqueue(stage, 2)
    leases = near.claim()
    near.begin(*leases)
    near.say(progress=(told(leases[0], HALF), told(leases[1], WHOLE)))
    assert [shown(stage, lease) for lease in leases] == [HALF, WHOLE]


def test_progress_before_the_begin_is_shown_from_then_on(stage: Stage, near: Site) -> None:
    lease = leased(stage, near)
    tell(near, lease)
    assert shown(stage, lease) is None
    near.begin(lease)
    assert shown(stage, lease) == HALF


@pytest.mark.parametrize("kind", [K.COMPLETED, K.FAILED, K.RETRY, K.RELEASED, K.REJECTED])
def test_progress_is_gone_once_the_lease_has_ended(stage: Stage, near: Site, kind: OutcomeKind) -> None:
    lease = begun(stage, near)
    tell(near, lease)
    near.settle(lease, kind)
    assert shown(stage, lease) is None
    tell(near, lease, WHOLE, number=2)
    assert shown(stage, lease) is None


def test_progress_is_not_that_of_the_next_try(stage: Stage, near: Site) -> None:
    first = begun(stage, near)
    tell(near, first, number=7)
    near.settle(first, K.RETRY, delay=0.0)
    stage.tick()
    (second,) = near.claim()
    near.begin(second)
    assert shown(stage, second) is None
    tell(near, second, WHOLE, number=1)
    assert shown(stage, second) == WHOLE
    tell(near, first, HALF, number=8)
    assert shown(stage, second) == WHOLE


def test_progress_is_not_that_of_the_job_s_next_life(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    tell(near, lease)
    near.settle(lease, K.COMPLETED)
    stage.retry(lease.job_id)
    assert shown(stage, lease) is None


def test_progress_of_an_outcome_told_at_once_changes_nothing(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    reply = tell(near, lease, outcomes=(outcome(lease, K.COMPLETED, result="3"),))
    assert [one.status for one in reply.settled] == ["recorded"]
    assert (job_of(stage, lease.job_id).result, shown(stage, lease)) == ("3", None)


def test_progress_under_the_lease_of_another_is_not_kept(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    tell(far, lease)
    near.say(progress=(Told(lease_id=uuid4(), job_id=lease.job_id, number=1, progress=HALF),))
    near.say(progress=(Told(lease_id=lease.id, job_id=uuid4(), number=1, progress=HALF),))
    assert shown(stage, lease) is None


def test_progress_of_a_rescued_lease_is_not_kept_until_it_comes_home(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    tell(near, lease)
    stage.pass_time(TTL + 1)
    stage.tick()
    assert shown(stage, lease) is None
    tell(near, lease, WHOLE, number=2)
    assert shown(stage, lease) is None
    near.keep(lease)
    assert shown(stage, lease) == HALF


def test_progress_of_a_lease_that_another_has_by_now_is_not_kept(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    stage.pass_time(TTL + 1)
    for _ in range(2):
        stage.tick()
    (stolen,) = far.claim()
    far.begin(stolen)
    tell(far, stolen, WHOLE)
    tell(near, lease, HALF, number=9)
    assert shown(stage, stolen) == WHOLE


def test_progress_told_with_a_claim_is_kept(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    enqueue(stage)
    reply = tell(near, lease, claim_id=uuid4(), slots=1, tasks=(TASK,))
    assert len(reply.leases) == 1
    assert shown(stage, lease) == HALF


def test_listings_tell_no_progress(stage: Stage, near: Site) -> None:
    owner = Owner(type="Order", id="7")
    lease = begun(stage, near, owner=owner)
    tell(near, lease)
    (job,) = stage.owners.jobs_of(owner)
    assert job.progress is None
