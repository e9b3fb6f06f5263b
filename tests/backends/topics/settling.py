"""Settling: what each outcome makes of a job, who may say it, and what it is when said again."""

from __future__ import annotations

from uuid import uuid4

import pytest

from outsourced import payload
from outsourced.records import Changed, Lease, OutcomeKind, SettledStatus
from outsourced.states import Reason, State
from tests.backends.stage import FAILURE, Site, Stage, begun, enqueue, events_of, job_of, leased, outcome

K, S = OutcomeKind, State
RECORDED, REPLAYED, REFUSED = SettledStatus.RECORDED, SettledStatus.REPLAYED, SettledStatus.REFUSED

#: outcome of a begun job → its state and reason
ENDS = {
    K.COMPLETED: (S.COMPLETED, None),
    K.IGNORED: (S.COMPLETED, Reason.IGNORED),
    K.FAILED: (S.FAILED, None),
    K.REJECTED: (S.FAILED, Reason.REJECTED),
    K.RETRY: (S.RETRYING, None),
    K.RELEASED: (S.UNASSIGNED, None),
    K.LOST: (S.RETRYING, None),
}


@pytest.mark.parametrize("kind", ENDS)
def test_outcome_ends_the_lease(stage: Stage, near: Site, kind: OutcomeKind) -> None:
    lease = begun(stage, near)
    settled = near.settle(lease, kind)
    assert (settled.lease_id, settled.status, settled.code) == (lease.id, RECORDED, None)
    job = job_of(stage, lease.job_id)
    assert (job.state, job.reason) == ENDS[kind]


@pytest.mark.parametrize("kind", ENDS)
def test_outcome_said_again_is_known(stage: Stage, near: Site, kind: OutcomeKind) -> None:
    lease = begun(stage, near)
    near.settle(lease, kind)
    before = stage.producer.history(lease.job_id)
    assert near.settle(lease, kind).status is REPLAYED
    assert stage.producer.history(lease.job_id) == before


@pytest.mark.parametrize("kind", ENDS)
def test_another_outcome_afterwards_is_refused(stage: Stage, near: Site, kind: OutcomeKind) -> None:
    lease = begun(stage, near)
    near.settle(lease, kind)
    other = K.FAILED if kind is K.COMPLETED else K.COMPLETED
    settled = near.settle(lease, other)
    assert (settled.status, settled.code) == (REFUSED, "lease_lost")
    assert settled.reason == str(stage.producer.history(lease.job_id)[-1].event) + (
        f" ({ENDS[kind][1]})" if ENDS[kind][1] else ""
    )
    assert job_of(stage, lease.job_id).state is ENDS[kind][0]


@pytest.mark.parametrize("kind", [K.COMPLETED, K.FAILED, K.RETRY])
def test_end_implies_the_begin_it_did_not_report(stage: Stage, near: Site, kind: OutcomeKind) -> None:
    lease = leased(stage, near)
    near.settle(lease, kind, ran_for=2.0)
    job = job_of(stage, lease.job_id)
    assert job.attempt == 1
    assert job.begun_at is not None
    assert job.begun_at < stage.producer.history(job.id)[-1].at


def test_failure_with_its_reason_said_again_is_known(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    said = {"error": FAILURE, "reason": Reason.RETRIES_EXHAUSTED.value}
    assert near.settle(lease, K.FAILED, **said).status is RECORDED
    assert job_of(stage, lease.job_id).reason == Reason.RETRIES_EXHAUSTED
    assert near.settle(lease, K.FAILED, **said).status is REPLAYED
    assert near.settle(lease, K.FAILED, error=FAILURE).status is REFUSED


CHANGES = Changed(payload='{"args":[7],"kwargs":{}}', priority=5, expires_in=90.0)


def test_retry_may_bring_other_arguments(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    assert near.settle(lease, K.RETRY, delay=0.0, changes=CHANGES).status is RECORDED
    assert near.settle(lease, K.RETRY, delay=0.0, changes=CHANGES).status is REPLAYED
    job = job_of(stage, lease.job_id)
    assert (job.payload, job.priority) == (CHANGES.payload, 5)
    assert job.expires_at is not None
    stage.tick()
    (again,) = near.claim()
    assert (again.job_id, again.priority) == (lease.job_id, 5)
    assert payload.decode_call(again.payload).args == [7]


def test_retry_without_changes_keeps_all(stage: Stage, near: Site) -> None:
    lease = begun(stage, near, priority=2)
    before = job_of(stage, lease.job_id)
    near.settle(lease, K.RETRY, changes=Changed())
    job = job_of(stage, lease.job_id)
    assert (job.payload, job.priority, job.expires_at) == (before.payload, 2, None)


def test_retry_that_would_come_too_late_by_its_new_date_expires(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    near.settle(lease, K.RETRY, delay=60.0, changes=Changed(expires_in=30.0))
    assert job_of(stage, lease.job_id).state is S.EXPIRED


def test_retry_with_none_left_leaves_the_arguments_that_failed(stage: Stage, near: Site) -> None:
    lease = begun(stage, near, max_retries=0)
    before = job_of(stage, lease.job_id).payload
    near.settle(lease, K.RETRY, error=FAILURE, changes=CHANGES)
    job = job_of(stage, lease.job_id)
    assert (job.state, job.payload) == (S.FAILED, before)


def test_result_is_kept(stage: Stage, near: Site) -> None:
    lease = leased(stage, near)
    near.settle(lease, K.COMPLETED, result='{"a":1}')
    assert job_of(stage, lease.job_id).result == '{"a":1}'


def test_error_is_kept_in_full(stage: Stage, near: Site) -> None:
    lease = leased(stage, near)
    near.settle(lease, K.FAILED, error=FAILURE)
    assert job_of(stage, lease.job_id).error == FAILURE
    assert stage.producer.history(lease.job_id)[-1].error == FAILURE


def test_many_outcomes_of_one_exchange_are_each_answered(stage: Stage, near: Site) -> None:
    enqueue(stage, 3)
    leases = near.claim()
    kinds = (K.COMPLETED, K.FAILED, K.RELEASED)
    said = tuple(outcome(lease, kind) for lease, kind in zip(leases, kinds, strict=True))
    reply = near.say(outcomes=said)
    assert {one.lease_id: one.status for one in reply.settled} == dict.fromkeys(
        [lease.id for lease in leases], RECORDED
    )


def test_outcome_of_the_lease_of_another_is_refused_as_unknown(stage: Stage, near: Site, far: Site) -> None:
    lease = begun(stage, near)
    settled = far.settle(lease, K.COMPLETED)
    assert (settled.status, settled.code) == (REFUSED, "not_found")
    assert job_of(stage, lease.job_id).state is S.WORKING


def test_outcome_of_a_lease_that_never_was_is_refused_alike(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    for wrong in ({"id": uuid4()}, {"id": uuid4(), "job_id": uuid4()}):
        invented = Lease(**{name: getattr(lease, name) for name in lease.__slots__} | wrong)
        settled = near.settle(invented, K.COMPLETED)
        assert (settled.status, settled.code) == (REFUSED, "not_found")
    assert job_of(stage, lease.job_id).state is S.WORKING


def test_release_before_the_begin_spends_nothing(stage: Stage, near: Site, far: Site) -> None:
    lease = leased(stage, near)
    near.settle(lease, K.RELEASED, ran_for=None)
    job = job_of(stage, lease.job_id)
    assert (job.state, job.attempt, job.failures, job.losses) == (S.UNASSIGNED, 0, 0, 0)
    (again,) = far.claim()
    assert (again.job_id, again.attempt, again.confirm) == (lease.job_id, 1, False)


def test_cancelled_is_no_outcome_unless_it_was_asked_for(stage: Stage, near: Site) -> None:
    lease = begun(stage, near)
    settled = near.settle(lease, K.CANCELLED)
    assert (settled.status, settled.code) == (REFUSED, "invalid_transition")
    assert job_of(stage, lease.job_id).state is S.WORKING


def test_expired_is_no_outcome_of_a_job_that_cannot_expire(stage: Stage, near: Site) -> None:
    lease = leased(stage, near)
    settled = near.settle(lease, K.EXPIRED, ran_for=None)
    assert (settled.status, settled.code) == (REFUSED, "invalid_transition")


def test_lost_process_spends_a_loss(stage: Stage, near: Site) -> None:
    lease = leased(stage, near, max_losses=1)
    near.settle(lease, K.LOST, error=FAILURE, reason="process died: signal 9 (SIGKILL)")
    job = job_of(stage, lease.job_id)
    assert (job.state, job.attempt, job.losses, job.error) == (S.RETRYING, 1, 1, FAILURE)
    assert job.reason == "process died: signal 9 (SIGKILL)"
    stage.tick()
    (again,) = near.claim()
    near.settle(again, K.LOST)
    job = job_of(stage, lease.job_id)
    assert (job.state, job.reason, job.losses) == (S.FAILED, Reason.LOST, 2)


def test_retry_waits_for_its_time_and_counts_the_failure(stage: Stage, near: Site) -> None:
    lease = leased(stage, near)
    near.settle(lease, K.RETRY, delay=30.0, error=FAILURE)
    job = job_of(stage, lease.job_id)
    assert (job.state, job.failures, job.error) == (S.RETRYING, 1, FAILURE)
    stage.pass_time(29)
    stage.tick()
    assert near.claim() == ()
    stage.pass_time(2)
    stage.tick()
    (again,) = near.claim()
    assert (again.job_id, again.attempt, again.failures) == (lease.job_id, 2, 1)
    near.settle(again, K.COMPLETED)
    assert events_of(stage, lease.job_id) == [
        "enqueue", "claim", "fail", "promote", "claim", "complete",
    ]  # fmt: skip


def test_retry_beyond_the_budget_fails(stage: Stage, near: Site) -> None:
    lease = leased(stage, near, max_retries=1)
    near.settle(lease, K.RETRY, delay=0.0)
    stage.tick()
    (again,) = near.claim()
    near.settle(again, K.RETRY, delay=0.0, error=FAILURE)
    job = job_of(stage, lease.job_id)
    assert (job.state, job.reason, job.failures) == (S.FAILED, Reason.RETRIES_EXHAUSTED, 2)
    assert near.settle(again, K.RETRY, delay=0.0, error=FAILURE).status is REPLAYED


def test_retry_may_name_a_budget_of_its_own(stage: Stage, near: Site) -> None:
    lease = leased(stage, near, max_retries=5)
    near.settle(lease, K.RETRY, delay=0.0, max_retries=0)
    assert job_of(stage, lease.job_id).state is S.FAILED


def test_retry_without_a_budget_goes_on(stage: Stage, near: Site) -> None:
    lease = leased(stage, near, max_retries=None)
    for _ in range(5):
        near.settle(lease, K.RETRY, delay=0.0)
        stage.tick()
        (lease,) = near.claim()
    assert job_of(stage, lease.job_id).failures == 5
