"""Jobs that wait for others: admitted with their results as the last completes, or moved on as one ends."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from outsourced import following, payload
from outsourced.definition import define
from outsourced.errors import InvalidRequest, InvalidTransition, QueueFull
from outsourced.execution import execute
from outsourced.records import Edge, EdgeKind, FailedJob, Failure, Job, Lease, NewJob, OutcomeKind, Withheld
from outsourced.registry import Registry
from outsourced.sql import maintenance, queues, retention
from outsourced.sql.backend import SqlBackend
from outsourced.sql.consumer import SqlConsumer
from outsourced.sql.database import Database
from outsourced.states import Event, Reason, State
from tests.sql.conftest import Site, new_job, outcome, pass_time, state_of
from tests.sql.interleaving import PATIENCE, Aside, traced, until, waiting
from tests.sql.test_crowd import url_of

K, S = OutcomeKind, State
CHAIN, CHORD, ERROR = EdgeKind.CHAIN, EdgeKind.CHORD, EdgeKind.ERROR


def after(*upstreams: NewJob, kind: EdgeKind = CHAIN, passes: bool = True, **options: Any) -> NewJob:
    last = len(upstreams) - 1
    edges = [
        Edge(
            upstream=upstream.id,
            kind=kind,
            passes=passes,
            opens=int(kind is CHORD and n == 0),
            closes=int(kind is CHORD and n == last),
        )
        for n, upstream in enumerate(upstreams)
    ]
    return new_job(after=tuple(edges), **options)


def errback(*upstreams: NewJob) -> NewJob:
    return after(*upstreams, kind=ERROR)


def end(near: Site, job: NewJob, kind: OutcomeKind = K.COMPLETED, **more: Any) -> None:
    """Claims what is ready and ends this one; the others are given back."""
    leases = {lease.job_id: lease for lease in near.claim(slots=50)}
    near.settle(leases.pop(job.id), kind, **more)
    for lease in leases.values():
        near.settle(lease, K.RELEASED)


def fail(near: Site, job: NewJob, message: str = "no") -> None:
    end(near, job, K.FAILED, error=Failure(type="ValueError", message=message, traceback="…"))


def found(backend: SqlBackend, job: NewJob) -> Job:
    result = backend.job(job.id)
    assert result is not None
    return result


def args_of(lease: Lease | Job) -> list[Any]:
    return payload.decode_call(str(lease.payload))[0]


def states_of(backend: SqlBackend, *jobs: NewJob) -> list[State]:
    return [state_of(backend, job.id) for job in jobs]


def test_chain_passes_each_result_on(backend: SqlBackend, near: Site) -> None:
    first = new_job()
    second = after(first)
    third = after(second, passes=False)
    backend.enqueue([first, second, third])
    assert states_of(backend, first, second, third) == [S.UNASSIGNED, S.WAITING, S.WAITING]

    end(near, first, result='{"$tuple":[7]}')
    assert states_of(backend, second, third) == [S.UNASSIGNED, S.WAITING]
    assert args_of(found(backend, second)) == [(7,), 1, 2]
    end(near, second)
    assert args_of(found(backend, third)) == [1, 2]
    end(near, third)
    assert [row.event for row in backend.history(second.id)] == ["enqueue", "admit", "claim", "complete"]


def test_a_job_that_returned_nothing_passes_none_on(backend: SqlBackend, near: Site) -> None:
    first = new_job()
    second = after(first)
    backend.enqueue([first, second])
    end(near, first)
    assert args_of(found(backend, second)) == [None, 1, 2]


def test_chord_gives_the_results_in_the_order_of_its_header(backend: SqlBackend, near: Site) -> None:
    header = [new_job() for _ in range(3)]
    body = after(*header, kind=CHORD)
    backend.enqueue([*header, body])
    for number in (2, 0, 1):
        assert state_of(backend, body.id) is S.WAITING
        end(near, header[number], result=str(number))
    assert args_of(found(backend, body)) == [[0, 1, 2], 1, 2]


def test_chord_whose_header_ends_at_once(backend: SqlBackend, near: Site) -> None:
    header = [new_job() for _ in range(3)]
    body = after(*header, kind=CHORD)
    backend.enqueue([*header, body])
    leases = near.claim()
    near.say(outcomes=tuple(outcome(lease, K.COMPLETED, result="5") for lease in leases))
    assert args_of(found(backend, body))[0] == [5, 5, 5]
    assert state_of(backend, body.id) is S.UNASSIGNED


def test_results_nest_as_the_edges_say(backend: SqlBackend, near: Site) -> None:
    a, b, c = new_job(), new_job(), new_job()
    edges = (
        Edge(upstream=a.id, kind=CHORD, opens=2),
        Edge(upstream=b.id, kind=CHORD, closes=1),
        Edge(upstream=c.id, kind=CHORD, closes=1),
    )
    body = new_job(after=edges)
    backend.enqueue([a, b, c, body])
    for number, job in enumerate((a, b, c)):
        end(near, job, result=str(number))
    assert args_of(found(backend, body))[0] == [[0, 1], 2]


def test_failure_fails_all_that_follow(backend: SqlBackend, near: Site) -> None:
    first = new_job()
    second = after(first)
    third = after(second)
    backend.enqueue([first, second, third])
    fail(near, first, 'no "way"\n\0\\')
    for job in (second, third):
        ended = found(backend, job)
        assert (ended.state, ended.reason) == (S.FAILED, Reason.UPSTREAM)
        assert ended.error is not None
        assert (ended.error.type, ended.error.message) == ("ValueError", 'no "way"\n\0\\')
    assert [row.event for row in backend.history(third.id)] == [Event.ENQUEUE, Event.FAIL]


def test_chord_body_fails_with_the_first_failure_and_the_others_run(backend: SqlBackend, near: Site) -> None:
    header = [new_job() for _ in range(3)]
    body = after(*header, kind=CHORD)
    called = errback(body)
    last = after(body)
    backend.enqueue([*header, body, called, last])
    fail(near, header[1])
    ended = found(backend, body)
    assert ended.error is not None
    assert ended.error.type == "outsourced.errors.ChordError"
    assert ended.error.message == f"Dependency {header[1].id} raised ValueError('no')"
    assert states_of(backend, body, called, last) == [S.FAILED, S.UNASSIGNED, S.FAILED]
    (failed,) = args_of(found(backend, called))[:1]
    assert (failed.id, failed.failure.message) == (str(body.id), ended.error.message)
    fail(near, header[0])
    end(near, header[2])
    assert [row.event for row in backend.history(called.id)][:3] == ["enqueue", "admit", "claim"]
    assert len([row for row in backend.history(called.id) if row.event == "admit"]) == 1


def test_errback_is_given_what_failed(backend: SqlBackend, near: Site) -> None:
    job = new_job()
    called = errback(job)
    backend.enqueue([job, called])
    fail(near, job)
    failed, *rest = args_of(found(backend, called))
    assert rest == [1, 2]
    assert (failed.id, failed.task, failed.args, failed.kwargs) == (str(job.id), job.task, [1, 2], {})
    assert failed.failure == Failure(type="ValueError", message="no", traceback="…")


def test_errback_of_many_is_called_once_and_only_for_what_failed_itself(
    backend: SqlBackend, near: Site
) -> None:
    first = new_job()
    second = after(first)
    called, other = errback(first, second), errback(second)
    backend.enqueue([first, second, called, other])
    fail(near, first)
    assert states_of(backend, second, called, other) == [S.FAILED, S.UNASSIGNED, S.CANCELLED]
    assert found(backend, other).reason == Reason.NOT_NEEDED


def test_errback_nobody_needs_is_cancelled_with_all_that_follows_it(backend: SqlBackend, near: Site) -> None:
    first = new_job()
    second = after(first)
    called = errback(first, second)
    further = new_job(
        after=(
            Edge(upstream=called.id),
            *(Edge(upstream=job.id, kind=ERROR, passes=False) for job in (first, second)),
        )
    )
    backend.enqueue([first, second, called, further])
    end(near, first)
    assert states_of(backend, called, further) == [S.WAITING, S.WAITING]
    end(near, second)
    assert states_of(backend, called, further) == [S.CANCELLED, S.CANCELLED]


def test_errback_goes_on_to_what_follows_it(backend: SqlBackend, near: Site) -> None:
    job = new_job()
    called = errback(job)
    further = new_job(
        after=(Edge(upstream=called.id), Edge(upstream=job.id, kind=ERROR, passes=False)),
    )
    backend.enqueue([job, called, further])
    fail(near, job)
    assert states_of(backend, called, further) == [S.UNASSIGNED, S.WAITING]
    end(near, called, result="9")
    assert args_of(found(backend, further)) == [9, 1, 2]


@pytest.mark.parametrize("way", ["cancel", "cancel_leased", "expire", "lost", "empty", "rejected"])
def test_every_way_of_ending_badly_takes_those_along_that_wait(
    backend: SqlBackend, near: Site, way: str
) -> None:
    job = new_job(
        queue="small",
        max_losses=0,
        expires_in=timedelta(seconds=30) if way == "expire" else None,
    )
    second = after(job)
    third = after(second, kind=CHORD)
    backend.enqueue([job, second, third])
    if way == "cancel":
        backend.cancel(job.id)
    elif way == "cancel_leased":
        (lease,) = near.claim()
        backend.cancel(job.id)
        near.settle(lease, K.CANCELLED)
    elif way == "expire":
        pass_time(backend, 31)
        maintenance.expire(backend)
    elif way == "lost":
        (lease,) = near.claim()
        near.begin(lease)
        pass_time(backend, lease.ttl + 1)
        maintenance.rescue(backend)
    elif way == "empty":
        queues.empty(backend, "small", held="cancel", actor="admin:test")
    else:
        end(near, job, K.REJECTED)
    assert states_of(backend, second, third) == [S.FAILED, S.FAILED]
    assert found(backend, third).reason == Reason.UPSTREAM
    error = found(backend, third).error
    assert error is not None
    assert error.type == "outsourced.errors.ChordError"


def test_a_late_outcome_is_followed_too(backend: SqlBackend, near: Site) -> None:
    job = new_job()
    second = after(job)
    backend.enqueue([job, second])
    (lease,) = near.claim()
    pass_time(backend, lease.ttl + 1)
    maintenance.rescue(backend)
    near.settle(lease, K.COMPLETED, result="1")
    assert state_of(backend, second.id) is S.UNASSIGNED


def test_a_waiting_job_can_be_cancelled_and_is_not_admitted_then(backend: SqlBackend, near: Site) -> None:
    job = new_job()
    second = after(job)
    third = after(second)
    backend.enqueue([job, second, third])
    backend.cancel(second.id)
    assert states_of(backend, second, third) == [S.CANCELLED, S.FAILED]
    end(near, job)
    assert states_of(backend, second, third) == [S.CANCELLED, S.FAILED]


def test_dates_of_a_waiting_job_count_from_its_admission(backend: SqlBackend, near: Site) -> None:
    job = new_job()
    minute = timedelta(minutes=1)
    second = after(job, runs_in=minute, expires_in=2 * minute)
    backend.enqueue([job, second])
    pass_time(backend, 600)
    assert maintenance.expire(backend) == 0
    end(near, job)
    ended, waits = found(backend, job), found(backend, second)
    assert waits.state is S.SCHEDULED
    assert ended.ended_at is not None
    assert waits.expires_at is not None
    assert minute <= waits.runs_at - ended.ended_at < 2 * minute
    assert abs(waits.expires_at - waits.runs_at - minute) < timedelta(milliseconds=1)
    pass_time(backend, 61)
    assert maintenance.promote(backend) == 1


def test_results_are_kept_while_somebody_waits_for_them(backend: SqlBackend, near: Site) -> None:
    job, slow = new_job(), new_job()
    body = after(job, slow, kind=CHORD)
    backend.enqueue([job, slow, body])
    end(near, job, result="1")
    pass_time(backend, retention.RETENTION.completed.total_seconds() + 1)
    pruned = retention.prune(backend)
    assert (pruned["results"], pruned["completed jobs"]) == (0, 0)
    end(near, slow, result="2")
    assert args_of(found(backend, body))[0] == [1, 2]
    pass_time(backend, retention.RETENTION.completed.total_seconds() + 1)
    assert retention.prune(backend)["completed jobs"] == 2


def test_too_large_results_fail_the_job_that_waits_and_what_follows_it(
    backend: SqlBackend, near: Site
) -> None:
    jobs = [new_job() for _ in range(5)]
    body = after(*jobs, kind=CHORD)
    last, called = after(body), errback(body)
    backend.enqueue([*jobs, body, last, called])
    for job in jobs:
        end(near, job, result=json.dumps("x" * (following.MAX_INPUT // 5)))
    (lease,) = near.claim()
    given, *rest = payload.decode_call(lease.payload)[0]
    assert (type(given), given.size > following.MAX_INPUT, rest) == (Withheld, True, [1, 2])
    registry = Registry()
    registry.add(define(lambda *args: None, options={"name": lease.task}))
    ended = execute(lease, registry, SqlConsumer(backend, "near"))
    assert ended.error is not None
    assert "bytes of JSON, the limit is 4,194,304" in ended.error.message
    near.say(outcomes=(ended,))
    assert states_of(backend, body, last, called) == [S.FAILED, S.FAILED, S.UNASSIGNED]
    (lease,) = near.claim()
    assert isinstance(payload.decode_call(lease.payload)[0][0], FailedJob)


def test_a_person_s_retry_of_what_was_never_given_its_results_is_refused(
    backend: SqlBackend, near: Site
) -> None:
    job = new_job()
    second = after(job)
    backend.enqueue([job, second])
    fail(near, job)
    with pytest.raises(InvalidTransition, match="never given"):
        backend.requeue(second.id)


def test_a_person_s_retry_has_those_wait_again_for_which_the_failure_decided(
    backend: SqlBackend, near: Site
) -> None:
    first, other = new_job(), new_job()
    body = after(first, other, kind=CHORD)
    errback = after(first, body, kind=ERROR)
    last = after(body)
    backend.enqueue([first, other, body, errback, last])
    end(near, other, result="2")
    fail(near, first)
    end(near, errback)
    backend.requeue(first.id)
    assert [state_of(backend, one.id) for one in (body, errback, last)] == [S.WAITING] * 3
    end(near, first, result="1")
    assert args_of(found(backend, body))[0] == [1, 2]
    end(near, body)
    assert state_of(backend, errback.id) is S.CANCELLED


def test_what_would_be_given_a_pruned_result_does_not_wait_again(backend: SqlBackend, near: Site) -> None:
    first, other = new_job(), new_job()
    body = after(first, other, kind=CHORD)
    backend.enqueue([first, other, body])
    end(near, other, result="2")
    fail(near, first)
    pass_time(backend, retention.RETENTION.results.total_seconds() + 1)
    assert retention.prune(backend)["results"] == 1
    backend.requeue(first.id)
    assert state_of(backend, body.id) is S.FAILED
    fail(near, first)
    pass_time(backend, retention.RETENTION.completed.total_seconds() + 1)
    assert retention.prune(backend)["completed jobs"] == 1
    backend.requeue(first.id)
    assert state_of(backend, body.id) is S.FAILED


def test_waiting_for_what_is_not_enqueued_before_it_is_refused(backend: SqlBackend) -> None:
    job = new_job()
    second = after(job)
    for jobs in ([second, job], [second], [job, after(job, job, kind=CHORD)]):
        with pytest.raises(InvalidRequest, match="enqueued before it"):
            backend.enqueue(jobs)
    assert backend.jobs() == []


def test_waiting_jobs_take_their_places(backend: SqlBackend, near: Site) -> None:
    job = new_job(queue="small")
    second = after(job, queue="small")
    backend.enqueue([job, second])
    with pytest.raises(QueueFull):
        backend.enqueue([new_job(queue="small"), new_job(queue="small")])


def test_canvas_in_a_host_s_transaction_exists_if_it_commits(backend: SqlBackend, near: Site) -> None:
    host = create_engine(backend.database.engine.url)
    for commits in (False, True):
        first = new_job()
        second = after(first)
        with Session(host) as session:
            backend.enqueue([first, second], session=session)
            (session.commit if commits else session.rollback)()
        assert (backend.job(second.id) is not None) == commits
    host.dispose()
    end(near, first, result="1")
    assert args_of(found(backend, second)) == [1, 1, 2]


def test_a_person_s_retry_of_what_was_given_its_results_runs_with_them(
    backend: SqlBackend, near: Site
) -> None:
    first = new_job()
    second = after(first)
    backend.enqueue([first, second])
    end(near, first, result="1")
    fail(near, second)
    backend.requeue(second.id)
    (lease,) = near.claim()
    assert args_of(lease) == [1, 1, 2]


def test_the_same_outcome_again_admits_once(backend: SqlBackend, near: Site) -> None:
    first = new_job()
    second = after(first)
    backend.enqueue([first, second])
    (lease,) = near.claim()
    for _ in range(2):
        near.settle(lease, K.COMPLETED, result="1")
    assert [row.event for row in backend.history(second.id)] == [Event.ENQUEUE, Event.ADMIT]


@pytest.fixture
def failed_chord(backend: SqlBackend, near: Site) -> tuple[NewJob, NewJob, NewJob]:
    """A job that failed, one beside it that completed long enough ago to be forgotten, and their body."""
    first, other = new_job(), new_job()
    body = after(other, first, kind=CHORD)
    backend.enqueue([first, other, body])
    end(near, other, result="2")
    fail(near, first)
    pass_time(backend, retention.RETENTION.completed.total_seconds() + 1)
    return first, other, body


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.postgres
@pytest.mark.parametrize("kind", ["results", "completed jobs", "forget"])
def test_retry_waits_for_whoever_forgets_what_would_be_waited_for(
    backend: SqlBackend, failed_chord: tuple[NewJob, NewJob, NewJob], kind: str
) -> None:
    first, other, body = failed_chord
    chosen, retried = threading.Event(), threading.Event()

    def heard(statement: str) -> None:
        """Stops whoever forgets between its choice and the deed."""
        if statement.startswith(("UPDATE outsourced_job_results", "DELETE FROM outsourced_files")):
            chosen.set()
            assert retried.wait(PATIENCE)

    server = SqlBackend(Database(url_of(backend)))
    server.database.clock_offset = backend.database.clock_offset
    with traced(server.database.engine, heard):
        forget = (
            partial(server.forget, other.id) if kind == "forget" else partial(retention.KINDS[kind], server)
        )
        forgetting = Aside(forget)
        assert chosen.wait(PATIENCE)
        retrying = Aside(lambda: backend.requeue(first.id))
        until(lambda: bool(waiting(backend.database)) or retrying.is_done)
        retried.set()
        retrying.result()
        forgetting.result()
    server.database.dispose()
    assert states_of(backend, first, body) == [S.UNASSIGNED, S.FAILED]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.postgres
def test_forgetting_waits_for_a_retry_that_makes_the_result_wanted(
    backend: SqlBackend, near: Site, failed_chord: tuple[NewJob, NewJob, NewJob]
) -> None:
    first, other, body = failed_chord
    reviving, forgotten = threading.Event(), threading.Event()

    def heard(statement: str) -> None:
        """Stops the retry before it writes."""
        if statement.startswith("UPDATE outsourced_edges"):
            reviving.set()
            assert forgotten.wait(PATIENCE)

    server = SqlBackend(Database(url_of(backend)))
    with traced(server.database.engine, heard):
        retrying = Aside(lambda: server.requeue(first.id))
        assert reviving.wait(PATIENCE)
        forgetting = Aside(lambda: backend.forget(other.id))
        until(lambda: bool(waiting(backend.database)) or forgetting.is_done)
        assert retention.prune(backend)["results"] == 0
        forgotten.set()
        retrying.result()
        forgetting.result()
    server.database.dispose()
    end(near, first, result="1")
    assert args_of(found(backend, body))[0] == [2, 1]


def test_destroyed_queue_leaves_what_others_still_wait_for(backend: SqlBackend, near: Site) -> None:
    first, second = new_job(queue="small"), new_job()
    body = after(first, second, kind=CHORD)
    backend.enqueue([first, second, body])
    end(near, first, result="1")
    assert queues.destroy(backend, "small", actor="admin:test") == 0
    end(near, second, result="2")
    assert args_of(found(backend, body))[0] == [1, 2]
    pass_time(backend, retention.RETENTION.completed.total_seconds() + 1)
    assert retention.prune(backend)["completed jobs"] == 2
