"""The exchange on both databases: claim, begin, settle, replay, rescue, reclaim."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from outsourced.errors import AuthenticationFailed, WorkerLocked
from outsourced.records import CommandKind, OutcomeKind, SettledStatus, WorkerIdentity
from outsourced.sql import maintenance, queues, workers
from outsourced.sql.backend import SqlBackend
from outsourced.states import Event, State
from tests.sql.conftest import FAILURE, TASK, Site, held, new_job, outcome, pass_time, state_of


def test_complete_is_recorded_once_with_its_history(backend: SqlBackend, near: Site) -> None:
    job = new_job()
    backend.enqueue([job])
    (lease,) = near.claim()
    assert (lease.job_id, lease.attempt, lease.task, lease.queue) == (job.id, 1, "tasks.add", "plain")

    (first,) = near.settle(lease, OutcomeKind.COMPLETED, result="3").settled
    (again,) = near.settle(lease, OutcomeKind.COMPLETED, result="3").settled

    assert (first.status, again.status) == (SettledStatus.RECORDED, SettledStatus.REPLAYED)
    stored = backend.job(job.id)
    assert stored is not None
    assert (stored.state, stored.result, stored.attempt) == (State.COMPLETED, "3", 1)
    path = [(row.seq, row.from_state, row.to_state, row.event) for row in backend.history(job.id)]
    assert path == [
        (1, None, State.UNASSIGNED, Event.ENQUEUE),
        (2, State.UNASSIGNED, State.ASSIGNED, Event.CLAIM),
        (3, State.ASSIGNED, State.COMPLETED, Event.COMPLETE),
    ]


def test_another_outcome_of_the_same_lease_is_refused(backend: SqlBackend, near: Site) -> None:
    job = new_job()
    backend.enqueue([job])
    (lease,) = near.claim()
    near.settle(lease, OutcomeKind.COMPLETED, result="3")

    (settled,) = near.settle(lease, OutcomeKind.FAILED, error=FAILURE).settled

    assert (settled.status, settled.code) == (SettledStatus.REFUSED, "lease_lost")
    assert state_of(backend, job.id) is State.COMPLETED


def test_outcome_for_a_foreign_lease_looks_like_an_absent_one(
    backend: SqlBackend, near: Site, far: Site
) -> None:
    job = new_job()
    backend.enqueue([job])
    (lease,) = near.claim()

    (foreign,) = far.settle(lease, OutcomeKind.COMPLETED, result="3").settled

    assert (foreign.status, foreign.code, foreign.reason) == (SettledStatus.REFUSED, "not_found", None)
    assert state_of(backend, job.id) is State.ASSIGNED


def test_claim_with_the_same_id_gets_the_same_leases(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job(), new_job()])
    claim_id = uuid4()

    first = near.claim(claim_id=claim_id)
    backend.enqueue([new_job()])
    again = near.claim(claim_id=claim_id)

    assert len(first) == 2
    assert [lease.id for lease in again] == [lease.id for lease in first]


def test_claim_goes_by_priority_then_age(backend: SqlBackend, near: Site) -> None:
    low, first, second = new_job(priority=5), new_job(), new_job()
    urgent = new_job(priority=-1)
    backend.enqueue([low, first, second])
    backend.enqueue([urgent])

    order = [near.claim(slots=1)[0].job_id for _ in range(4)]

    assert order == [urgent.id, first.id, second.id, low.id]


def test_claim_gives_only_known_tasks_of_unpaused_queues(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job(), new_job(queue="small")])
    assert not near.say(claim_id=uuid4(), slots=5, tasks=("tasks.other",)).leases

    queues.pause(backend, "plain", actor="admin:test")
    assert [lease.queue for lease in near.claim()] == ["small"]


def test_retry_ends_as_failed_when_its_budget_is_spent(backend: SqlBackend, near: Site) -> None:
    job = new_job(max_retries=1)
    backend.enqueue([job])
    (lease,) = near.claim()
    near.settle(lease, OutcomeKind.RETRY, error=FAILURE, delay=10)
    assert state_of(backend, job.id) is State.RETRYING
    assert maintenance.promote(backend) == 0

    pass_time(backend, 11)
    assert maintenance.promote(backend) == 1
    (lease,) = near.claim()
    assert lease.failures == 1
    near.settle(lease, OutcomeKind.RETRY, error=FAILURE, delay=10)

    stored = backend.job(job.id)
    assert stored is not None
    assert (stored.state, stored.reason, stored.error) == (State.FAILED, "retries_exhausted", FAILURE)


def test_cancel_of_a_running_job_is_never_run_again(backend: SqlBackend, near: Site) -> None:
    job = new_job(max_retries=None)
    backend.enqueue([job])
    (lease,) = near.claim()
    near.begin(lease)
    backend.cancel(job.id)

    (command,) = near.say().commands
    assert (command.kind, command.lease_id) == (CommandKind.CANCEL, lease.id)
    near.settle(lease, OutcomeKind.RETRY, error=FAILURE, delay=0)

    assert state_of(backend, job.id) is State.CANCELLED


def test_cancel_after_completion_stays_completed(backend: SqlBackend, near: Site) -> None:
    job = new_job()
    backend.enqueue([job])
    (lease,) = near.claim()
    near.settle(lease, OutcomeKind.COMPLETED, result="3")

    cancelled = backend.cancel(job.id)

    assert cancelled is not None
    assert cancelled.state is State.COMPLETED


@pytest.mark.parametrize("begun", [False, True])
def test_rescued_lease_comes_home_while_nobody_else_has_the_job(
    backend: SqlBackend, near: Site, *, begun: bool
) -> None:
    job = new_job()
    backend.enqueue([job])
    (lease,) = near.claim()
    if begun:
        near.begin(lease)
    pass_time(backend, 61)
    assert maintenance.rescue(backend) == 1
    after_rescue = backend.job(job.id)
    assert after_rescue is not None
    assert (after_rescue.state, after_rescue.losses) == (
        (State.RETRYING, 1) if begun else (State.UNASSIGNED, 0)
    )

    (settled,) = near.settle(lease, OutcomeKind.COMPLETED, result="3").settled

    assert settled.status is SettledStatus.RECORDED
    stored = backend.job(job.id)
    assert stored is not None
    assert (stored.state, stored.losses, stored.attempt) == (State.COMPLETED, 0, 1)


def test_outcome_after_somebody_else_claimed_is_refused(backend: SqlBackend, near: Site, far: Site) -> None:
    job = new_job()
    backend.enqueue([job])
    (lease,) = near.claim()
    pass_time(backend, 61)
    maintenance.rescue(backend)
    (newer,) = far.claim()

    (late,) = near.settle(lease, OutcomeKind.COMPLETED, result='"late"').settled
    (won,) = far.settle(newer, OutcomeKind.COMPLETED, result='"won"').settled

    assert (late.status, late.code) == (SettledStatus.REFUSED, "lease_lost")
    assert won.status is SettledStatus.RECORDED
    stored = backend.job(job.id)
    assert stored is not None
    assert stored.result == '"won"'


def test_losses_beyond_the_budget_fail_the_job(backend: SqlBackend, near: Site) -> None:
    job = new_job(max_losses=1)
    backend.enqueue([job])
    for _ in range(2):
        (lease,) = near.claim()
        near.begin(lease)
        pass_time(backend, 61)
        maintenance.rescue(backend)
        maintenance.promote(backend)

    stored = backend.job(job.id)
    assert stored is not None
    assert (stored.state, stored.reason) == (State.FAILED, "lost")


def test_job_with_a_lost_delivery_goes_out_alone_and_asks_to_confirm(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job()])
    near.claim()
    pass_time(backend, 61)
    maintenance.rescue(backend)
    backend.enqueue([new_job()])

    (alone,) = near.claim()
    (other,) = near.claim()

    assert (alone.confirm, other.confirm) == (True, False)


def test_heartbeat_keeps_a_lease_and_tells_of_a_lost_one(backend: SqlBackend, near: Site, far: Site) -> None:
    backend.enqueue([new_job()])
    (lease,) = near.claim()
    pass_time(backend, 50)
    assert not near.say(held=(held(lease),)).commands
    pass_time(backend, 50)
    assert maintenance.rescue(backend) == 0
    pass_time(backend, 20)
    assert maintenance.rescue(backend) == 1
    far.claim()

    (command,) = near.say(held=(held(lease),)).commands
    assert (command.kind, command.lease_id) == (CommandKind.LOST, lease.id)


def test_lost_process_spends_a_loss_of_its_job_alone(backend: SqlBackend, near: Site) -> None:
    victim, mate = new_job(), new_job()
    backend.enqueue([victim, mate])
    first, second = near.claim()

    near.say(
        outcomes=(
            outcome(first, OutcomeKind.LOST, error=FAILURE, reason="process died: signal 9"),
            outcome(second, OutcomeKind.COMPLETED, result="3"),
        )
    )

    lost = backend.job(victim.id)
    assert lost is not None
    assert (lost.state, lost.losses, lost.attempt) == (State.RETRYING, 1, 1)
    assert state_of(backend, mate.id) is State.COMPLETED


def test_locked_worker_may_neither_claim_nor_settle(backend: SqlBackend, near: Site) -> None:
    job = new_job()
    backend.enqueue([job])
    (lease,) = near.claim()

    workers.lock(backend, "near", actor="admin:test")

    with pytest.raises(WorkerLocked):
        near.settle(lease, OutcomeKind.COMPLETED, result="3")
    assert state_of(backend, job.id) is State.UNASSIGNED


def test_token_of_an_older_epoch_is_void(backend: SqlBackend) -> None:
    site = Site(backend, WorkerIdentity(id=1, name="near", epoch=7))
    with pytest.raises(AuthenticationFailed):
        site.claim()


def test_expired_job_is_never_claimed(backend: SqlBackend, near: Site) -> None:
    job = new_job(expires_in=timedelta(seconds=5))
    backend.enqueue([job])
    pass_time(backend, 6)

    assert not near.claim()
    assert maintenance.expire(backend) == 1
    assert state_of(backend, job.id) is State.EXPIRED


def test_requeue_gives_an_ended_job_new_budgets(backend: SqlBackend, near: Site) -> None:
    job = new_job(max_retries=0)
    backend.enqueue([job])
    (lease,) = near.claim()
    near.settle(lease, OutcomeKind.RETRY, error=FAILURE, delay=0)
    assert state_of(backend, job.id) is State.FAILED

    again = backend.requeue(job.id)

    assert (again.state, again.failures, again.attempt) == (State.UNASSIGNED, 0, 1)


def test_requeued_job_that_returns_nothing_has_no_result_of_before(backend: SqlBackend, near: Site) -> None:
    job = new_job()
    backend.enqueue([job])
    for result in ("3", None):
        (lease,) = near.claim()
        near.settle(lease, OutcomeKind.COMPLETED, result=result)
        found = backend.job(job.id)
        assert found is not None
        assert found.result == result
        backend.requeue(job.id)


def test_old_and_new_lease_of_one_job_in_one_message_get_their_own_answers(
    backend: SqlBackend, near: Site
) -> None:
    job = new_job()
    backend.enqueue([job])
    (old,) = near.claim()
    pass_time(backend, 61)
    maintenance.rescue(backend)
    (new,) = near.claim()

    reply = near.say(
        outcomes=(
            outcome(old, OutcomeKind.COMPLETED, result='"old"'),
            outcome(new, OutcomeKind.COMPLETED, result='"new"'),
        )
    )

    assert {settled.lease_id: settled.status for settled in reply.settled} == {
        old.id: SettledStatus.REFUSED,
        new.id: SettledStatus.RECORDED,
    }
    stored = backend.job(job.id)
    assert stored is not None
    assert stored.result == '"new"'


def test_outcome_that_comes_home_with_a_claim_is_not_claimed_anew(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job() for _ in range(3)])
    leases = near.claim()
    for lease in leases:
        near.begin(lease)
    pass_time(backend, 100)
    maintenance.rescue(backend)
    pass_time(backend, 100)
    maintenance.promote(backend)  # anybody's now, a worker's night off the net later
    reply = near.say(
        claim_id=uuid4(),
        slots=10,
        tasks=(TASK,),
        outcomes=tuple(outcome(lease, OutcomeKind.COMPLETED) for lease in leases),
    )
    assert [settled.status for settled in reply.settled] == [SettledStatus.RECORDED] * 3
    assert reply.leases == ()
    assert {state_of(backend, lease.job_id) for lease in leases} == {State.COMPLETED}
