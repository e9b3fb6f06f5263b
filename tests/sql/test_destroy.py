"""What ends for good: queues emptied and destroyed, accounts destroyed."""

from __future__ import annotations

from uuid import uuid4

import pytest

from outsourced.errors import AuthenticationFailed, InvalidTransition, NotFound, UnknownQueue
from outsourced.records import OutcomeKind
from outsourced.sql import cancelling, overview, queues, workers
from outsourced.sql.backend import SqlBackend
from outsourced.states import State
from tests.sql.conftest import Site, new_job, state_of

ACTOR = "admin:test"


def test_empty_cancels_what_waits_and_leaves_what_is_held(backend: SqlBackend, near: Site) -> None:
    jobs = [new_job() for _ in range(3)]
    later, elsewhere = new_job(runs_in=None, priority=5), new_job(queue="small")
    backend.enqueue([*jobs, later, elsewhere])
    (lease, *_) = near.claim(slots=1)
    assert queues.empty(backend, "plain", actor=ACTOR) == (3, 0)
    assert state_of(backend, lease.job_id) is State.ASSIGNED
    assert state_of(backend, elsewhere.id) is State.UNASSIGNED
    near.settle(lease, OutcomeKind.COMPLETED)
    assert state_of(backend, lease.job_id) is State.COMPLETED


def test_empty_can_have_what_is_held_stopped(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job()])
    (lease,) = near.claim()
    assert queues.empty(backend, "plain", held="cancel", actor=ACTOR) == (0, 1)
    assert [command.lease_id for command in near.say().commands] == [lease.id]
    near.settle(lease, OutcomeKind.CANCELLED)
    assert state_of(backend, lease.job_id) is State.CANCELLED


def test_empty_goes_on_beyond_one_batch(
    backend: SqlBackend, near: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "BATCH", 4)
    backend.enqueue([new_job() for _ in range(11)])
    assert queues.empty(backend, "plain", actor=ACTOR).cancelled == 11
    assert not near.claim()


def test_emptied_queue_can_be_filled_again(backend: SqlBackend) -> None:
    backend.enqueue([new_job(queue="small") for _ in range(3)])
    queues.empty(backend, "small", actor=ACTOR)
    backend.enqueue([new_job(queue="small") for _ in range(3)])
    counts = {info.name: info.counts for info in overview.queues(backend.database)}
    assert counts["small"] == {State.CANCELLED: 3, State.UNASSIGNED: 3}


def test_destroy_refuses_a_queue_with_live_jobs(backend: SqlBackend) -> None:
    backend.enqueue([new_job(queue="small")])
    with pytest.raises(InvalidTransition, match="queue empty small"):
        queues.destroy(backend, "small", actor=ACTOR)


def test_destroy_forgets_the_queue_and_its_ended_jobs(backend: SqlBackend, near: Site) -> None:
    job = new_job(queue="small")
    backend.enqueue([job])
    (lease,) = near.claim()
    near.settle(lease, OutcomeKind.COMPLETED, result="3")
    assert queues.destroy(backend, "small", actor=ACTOR) == 1
    assert backend.job(job.id) is None
    assert [info.name for info in overview.queues(backend.database)] == ["plain"]
    with pytest.raises(UnknownQueue):
        backend.enqueue([new_job(queue="small")])


def test_another_process_notices_that_the_queue_is_gone(backend: SqlBackend) -> None:
    other = SqlBackend(backend.database)
    other.enqueue([new_job()])
    queues.empty(backend, "plain", actor=ACTOR)
    queues.destroy(backend, "plain", actor=ACTOR)
    with pytest.raises(UnknownQueue):
        other.enqueue([new_job(queue="plain")])


def test_new_queue_does_not_take_over_a_destroyed_ones_number(backend: SqlBackend, near: Site) -> None:
    queues.destroy(backend, "small", actor=ACTOR)
    queues.create(backend, "fresh", actor=ACTOR)
    assert {info.name: info.workers for info in overview.queues(backend.database)}["fresh"] == ()
    backend.enqueue([new_job(queue="fresh")])
    assert not near.claim()


def test_destroyed_worker_is_nobody(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job()])
    (lease,) = near.claim()
    done = workers.destroy(backend, "near", actor=ACTOR)
    assert [row[0] for row in done.moved] == [lease.job_id]
    assert state_of(backend, lease.job_id) is State.UNASSIGNED
    with pytest.raises(AuthenticationFailed):
        near.settle(lease, OutcomeKind.COMPLETED)
    with pytest.raises(NotFound):
        overview.worker(backend.database, "near")


def test_new_worker_is_not_taken_for_a_destroyed_one(backend: SqlBackend, far: Site) -> None:
    workers.destroy(backend, "far", actor=ACTOR)
    workers.create(backend, "newcomer", actor=ACTOR)
    workers.hire(backend, "newcomer", "plain", actor=ACTOR)
    backend.enqueue([new_job()])
    with pytest.raises(AuthenticationFailed):
        far.claim()


def test_destroy_refuses_while_jobs_have_begun(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job()])
    (lease,) = near.claim()
    near.begin(lease)
    with pytest.raises(InvalidTransition, match="has begun 1 jobs"):
        workers.destroy(backend, "near", actor=ACTOR)
    workers.destroy(backend, "near", jobs="release", actor=ACTOR)
    assert state_of(backend, lease.job_id) is State.UNASSIGNED


def test_destroy_can_cancel_what_has_begun(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job()])
    (lease,) = near.claim()
    near.begin(lease)
    workers.destroy(backend, "near", jobs="cancel", actor=ACTOR)
    assert state_of(backend, lease.job_id) is State.CANCELLED


def test_stats_count_what_a_worker_holds_and_has_ended(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job() for _ in range(3)])
    first, second = near.claim(slots=2)
    near.settle(first, OutcomeKind.COMPLETED)
    near.begin(second)
    (stats,) = overview.worker_stats(backend.database, ["near"])
    assert stats.counts == {State.COMPLETED: 1, State.WORKING: 1}
    with pytest.raises(NotFound):
        overview.worker_stats(backend.database, [str(uuid4())])
