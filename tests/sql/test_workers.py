"""What people do to workers acts at once, says when there was nothing to do, and leaves an audit row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from joserfc.jwk import ECKey
from sqlalchemy import event

from outsourced.errors import (
    AlreadyExists,
    AuthenticationFailed,
    InvalidRequest,
    NotFound,
    UnknownQueue,
    WorkerLocked,
)
from outsourced.records import Changes, CommandKind, OutcomeKind, SettledStatus
from outsourced.sql import audit, overview, queues, workers
from outsourced.sql.backend import SqlBackend
from outsourced.sql.database import Database
from outsourced.states import Event, State
from tests.sql.conftest import Site, new_job, state_of

ACTOR = "admin:test"


@contextmanager
def before_the_second_connection(database: Database, act: Callable[[], object]) -> Iterator[None]:
    """Does `act` when the block has used a connection and takes the next one."""
    taken: list[object] = []

    def count(*connection: object) -> None:
        taken.append(connection)
        if len(taken) == 2:
            act()

    event.listen(database.engine, "checkout", count)
    try:
        yield
    finally:
        event.remove(database.engine, "checkout", count)


@pytest.fixture
def fresh(database: Database) -> SqlBackend:
    """A store without any worker or queue."""
    return SqlBackend(database)


def acts(backend: SqlBackend) -> list[tuple[str, str]]:
    return [(entry.act, entry.subject) for entry in reversed(audit.entries(backend.database))]


def test_create_makes_a_worker_hired_nowhere(fresh: SqlBackend) -> None:
    workers.create(fresh, "phill.worker@okayfail.com", actor=ACTOR)
    (worker,) = overview.workers(fresh.database)
    assert (worker.name, worker.state, worker.paused) == ("phill.worker@okayfail.com", "active", False)
    assert (worker.queues, worker.seen_at, worker.leases) == ((), None, 0)
    assert acts(fresh) == [("worker.create", "phill.worker@okayfail.com")]


def test_create_refuses_a_name_that_is_taken(fresh: SqlBackend) -> None:
    workers.create(fresh, "phill", actor=ACTOR)
    with pytest.raises(AlreadyExists, match="'phill'"):
        workers.create(fresh, "phill", actor=ACTOR)
    assert acts(fresh) == [("worker.create", "phill")]


@pytest.mark.parametrize("name", ["", " phill", "phill\n", "a\x00b", "a\x1b[31mb", "x" * 256, "\udcff"])
def test_create_refuses_a_name_nobody_could_type(fresh: SqlBackend, name: str) -> None:
    with pytest.raises(InvalidRequest, match="name"):
        workers.create(fresh, name, actor=ACTOR)
    assert overview.workers(fresh.database) == []


def test_hire_twice_changes_nothing(fresh: SqlBackend) -> None:
    workers.create(fresh, "phill", actor=ACTOR)
    queues.create(fresh, "stuff", actor=ACTOR)
    assert workers.hire(fresh, "phill", "stuff", actor=ACTOR).changed
    assert not workers.hire(fresh, "phill", "stuff", actor=ACTOR).changed
    assert overview.workers(fresh.database)[0].queues == ("stuff",)
    assert acts(fresh).count(("worker.hire", "phill")) == 1


def test_an_unknown_name_is_answered_with_those_like_it(backend: SqlBackend) -> None:
    with pytest.raises(NotFound, match="did you mean 'near'"):
        workers.lock(backend, "neer", actor=ACTOR)
    with pytest.raises(NotFound, match="worker create marvin"):
        workers.lock(backend, "marvin", actor=ACTOR)
    with pytest.raises(UnknownQueue, match="did you mean 'plain'"):
        workers.hire(backend, "near", "plane", actor=ACTOR)


def test_an_act_wakes_the_worker(backend: SqlBackend) -> None:
    told: list[Changes] = []
    backend.notify = told.append
    workers.pause(backend, "near", actor=ACTOR)
    workers.pause(backend, "near", actor=ACTOR)
    assert [changes.workers for changes in told] == [frozenset({"near"})]


def test_fire_takes_back_what_was_not_begun(backend: SqlBackend, near: Site) -> None:
    told: list[Changes] = []
    backend.enqueue([new_job(), new_job(), new_job(queue="small")])
    leases = near.claim()
    begun = next(lease for lease in leases if lease.queue == "plain")
    near.begin(begun)
    backend.notify = told.append

    done = workers.fire(backend, "near", "plain", actor=ACTOR)

    assert (done.changed, len(done.moved), done.cancelling) == (True, 1, 0)
    assert told[0].ready == {("plain", "tasks.add"): 1}
    by_state = {lease.job_id: state_of(backend, lease.job_id) for lease in leases}
    assert by_state[begun.job_id] is State.WORKING
    assert sorted(by_state.values()) == [State.ASSIGNED, State.UNASSIGNED, State.WORKING]
    (settled,) = near.settle(begun, OutcomeKind.COMPLETED, result="3").settled
    assert settled.status is SettledStatus.RECORDED


def test_a_fired_worker_is_handed_nothing_of_that_queue(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job(), new_job(queue="small")])
    workers.fire(backend, "near", "plain", actor=ACTOR)
    assert [lease.queue for lease in near.claim()] == ["small"]


def test_fire_lets_a_worker_deliver_what_it_had_begun_unreported(backend: SqlBackend, near: Site) -> None:
    job = new_job()
    backend.enqueue([job])
    (lease,) = near.claim()
    workers.fire(backend, "near", "plain", actor=ACTOR)

    (settled,) = near.settle(lease, OutcomeKind.COMPLETED, result="3").settled

    assert settled.status is SettledStatus.RECORDED
    assert state_of(backend, job.id) is State.COMPLETED


def test_fire_with_release_takes_back_what_was_begun_too(backend: SqlBackend, near: Site) -> None:
    job = new_job()
    backend.enqueue([job])
    (lease,) = near.claim()
    near.begin(lease)

    workers.fire(backend, "near", "plain", jobs="release", actor=ACTOR)

    last = backend.history(job.id)[-1]
    assert (last.event, last.to_state, last.actor, last.reason) == (
        Event.RELEASE,
        State.UNASSIGNED,
        ACTOR,
        "fired",
    )
    stored = backend.job(job.id)
    assert stored is not None
    assert stored.losses == 0
    (settled,) = near.settle(lease, OutcomeKind.COMPLETED, result="3").settled
    assert settled.status is SettledStatus.REFUSED


def test_fire_with_cancel_asks_to_stop_what_was_begun(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job()])
    (lease,) = near.claim()
    near.begin(lease)

    done = workers.fire(backend, "near", "plain", jobs="cancel", actor=ACTOR)

    assert (len(done.moved), done.cancelling) == (0, 1)
    (command,) = near.say().commands
    assert (command.kind, command.lease_id) == (CommandKind.CANCEL, lease.id)


def test_worker_unlocked_right_after_a_refusal_is_still_told_of_the_lock(
    backend: SqlBackend, near: Site
) -> None:
    workers.lock(backend, "near", actor=ACTOR)

    def unlock() -> None:
        workers.unlock(backend, "near", actor=ACTOR)

    with before_the_second_connection(backend.database, unlock), pytest.raises(WorkerLocked):
        near.say()
    assert near.say() is not None


def test_fire_again_may_be_stricter(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job()])
    (lease,) = near.claim()
    near.begin(lease)
    workers.fire(backend, "near", "plain", actor=ACTOR)

    assert not workers.fire(backend, "near", "plain", actor=ACTOR).changed
    assert workers.fire(backend, "near", "plain", jobs="cancel", actor=ACTOR).cancelling == 1


def test_lock_ends_everything_and_unlock_lets_it_go_on(backend: SqlBackend, near: Site) -> None:
    jobs = [new_job(), new_job()]
    backend.enqueue(jobs)
    begun, unbegun = near.claim()
    near.begin(begun)

    done = workers.lock(backend, "near", actor=ACTOR)

    assert (done.changed, len(done.moved)) == (True, 2)
    assert state_of(backend, begun.job_id) is State.RETRYING
    assert state_of(backend, unbegun.job_id) is State.UNASSIGNED
    assert backend.history(begun.job_id)[-1].reason == "locked"
    with pytest.raises(WorkerLocked):
        near.claim()
    assert not workers.lock(backend, "near", actor=ACTOR).changed

    assert workers.unlock(backend, "near", actor=ACTOR).changed
    assert not workers.unlock(backend, "near", actor=ACTOR).changed
    (settled,) = near.settle(begun, OutcomeKind.COMPLETED, result="3").settled
    assert settled.status is SettledStatus.RECORDED
    stored = backend.job(begun.job_id)
    assert stored is not None
    assert (stored.state, stored.losses) == (State.COMPLETED, 0)


def test_a_paused_worker_keeps_what_it_has_and_gets_no_more(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job(), new_job()])
    (lease,) = near.claim(slots=1)

    workers.pause(backend, "near", actor=ACTOR)

    assert near.claim() == ()
    (settled,) = near.settle(lease, OutcomeKind.COMPLETED, result="3").settled
    assert settled.status is SettledStatus.RECORDED
    assert workers.resume(backend, "near", actor=ACTOR).changed
    assert len(near.claim()) == 1


def test_reset_voids_keys_and_tokens(backend: SqlBackend, near: Site) -> None:
    for _ in range(2):
        key = ECKey.generate_key("P-256").as_dict(private=False)
        workers.add_credential(backend, "near", key, actor=ACTOR)
    assert len(overview.worker(backend.database, "near").credentials) == 2

    assert workers.reset(backend, "near", actor=ACTOR) == 2

    assert overview.worker(backend.database, "near").credentials == ()
    with pytest.raises(AuthenticationFailed):
        near.claim()


def test_revoke_ends_one_key(backend: SqlBackend) -> None:
    kids = [
        workers.add_credential(
            backend, "near", ECKey.generate_key("P-256").as_dict(private=False), actor=ACTOR
        )
        for _ in range(2)
    ]
    workers.revoke(backend, "near", kids[0], actor=ACTOR)
    assert [c.kid for c in overview.worker(backend.database, "near").credentials] == kids[1:]
    with pytest.raises(NotFound, match="no credential"):
        workers.revoke(backend, "near", kids[0], actor=ACTOR)
    assert acts(backend).count(("worker.revoke", "near")) == 1


def test_worker_shows_processes_and_jobs_in_hand(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job()])
    near.claim()
    info = overview.worker(backend.database, "near")
    assert (info.queues, info.leases) == (("plain", "small"), 1)
    assert [(i.id, i.host, i.pid) for i in info.instances] == [(near.instance.id, "here", 1)]
    assert info.seen_at == info.instances[0].seen_at


def test_an_act_that_fails_leaves_no_audit_row(backend: SqlBackend) -> None:
    with pytest.raises(NotFound):
        workers.revoke(backend, "near", str(uuid4()), actor=ACTOR)
    assert acts(backend) == []
