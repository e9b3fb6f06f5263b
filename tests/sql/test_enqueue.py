"""Enqueueing on both databases: all or nothing, and bounded queues exactly."""

from __future__ import annotations

import threading
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import func, select

from outsourced.errors import AlreadyExists, KeyTaken, QueueBusy, QueueFull, UnknownQueue
from outsourced.records import OutcomeKind
from outsourced.sql import maintenance, queues
from outsourced.sql.backend import SqlBackend
from outsourced.sql.database import Database
from outsourced.sql.dialects import Batch, Refused
from outsourced.sql.models import Job, TaskName
from outsourced.states import State
from tests.sql.conftest import Site, new_job, pass_time, state_of


def depth(backend: SqlBackend) -> int:
    with backend.database.connect() as connection:
        return connection.scalar(select(func.count()).where(Job.bounded_queue_id == 2)) or 0


def test_full_queue_refuses_with_its_facts_and_stores_nothing(backend: SqlBackend) -> None:
    backend.enqueue([new_job(queue="small"), new_job(queue="small")])
    lost = new_job()
    with pytest.raises(QueueFull) as refused:
        backend.enqueue([lost, new_job(queue="small"), new_job(queue="small")])

    facts = refused.value.facts
    assert (facts["queue"], facts["capacity"], facts["free"], facts["asked"]) == ("small", 3, 1, 2)
    assert backend.job(lost.id) is None
    assert depth(backend) == 2


def test_ended_jobs_make_room(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job(queue="small") for _ in range(3)])
    lease, *_ = near.claim()
    with pytest.raises(QueueFull):
        backend.enqueue([new_job(queue="small")])

    near.settle(lease, OutcomeKind.COMPLETED, result="3")
    backend.enqueue([new_job(queue="small")])

    assert depth(backend) == 3


def test_bounded_queue_holds_under_concurrent_producers(backend: SqlBackend) -> None:
    start, stored = threading.Barrier(8), []

    def produce() -> None:
        start.wait()
        for _ in range(5):
            try:
                backend.enqueue([new_job(queue="small")])
            except (QueueFull, QueueBusy):
                continue
            stored.append(1)

    producers = [threading.Thread(target=produce) for _ in range(8)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()

    assert len(stored) == depth(backend) == 3


def test_enqueue_into_an_unknown_queue_names_the_known_ones(backend: SqlBackend) -> None:
    with pytest.raises(UnknownQueue, match="there are: plain, small"):
        backend.enqueue([new_job(queue="nope")])


def test_enqueue_into_a_misspelt_queue_says_what_may_be_meant(backend: SqlBackend) -> None:
    with pytest.raises(UnknownQueue, match=r"there is no queue 'plan'; did you mean 'plain'\?"):
        backend.enqueue([new_job(queue="plan")])


def test_enqueue_for_nobody_is_mentioned_once(backend: SqlBackend, caplog: pytest.LogCaptureFixture) -> None:
    backend.enqueue([new_job()])
    assert caplog.messages == []
    queues.create(backend, "lonely", actor="admin:test")
    for _ in range(2):
        backend.enqueue([new_job(queue="lonely"), new_job(queue="lonely")])
    (mentioned,) = caplog.messages
    assert "`flask outsourcer queue hire lonely WORKER`" in mentioned


def test_enqueue_refuses_an_id_that_exists(backend: SqlBackend) -> None:
    job = new_job()
    backend.enqueue([job])
    with pytest.raises(AlreadyExists):
        backend.enqueue([job])


def test_live_unique_key_is_held_until_its_job_ends(backend: SqlBackend, near: Site) -> None:
    backend.enqueue([new_job(unique_key="k")])
    with pytest.raises(KeyTaken):
        backend.enqueue([new_job(unique_key="k")])
    (lease,) = near.claim()
    near.settle(lease, OutcomeKind.COMPLETED, result="3")

    backend.enqueue([new_job(unique_key="k")])


def test_scheduled_job_is_promoted_when_due(backend: SqlBackend, near: Site) -> None:
    job = new_job(runs_in=timedelta(seconds=60))
    backend.enqueue([job])
    assert state_of(backend, job.id) is State.SCHEDULED
    assert not near.claim()

    pass_time(backend, 61)
    assert maintenance.promote(backend) == 1
    assert [lease.job_id for lease in near.claim()] == [job.id]


@pytest.mark.postgres
def test_error_inside_the_pipeline_is_raised_and_commits_nothing(postgres_url: str) -> None:
    database = Database(postgres_url)

    def work(batch: Batch) -> None:
        batch.execute("INSERT INTO outsourced_tasks (name) VALUES ('never')")
        raise psycopg.errors.DivisionByZero("early")

    with pytest.raises(Refused):
        database.run(work)
    with database.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(TaskName)) == 0
    database.dispose()


def test_configured_default_queue_goes_before_the_marked_one(backend: SqlBackend) -> None:
    configured = SqlBackend(backend.database, default_queue="small")
    job = new_job()
    configured.enqueue([job])
    found = configured.job(job.id)
    assert found is not None
    assert found.queue == "small"
