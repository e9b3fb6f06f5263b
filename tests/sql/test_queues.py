"""What people do to queues acts at once, says when there was nothing to do, and leaves an audit row."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import func, select

from outsourced.errors import AlreadyExists, InvalidRequest, QueueFull, UnknownQueue
from outsourced.records import Changes
from outsourced.shown import QueueInfo
from outsourced.sql import audit, overview, queues, workers
from outsourced.sql.backend import SqlBackend
from outsourced.sql.database import Database
from outsourced.sql.models import Queue
from outsourced.states import State
from tests.sql.conftest import Site, new_job

ACTOR = "admin:test"


@pytest.fixture
def fresh(database: Database) -> SqlBackend:
    """A store without any worker or queue."""
    return SqlBackend(database)


def queue(backend: SqlBackend, name: str) -> QueueInfo:
    return next(info for info in overview.queues(backend.database) if info.name == name)


def test_the_first_queue_is_the_default_one(fresh: SqlBackend) -> None:
    assert queues.create(fresh, "first", actor=ACTOR)
    assert not queues.create(fresh, "second", capacity=5, actor=ACTOR)
    assert [(info.name, info.default, info.capacity) for info in overview.queues(fresh.database)] == [
        ("first", True, None),
        ("second", False, 5),
    ]


def test_create_by_many_at_once_makes_one_default(fresh: SqlBackend) -> None:
    starters = [
        threading.Thread(target=queues.create, args=(fresh, f"q{number}"), kwargs={"actor": ACTOR})
        for number in range(6)
    ]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    with fresh.database.connect() as connection:
        assert connection.scalar(select(func.count()).where(Queue.is_default)) == 1
        assert connection.scalar(select(func.count()).select_from(Queue)) == 6


def test_create_with_capacity_zero_is_unlimited(fresh: SqlBackend) -> None:
    queues.create(fresh, "endless", capacity=0, actor=ACTOR)
    assert queue(fresh, "endless").capacity is None


def test_create_refuses_what_cannot_be(fresh: SqlBackend) -> None:
    queues.create(fresh, "stuff", actor=ACTOR)
    with pytest.raises(AlreadyExists, match="'stuff'"):
        queues.create(fresh, "stuff", actor=ACTOR)
    with pytest.raises(InvalidRequest, match="name"):
        queues.create(fresh, "stuff\n", actor=ACTOR)
    for capacity in (-1, 2**31):
        with pytest.raises(InvalidRequest, match="capacity"):
            queues.create(fresh, "other", capacity=capacity, actor=ACTOR)


def test_a_queue_created_after_the_first_look_is_known(fresh: SqlBackend) -> None:
    with pytest.raises(UnknownQueue):
        fresh.enqueue([new_job()])
    queues.create(fresh, "stuff", actor=ACTOR)
    fresh.enqueue([new_job()])
    assert queue(fresh, "stuff").counts == {State.UNASSIGNED: 1}


def test_change_makes_another_queue_the_default(backend: SqlBackend) -> None:
    assert queues.change(backend, "small", default=True, actor=ACTOR)
    assert not queues.change(backend, "small", default=True, actor=ACTOR)
    backend.enqueue([new_job()])
    assert (queue(backend, "small").default, queue(backend, "plain").default) == (True, False)
    assert queue(backend, "small").counts == {State.UNASSIGNED: 1}
    assert queue(backend, "small").capacity == 3


def test_change_of_capacity_counts_the_jobs_already_there(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job(), new_job(), new_job()])
    near.claim(slots=1)

    assert queues.change(backend, "plain", capacity=2, actor=ACTOR)

    with pytest.raises(QueueFull) as refusal:
        backend.enqueue([new_job()])
    assert (refusal.value.capacity, refusal.value.free) == (2, 0)
    assert queues.change(backend, "plain", capacity=4, actor=ACTOR)
    backend.enqueue([new_job()])
    with pytest.raises(QueueFull):
        backend.enqueue([new_job()])


def test_change_to_unlimited_lets_all_in(backend: SqlBackend) -> None:
    backend.enqueue([new_job(queue="small") for _ in range(3)])
    assert queues.change(backend, "small", capacity=0, actor=ACTOR)
    assert not queues.change(backend, "small", capacity=0, actor=ACTOR)
    backend.enqueue([new_job(queue="small") for _ in range(5)])
    queues.change(backend, "small", capacity=8, actor=ACTOR)
    with pytest.raises(QueueFull):
        backend.enqueue([new_job(queue="small")])


def test_change_is_seen_by_a_process_that_knew_the_queue(backend: SqlBackend, database: Database) -> None:
    elsewhere = SqlBackend(database)
    elsewhere.enqueue([new_job()])
    queues.change(backend, "plain", capacity=1, actor=ACTOR)
    with pytest.raises(QueueFull):
        elsewhere.enqueue([new_job()])


def test_a_paused_queue_hands_out_nothing(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job(), new_job(queue="small")])
    assert queues.pause(backend, "plain", actor=ACTOR).changed
    assert not queues.pause(backend, "plain", actor=ACTOR).changed
    assert [lease.queue for lease in near.claim()] == ["small"]
    assert queues.resume(backend, "plain", actor=ACTOR).changed
    assert [lease.queue for lease in near.claim()] == ["plain"]


def test_pause_and_resume_tell_the_hired_workers(backend: SqlBackend) -> None:
    told: list[Changes] = []
    backend.notify = told.append
    workers.fire(backend, "far", "plain", actor=ACTOR)
    told.clear()
    queues.pause(backend, "plain", actor=ACTOR)
    queues.resume(backend, "plain", actor=ACTOR)
    assert [changes.workers for changes in told] == [frozenset({"near"})] * 2


def test_acts_are_audited_with_their_details(backend: SqlBackend) -> None:
    queues.change(backend, "plain", capacity=7, actor=ACTOR)
    queues.pause(backend, "plain", actor="admin:other")
    pause, change = audit.entries(backend.database, subject="plain")
    assert (change.act, change.actor, change.details) == ("queue.change", ACTOR, {"capacity": 7})
    assert (pause.act, pause.actor, pause.details) == ("queue.pause", "admin:other", {})
    assert pause.at >= change.at
    assert audit.entries(backend.database, limit=1) == [pause]


def test_queues_show_who_works_them_and_how_much_there_is(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job(), new_job(), new_job()])
    near.claim(slots=1)
    info = queue(backend, "plain")
    assert info.workers == ("far", "near")
    assert info.counts == {State.UNASSIGNED: 2, State.ASSIGNED: 1}
    figures = overview.figures(backend.database)
    assert figures.jobs == {State.UNASSIGNED: 2, State.ASSIGNED: 1}
    assert (figures.queues, figures.workers, figures.connected_workers) == (2, 2, 1)
