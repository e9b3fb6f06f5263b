"""Following: jobs that wait for others, and what they are given when those end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from outsourced import payload
from outsourced.errors import InvalidRequest, InvalidTransition, QueueFull
from outsourced.records import Edge, EdgeKind, Failure, NewJob, OutcomeKind
from outsourced.states import Event, Reason, State
from tests.backends.stage import FAILURE, Site, Stage, events_of, job_of, new_job, state_of

K, S = OutcomeKind, State
CHORD, ERROR = EdgeKind.CHORD, EdgeKind.ERROR
MINUTE = timedelta(minutes=1)


def after(*upstreams: NewJob, kind: EdgeKind = EdgeKind.CHAIN, passes: bool = True, **options: Any) -> NewJob:
    """A job that waits for these; of a chord, for all."""
    last = len(upstreams) - 1
    edges = [
        Edge(
            upstream=upstream.id,
            kind=kind,
            passes=passes,
            opens=int(kind is CHORD and number == 0),
            closes=int(kind is CHORD and number == last),
        )
        for number, upstream in enumerate(upstreams)
    ]
    return new_job(after=tuple(edges), **options)


def end(site: Site, job: NewJob, kind: OutcomeKind = K.COMPLETED, **more: Any) -> None:
    """Ends this one of the jobs that are ready, and gives the others back."""
    leases = {lease.job_id: lease for lease in site.claim(50)}
    site.settle(leases.pop(job.id), kind, **more)
    for lease in leases.values():
        site.settle(lease, K.RELEASED)


def states_of(stage: Stage, *jobs: NewJob) -> list[State]:
    return [state_of(stage, job.id) for job in jobs]


def args_of(stage: Stage, job: NewJob) -> list[Any]:
    return payload.decode_call(job_of(stage, job.id).payload)[0]


def test_chain_passes_each_result_on(stage: Stage, near: Site) -> None:
    first = new_job()
    second = after(first)
    third = after(second, passes=False)
    stage.producer.enqueue([first, second, third])
    assert states_of(stage, first, second, third) == [S.UNASSIGNED, S.WAITING, S.WAITING]
    end(near, first, result='{"$tuple":[7]}')
    assert states_of(stage, second, third) == [S.UNASSIGNED, S.WAITING]
    end(near, second)
    end(near, third)
    assert [args_of(stage, job) for job in (second, third)] == [[(7,), 1, 2], [1, 2]]
    assert events_of(stage, second.id)[:2] == [Event.ENQUEUE, Event.ADMIT]


def test_worker_is_given_the_results(stage: Stage, near: Site) -> None:
    first = new_job()
    second = after(first)
    stage.producer.enqueue([first, second])
    end(near, first, result="5")
    (lease,) = near.claim()
    assert payload.decode_call(lease.payload)[:2] == ([5, 1, 2], {})


def test_worker_is_told_whose_result_is_passed_on(stage: Stage, near: Site) -> None:
    passing, silent, alone = new_job(), new_job(), new_job()
    errback = after(alone, kind=ERROR)
    stage.producer.enqueue([passing, silent, alone, after(passing), after(silent, passes=False), errback])
    told = {lease.job_id: lease.passes_result for lease in near.claim()}
    assert told == {passing.id: True, silent.id: False, alone.id: False}


def test_chord_waits_for_the_last_and_keeps_the_order(stage: Stage, near: Site) -> None:
    header = [new_job() for _ in range(3)]
    body = after(*header, kind=CHORD)
    stage.producer.enqueue([*header, body])
    for number in (2, 0, 1):
        assert state_of(stage, body.id) is S.WAITING
        end(near, header[number], result=str(number))
    assert args_of(stage, body)[0] == [0, 1, 2]


def test_failure_fails_all_that_follow_with_its_error(stage: Stage, near: Site) -> None:
    first = new_job()
    second = after(first)
    third = after(second)
    stage.producer.enqueue([first, second, third])
    end(near, first, K.FAILED, error=FAILURE)
    for job in (second, third):
        ended = job_of(stage, job.id)
        assert (ended.state, ended.reason) == (S.FAILED, Reason.UPSTREAM)
        assert ended.error == Failure(type=FAILURE.type, message=FAILURE.message)


def test_chord_whose_header_fails(stage: Stage, near: Site) -> None:
    header = [new_job() for _ in range(3)]
    body = after(*header, kind=CHORD)
    errback = after(body, kind=ERROR)
    last = after(body)
    stage.producer.enqueue([*header, body, errback, last])
    end(near, header[1], K.FAILED, error=FAILURE)
    ended = job_of(stage, body.id)
    assert ended.error is not None
    assert ended.error.type == "outsourced.errors.ChordError"
    assert ended.error.message == f"Dependency {header[1].id} raised ValueError('no')"
    assert states_of(stage, body, errback, last) == [S.FAILED, S.UNASSIGNED, S.FAILED]
    end(near, header[0], K.FAILED, error=FAILURE)
    end(near, header[2])
    assert args_of(stage, errback)[0].failure.message == ended.error.message


def test_errback_of_a_chord_hears_of_a_chain_in_its_header(stage: Stage, near: Site) -> None:
    first, other = new_job(), new_job()
    second = after(first)
    body = after(second, other, kind=CHORD)
    errback, of_the_chain = after(body, kind=ERROR), after(second, kind=ERROR)
    stage.producer.enqueue([first, other, second, body, errback, of_the_chain])
    end(near, first, K.FAILED, error=FAILURE)
    assert states_of(stage, second, body, errback, of_the_chain) == [
        S.FAILED,
        S.FAILED,
        S.UNASSIGNED,
        S.CANCELLED,
    ]
    assert args_of(stage, errback)[0].id == str(body.id)
    end(near, errback)


def test_errback_is_given_what_failed(stage: Stage, near: Site) -> None:
    job = new_job()
    errback = after(job, kind=ERROR)
    stage.producer.enqueue([job, errback])
    end(near, job, K.FAILED, error=FAILURE)
    failed, *rest = args_of(stage, errback)
    assert (failed.id, failed.task, failed.args, failed.failure, rest) == (
        str(job.id),
        job.task,
        [1, 2],
        FAILURE,
        [1, 2],
    )


def test_errback_of_several_is_called_once(stage: Stage, near: Site) -> None:
    first = new_job()
    second = after(first)
    errback, other = after(first, second, kind=ERROR), after(second, kind=ERROR)
    stage.producer.enqueue([first, second, errback, other])
    end(near, first, K.FAILED, error=FAILURE)
    assert states_of(stage, second, errback, other) == [S.FAILED, S.UNASSIGNED, S.CANCELLED]
    assert job_of(stage, other.id).reason == Reason.NOT_NEEDED


def test_errback_nobody_needs_is_cancelled(stage: Stage, near: Site) -> None:
    first = new_job()
    second = after(first)
    errback = after(first, second, kind=ERROR)
    stage.producer.enqueue([first, second, errback])
    end(near, first)
    assert state_of(stage, errback.id) is S.WAITING
    end(near, second)
    assert state_of(stage, errback.id) is S.CANCELLED


def test_cancel_takes_those_along_that_wait(stage: Stage, near: Site) -> None:
    first = new_job()
    second = after(first)
    errback = after(first, kind=ERROR)
    stage.producer.enqueue([first, second, errback])
    stage.producer.cancel(first.id)
    assert states_of(stage, first, second, errback) == [S.CANCELLED, S.FAILED, S.CANCELLED]
    error = job_of(stage, second.id).error
    assert error is not None
    assert (error.type, error.message) == ("outsourced.errors.JobRevoked", f"job {first.id} is cancelled")


def test_dates_count_from_the_admission(stage: Stage, near: Site) -> None:
    job = new_job()
    second = after(job, runs_in=MINUTE, expires_in=2 * MINUTE)
    stage.producer.enqueue([job, second])
    stage.pass_time(600)
    stage.tick()
    end(near, job)
    ended, waits = job_of(stage, job.id), job_of(stage, second.id)
    assert waits.state is S.SCHEDULED
    assert ended.ended_at is not None
    assert waits.expires_at is not None
    assert MINUTE <= waits.runs_at - ended.ended_at < 2 * MINUTE
    assert abs(waits.expires_at - waits.runs_at - MINUTE) < timedelta(seconds=1)


def test_retry_of_what_was_never_given_its_results_is_refused(stage: Stage, near: Site) -> None:
    job = new_job()
    second = after(job)
    stage.producer.enqueue([job, second])
    end(near, job, K.FAILED, error=FAILURE)
    with pytest.raises(InvalidTransition, match="never given"):
        stage.retry(second.id)


def test_retry_has_those_wait_again_that_failed_with_it(stage: Stage, near: Site) -> None:
    first = new_job()
    second = after(first)
    third = after(second)
    stage.producer.enqueue([first, second, third])
    end(near, first, K.FAILED, error=FAILURE)
    stage.retry(first.id)
    assert states_of(stage, first, second, third) == [S.UNASSIGNED, S.WAITING, S.WAITING]
    end(near, first, result="7")
    assert args_of(stage, second) == [7, 1, 2]
    end(near, second, result="8")
    assert args_of(stage, third) == [8, 1, 2]
    assert events_of(stage, second.id)[:4] == [Event.ENQUEUE, Event.FAIL, Event.RETRY, Event.ADMIT]


def test_retry_that_fails_again_fails_them_again(stage: Stage, near: Site) -> None:
    first = new_job()
    second = after(first)
    stage.producer.enqueue([first, second])
    for _ in range(2):
        end(near, first, K.FAILED, error=FAILURE)
        assert states_of(stage, first, second) == [S.FAILED, S.FAILED]
        stage.retry(first.id)
    end(near, first, result="7")
    assert args_of(stage, second) == [7, 1, 2]


def test_retry_of_the_one_that_failed_lets_a_chord_complete(stage: Stage, near: Site) -> None:
    header = [new_job() for _ in range(3)]
    body = after(*header, kind=CHORD)
    stage.producer.enqueue([*header, body])
    end(near, header[0], result="0")
    end(near, header[1], K.FAILED, error=FAILURE)
    stage.retry(header[1].id)
    end(near, header[2], result="2")
    assert state_of(stage, body.id) is S.WAITING
    end(near, header[1], result="1")
    assert args_of(stage, body)[0] == [0, 1, 2]


def test_chord_of_which_two_failed_waits_once_both_are_retried(stage: Stage, near: Site) -> None:
    header = [new_job() for _ in range(2)]
    body = after(*header, kind=CHORD)
    stage.producer.enqueue([*header, body])
    for job in header:
        end(near, job, K.FAILED, error=FAILURE)
    stage.retry(header[0].id)
    end(near, header[0], result="0")
    assert state_of(stage, body.id) is S.FAILED
    stage.retry(header[1].id)
    assert state_of(stage, body.id) is S.WAITING
    end(near, header[1], result="1")
    assert args_of(stage, body)[0] == [0, 1]


def test_what_would_be_given_a_forgotten_result_does_not_wait_again(stage: Stage, near: Site) -> None:
    header = [new_job() for _ in range(2)]
    body = after(*header, kind=CHORD)
    stage.producer.enqueue([*header, body])
    end(near, header[0], result="0")
    end(near, header[1], K.FAILED, error=FAILURE)
    stage.producer.forget(header[0].id)
    stage.retry(header[1].id)
    assert states_of(stage, header[1], body) == [S.UNASSIGNED, S.FAILED]


def test_errback_that_ran_waits_for_another_failure(stage: Stage, near: Site) -> None:
    job = new_job()
    errback = after(job, kind=ERROR)
    behind = after(errback)
    stage.producer.enqueue([job, errback, behind])
    end(near, job, K.FAILED, error=FAILURE)
    end(near, errback)
    end(near, behind)
    stage.retry(job.id)
    assert states_of(stage, errback, behind) == [S.WAITING, S.WAITING]
    assert args_of(stage, errback) == args_of(stage, behind) == [1, 2]
    again = Failure(type="KeyError", message="'a'")
    end(near, job, K.FAILED, error=again)
    failed, *rest = args_of(stage, errback)
    assert (failed.failure, rest) == (again, [1, 2])


def test_errback_is_not_needed_where_the_retry_works(stage: Stage, near: Site) -> None:
    job = new_job()
    errback = after(job, kind=ERROR)
    stage.producer.enqueue([job, errback])
    end(near, job, K.FAILED, error=FAILURE)
    end(near, errback)
    stage.retry(job.id)
    end(near, job)
    assert (state_of(stage, errback.id), job_of(stage, errback.id).reason) == (S.CANCELLED, Reason.NOT_NEEDED)


def test_errback_of_a_chain_hears_of_what_fails_after_the_retry(stage: Stage, near: Site) -> None:
    first = new_job()
    second = after(first)
    errback, other = after(first, second, kind=ERROR), after(second, kind=ERROR)
    stage.producer.enqueue([first, second, errback, other])
    end(near, first, K.FAILED, error=FAILURE)
    end(near, errback)
    stage.retry(first.id)
    end(near, first)
    assert states_of(stage, errback, other) == [S.WAITING, S.WAITING]
    end(near, second, K.FAILED, error=FAILURE)
    assert [args_of(stage, one)[0].id for one in (errback, other)] == [str(second.id)] * 2


def test_errback_under_way_is_left_alone(stage: Stage, near: Site) -> None:
    job = new_job()
    errback = after(job, kind=ERROR)
    stage.producer.enqueue([job, errback])
    end(near, job, K.FAILED, error=FAILURE)
    stage.retry(job.id)
    assert state_of(stage, errback.id) is S.UNASSIGNED
    end(near, job)
    end(near, errback)


def test_retry_of_what_completed_or_was_cancelled(stage: Stage, near: Site) -> None:
    first, other = new_job(), new_job()
    second, third = after(first), after(other)
    stage.producer.enqueue([first, second, other, third])
    stage.producer.cancel(other.id)
    end(near, first)
    end(near, second)
    stage.retry(first.id)
    stage.retry(other.id)
    assert states_of(stage, second, third) == [S.COMPLETED, S.WAITING]


def test_what_a_person_cancelled_does_not_wait_again(stage: Stage, near: Site) -> None:
    job = new_job()
    second = after(job)
    stage.producer.enqueue([job, second])
    stage.producer.cancel(second.id)
    end(near, job, K.FAILED, error=FAILURE)
    stage.retry(job.id)
    assert state_of(stage, second.id) is S.CANCELLED


def test_those_that_wait_again_need_their_places(stage: Stage, near: Site) -> None:
    job = new_job()
    second = after(job, queue="small")
    stage.producer.enqueue([job, second])
    end(near, job, K.FAILED, error=FAILURE)
    stage.producer.enqueue([new_job(queue="small") for _ in range(3)])
    with pytest.raises(QueueFull):
        stage.retry(job.id)
    assert states_of(stage, job, second) == [S.FAILED, S.FAILED]


def test_wait_for_what_is_not_enqueued_before_is_refused(stage: Stage, near: Site) -> None:
    job = new_job()
    second = after(job)
    for jobs in ([second, job], [second], [job, after(job, job, kind=CHORD)]):
        with pytest.raises(InvalidRequest, match="enqueued before it"):
            stage.producer.enqueue(jobs)
    assert stage.producer.job(job.id) is None


def test_waiting_jobs_take_their_places(stage: Stage) -> None:
    job = new_job(queue="small")
    stage.producer.enqueue([job, after(job, queue="small")])
    with pytest.raises(QueueFull):
        stage.producer.enqueue([new_job(queue="small"), new_job(queue="small")])


def test_retry_of_what_had_completed_is_waited_for_again(stage: Stage, near: Site) -> None:
    header = [new_job() for _ in range(2)]
    body = after(*header, kind=CHORD)
    stage.producer.enqueue([*header, body])
    end(near, header[0], result="0")
    stage.retry(header[0].id)
    end(near, header[1], result="1")
    assert state_of(stage, body.id) is S.WAITING
    end(near, header[0], result="7")
    assert args_of(stage, body)[0] == [7, 1]


def test_retry_of_what_had_completed_is_waited_for_by_what_is_revived_later(stage: Stage, near: Site) -> None:
    header = [new_job() for _ in range(2)]
    body = after(*header, kind=CHORD)
    stage.producer.enqueue([*header, body])
    end(near, header[0], result="0")
    end(near, header[1], K.FAILED, error=FAILURE)
    for job in header:
        stage.retry(job.id)
    end(near, header[1], result="1")
    assert state_of(stage, body.id) is S.WAITING
    end(near, header[0], result="7")
    assert args_of(stage, body)[0] == [7, 1]


def test_retry_of_what_had_completed_takes_nothing_from_those_it_was_given_to(
    stage: Stage, near: Site, far: Site
) -> None:
    first = new_job()
    second = after(first)
    third = after(second)
    stage.producer.enqueue([first, second, third])
    end(near, first, result="1")
    (lease,) = far.claim()
    stage.retry(first.id)
    end(near, first, K.FAILED, error=FAILURE)
    assert states_of(stage, first, second, third) == [S.FAILED, S.ASSIGNED, S.WAITING]
    far.settle(lease, K.COMPLETED, result="2")
    assert args_of(stage, third) == [2, 1, 2]
