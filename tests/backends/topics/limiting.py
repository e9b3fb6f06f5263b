"""Rate limits: what is over one stays where it is, in order, and nothing behind it waits for it."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from outsourced.errors import UnknownQueue
from outsourced.records import Lease, OutcomeKind
from outsourced.states import Event, State
from tests.backends.stage import TASK, Site, Stage, enqueue, events_of, job_of, leased, state_of

OTHER = "tasks.other"


def claim_both(site: Site, slots: int = 10) -> list[Lease]:
    return list(site.say(claim_id=uuid4(), slots=slots, tasks=(TASK, OTHER)).leases)


def ids(leases: list[Lease] | tuple[Lease, ...]) -> list[object]:
    return [lease.job_id for lease in leases]


def test_limited_task_is_begun_once_a_period_by_all_workers(stage: Stage, near: Site, far: Site) -> None:
    first, second, third = enqueue(stage, 3)
    stage.limit_task(TASK, "6/m")
    assert ids(near.claim()) == [first]
    assert far.claim() == near.claim() == ()
    stage.pass_time(9.5)
    assert far.claim() == ()
    stage.pass_time(0.6)
    assert ids(far.claim()) == [second]
    stage.pass_time(30)
    assert ids(near.claim()) == [third]


def test_time_in_which_nothing_was_begun_is_not_made_up_for(stage: Stage, near: Site) -> None:
    enqueue(stage, 3)
    stage.limit_task(TASK, "1/m")
    stage.pass_time(600)
    assert (len(near.claim()), len(near.claim())) == (1, 0)


def test_fast_limit_gives_a_tenth_of_a_second_at_once(stage: Stage, near: Site) -> None:
    enqueue(stage, 30)
    stage.limit_task(TASK, "100/s")
    assert len(near.claim(30)) == 10
    stage.pass_time(30)
    assert len(near.claim(30)) == 10


def test_limited_jobs_stay_ready_without_a_trace(stage: Stage, near: Site) -> None:
    stage.limit_task(TASK, "1/h")
    _, over = enqueue(stage, 2)
    near.claim()
    near.claim()
    assert state_of(stage, over) is State.UNASSIGNED
    assert events_of(stage, over) == [Event.ENQUEUE]


def test_jobs_behind_limited_ones_are_claimed_meanwhile(stage: Stage, near: Site) -> None:
    stage.limit_task(TASK, "1/h")
    limited = enqueue(stage, 50, priority=1)
    others = enqueue(stage, 3, task=OTHER, priority=2)
    assert ids(claim_both(near, 2)) == [limited[0], others[0]]
    assert ids(claim_both(near)) == others[1:]


def test_limit_of_a_task_holds_across_queues(stage: Stage, near: Site) -> None:
    stage.limit_task(TASK, "2/m")
    (first,) = enqueue(stage, queue="small")
    (second,) = enqueue(stage)
    assert ids(near.claim()) == [first]
    stage.pass_time(31)
    assert ids(near.claim()) == [second]


def test_limit_of_a_queue_holds_across_tasks(stage: Stage, near: Site) -> None:
    stage.limit_queue("small", "2/m")
    (first,) = enqueue(stage, queue="small", task=OTHER)
    (second,) = enqueue(stage, queue="small")
    (elsewhere,) = enqueue(stage)
    assert ids(claim_both(near)) == [first, elsewhere]
    stage.pass_time(31)
    assert ids(claim_both(near)) == [second]


def test_both_limits_must_allow_a_job(stage: Stage, near: Site) -> None:
    stage.limit_queue("small", "1/m")
    stage.limit_task(TASK, "2/m")
    enqueue(stage, 3, queue="small")
    enqueue(stage, 2)
    assert [lease.queue for lease in near.claim()] == ["small"]
    stage.pass_time(31)
    assert [lease.queue for lease in near.claim()] == ["plain"]
    stage.pass_time(30)
    assert [lease.queue for lease in near.claim()] == ["small"]


def test_replayed_claim_spends_once(stage: Stage, near: Site) -> None:
    stage.limit_task(TASK, "6/m")
    first, second = enqueue(stage, 2)
    claim_id = uuid4()
    assert ids(near.claim(claim_id=claim_id)) == ids(near.claim(claim_id=claim_id)) == [first]
    stage.pass_time(10.1)
    assert ids(near.claim()) == [second]


def test_permit_of_a_lost_job_is_spent(stage: Stage, near: Site, far: Site) -> None:
    stage.limit_task(TASK, "1/m")
    lease = leased(stage, near)
    near.settle(lease, OutcomeKind.RELEASED)
    assert far.claim() == ()
    stage.pass_time(61)
    assert ids(far.claim()) == [lease.job_id]


def test_ended_limit_holds_no_more(stage: Stage, near: Site) -> None:
    stage.limit_task(TASK, "1/h")
    enqueue(stage, 3)
    assert len(near.claim()) == 1
    stage.limit_task(TASK, 0)
    assert len(near.claim()) == 2


def test_faster_limit_holds_from_its_own_time_on(stage: Stage, near: Site) -> None:
    stage.limit_task(TASK, "1/h")
    enqueue(stage, 2)
    near.claim()
    stage.limit_task(TASK, "1/m")
    assert near.claim() == ()
    stage.pass_time(61)
    assert len(near.claim()) == 1


def test_expired_jobs_spend_nothing(stage: Stage, near: Site) -> None:
    stage.limit_task(TASK, "1/m")
    (job_id,) = enqueue(stage, expires_in=timedelta(seconds=5))
    (later,) = enqueue(stage)
    stage.pass_time(6)
    assert ids(near.claim()) == [later]
    stage.tick()
    assert job_of(stage, job_id).state is State.EXPIRED


@pytest.mark.parametrize("limit", ["10/d", "often", "-1/s", float("nan"), "1/m/s"])
def test_limit_that_is_none_is_refused(stage: Stage, limit: str | float) -> None:
    with pytest.raises(ValueError, match="written 10/s"):
        stage.limit_task(TASK, limit)


def test_limit_of_an_unknown_queue_is_refused(stage: Stage) -> None:
    with pytest.raises(UnknownQueue):
        stage.limit_queue("nowhere", "1/s")
