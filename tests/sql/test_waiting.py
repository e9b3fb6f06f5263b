"""Why a job waits, said to the person who asks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from outsourced.records import Edge, EdgeKind, NewJob, OutcomeKind
from outsourced.sql import queues, workers
from outsourced.sql.backend import SqlBackend
from outsourced.sql.task_producer import TaskProducer
from outsourced.sql.waiting import why_waiting
from tests.sql.conftest import FAILURE, Site, new_job, pass_time

ACTOR = "admin:test"


def why(backend: SqlBackend, new: NewJob) -> str | None:
    job = backend.job(new.id)
    assert job is not None
    return why_waiting(backend.database, job)


@pytest.fixture
def job(backend: SqlBackend) -> NewJob:
    job = new_job()
    backend.enqueue([job])
    return job


def test_no_worker_has_ever_connected(backend: SqlBackend, job: NewJob) -> None:
    assert why(backend, job) == (
        "no worker hired for this queue is connected; start `outsourced_worker` as far, near"
    )


def test_no_worker_is_connected_any_more(backend: SqlBackend, job: NewJob, near: Site) -> None:
    near.say(tasks=("tasks.add",))
    assert "connected;" not in (why(backend, job) or "")
    pass_time(backend, 100)
    assert "no worker hired for this queue is connected" in (why(backend, job) or "")


def test_the_queue_is_paused(backend: SqlBackend, job: NewJob) -> None:
    queues.pause(backend, "plain", actor=ACTOR)
    assert why(backend, job) == "the queue is paused: `flask outsourcer queue resume plain`"


def test_nobody_is_hired(backend: SqlBackend, job: NewJob) -> None:
    for name in ("near", "far"):
        workers.fire(backend, name, "plain", actor=ACTOR)
    assert why(backend, job) == ("nobody is hired for this queue: `flask outsourcer queue hire plain WORKER`")


def test_everybody_hired_is_locked_or_paused(backend: SqlBackend, job: NewJob) -> None:
    workers.lock(backend, "near", actor=ACTOR)
    workers.pause(backend, "far", actor=ACTOR)
    assert why(backend, job) == "every worker hired for this queue is locked or paused: far, near"


def test_no_connected_worker_knows_the_task(backend: SqlBackend, job: NewJob, near: Site) -> None:
    near.say(tasks=("tasks.other",))
    assert "no connected worker knows the task 'tasks.add'" in (why(backend, job) or "")


def test_others_come_first(backend: SqlBackend, job: NewJob, near: Site) -> None:
    near.say(tasks=("tasks.add",))
    assert why(backend, job) == "it is next in line"
    backend.enqueue([new_job(priority=-1), new_job(priority=-2), new_job(), new_job(queue="small")])
    assert why(backend, job) == "workers are busy: 2 other jobs of its queue come first"


def test_its_time_has_not_come(backend: SqlBackend) -> None:
    later = new_job(runs_in=timedelta(hours=1))
    backend.enqueue([later])
    stored = backend.job(later.id)
    assert stored is not None
    assert why(backend, later) == f"it is scheduled for {stored.runs_at:%Y-%m-%d %H:%M:%S} UTC"


def test_it_will_be_tried_again(backend: SqlBackend, job: NewJob, near: Site) -> None:
    (lease,) = near.claim()
    assert why(backend, job) == "worker 'near' has it and has not reported that it began"
    near.begin(lease)
    assert why(backend, job) is None
    near.settle(lease, OutcomeKind.RETRY, error=FAILURE, delay=60.0)
    assert (why(backend, job) or "").startswith("its attempt 1 failed or was lost; it is tried again at")


def test_an_ended_job_does_not_wait(backend: SqlBackend, job: NewJob) -> None:
    backend.cancel(job.id)
    assert why(backend, job) is None


def test_it_waits_for_others(backend: SqlBackend, near: Site) -> None:
    first, second = new_job(), new_job()
    waits = new_job(after=tuple(Edge(upstream=job.id) for job in (first, second)))
    errback = new_job(after=(Edge(upstream=first.id, kind=EdgeKind.ERROR),))
    backend.enqueue([first, second, waits, errback])
    told = f"job {first.id} (tasks.add, unassigned)"
    assert why(backend, waits) == f"it waits for {told} and 1 more"
    assert why(backend, errback) == f"it is to be called if {told} fails"
    (lease,) = near.claim(slots=1)
    near.settle(lease, OutcomeKind.COMPLETED)
    assert why(backend, waits) == f"it waits for job {second.id} (tasks.add, unassigned)"


def test_it_waits_for_its_replacement(backend: SqlBackend, near: Site, job: NewJob) -> None:
    (lease,) = near.claim()
    child = new_job()
    TaskProducer(backend, near.identity, lease).enqueue([child])
    near.settle(lease, OutcomeKind.REPLACED, replaced_by=child.id)
    assert why(backend, job) == f"it is replaced by job {child.id} (tasks.add, unassigned), and waits for it"
    (lease,) = near.claim()
    near.settle(lease, OutcomeKind.COMPLETED)
    assert "outsourced.accumulate, which came with a later version" in (why(backend, job) or "")
