"""A leased job, run to its outcome: used by every pool of the worker, and by tests.

`execute` never raises what the task raised: whatever happens becomes one Outcome.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from outsourced import celery_states as states
from outsourced import following, joblog
from outsourced.context import Call, LeaseSide, RunningJob, Tell, untold
from outsourced.errbacks import called_with
from outsourced.errors import NotRegistered
from outsourced.exceptions import Reject, Replaced, Retry
from outsourced.payload import decode_call, describe_failure, encode_result
from outsourced.records import Changed, Failure, Lease, Outcome, OutcomeKind, Progress, Told
from outsourced.registry import Registry
from outsourced.signals import task_unknown
from outsourced.states import Reason
from outsourced.tasks import Task, exception_classes
from outsourced.tracing import Limit, Traced, after_error, trace, unlimited, without_our_frames

log = logging.getLogger(__name__)


class _Ending(NamedTuple):
    """How a call ended; the fields are the Outcome's."""

    kind: OutcomeKind
    result: str | None = None
    error: Failure | None = None
    delay: float | None = None
    max_retries: int | None = None
    reason: str | None = None
    changes: Changed | None = None
    replaced_by: UUID | None = None


#: makes what surrounds one call
Around = Callable[[], AbstractContextManager[Any, None]]


def telling(lease: Lease, send: Callable[[Told], object]) -> Tell:
    """What sends each progress of the leased job at once."""
    numbers = itertools.count()

    def tell(progress: Progress) -> None:
        send(Told(lease_id=lease.id, job_id=lease.job_id, number=next(numbers), progress=progress))

    return tell


def execute(
    lease: Lease,
    registry: Registry,
    files: LeaseSide,
    *,
    around: Around = nullcontext,
    limit: Limit = unlimited,
    tell: Tell = untold,
) -> Outcome:
    """Runs the job in this thread and tells how it ended.

    The call runs inside a fresh `around()`; what that raises is the job's failure too. `limit` holds it
    to its time limits, `tell` takes what it says of itself meanwhile.
    """
    task = registry.get(lease.task)
    if task is None:
        return _give_back(lease, registry)
    began = time.monotonic()
    job = RunningJob(lease, files, tell)
    try:
        ending = _run(task, job, around, limit, began)
    finally:
        job.clean_up()
    now = time.monotonic()
    return Outcome(
        lease_id=lease.id,
        job_id=lease.job_id,
        kind=ending.kind,
        result=ending.result,
        error=ending.error,
        delay=ending.delay,
        max_retries=ending.max_retries,
        ran_for=now - began,
        ended_at=now,
        reason=ending.reason,
        changes=ending.changes,
        replaced_by=ending.replaced_by,
    )


def _run(task: Task[..., Any], job: RunningJob, around: Around, limit: Limit, began: float) -> _Ending:
    try:
        args, kwargs, extras = decode_call(job.lease.payload)
        following.require_given(args)
    except Exception as error:  # noqa: BLE001 - results that were withheld, or the payload of a forger
        failure = describe_failure(without_our_frames(error))
        joblog.failed(job.lease, error, failure, expected=_is_expected(task, error))
        return _failed(failure)
    call = Call(task, called_with(args, task.parameters), kwargs, job=job, extras=extras)
    traced: Traced | None = None
    try:
        with around():
            traced = trace(call, encode=partial(_encoded, call), limit=limit)
            if traced.state != states.SUCCESS:
                raise traced.value  # what surrounds the call is to see how it ended
    except BaseException as error:  # noqa: BLE001 - SystemExit too is the job's failure, not the worker's end
        if traced is None or error is not traced.value:
            traced = after_error(call, error)
    return _ending(call, job.lease, traced, began)


def _encoded(call: Call, value: Any) -> str | None:
    # what nobody asks for may yet be what another job is to be given
    ignored = call.ignores_result and (call.lease is None or not call.lease.passes_result)
    return None if value is None or ignored else encode_result(value)


def _ending(call: Call, lease: Lease, traced: Traced, began: float) -> _Ending:
    match traced.state:
        case states.SUCCESS:
            joblog.succeeded(lease, traced.value, began=began)
            return _Ending(OutcomeKind.COMPLETED, traced.encoded)
        case states.IGNORED if isinstance(traced.value, Replaced):
            joblog.replaced(lease, traced.value)
            by = traced.value.by
            # the job is of another task from now on: its history remembers
            return _Ending(OutcomeKind.REPLACED, replaced_by=by, reason=f"{lease.task}, by {by}")
        case states.IGNORED if call.told_failure is not None:
            joblog.told_failure(lease, call.told_failure)
            return _failed(call.told_failure)
        case states.IGNORED:
            joblog.ignored(lease)
            return _Ending(OutcomeKind.IGNORED)
        case states.REJECTED:
            return _rejected(lease, traced.value)
    assert traced.einfo is not None
    error = without_our_frames(traced.einfo.exception)
    failure = describe_failure(error)
    if traced.state == states.RETRY:
        assert traced.wish is not None
        joblog.retried(lease, traced.wish, error)
    else:
        joblog.failed(lease, error, failure, expected=_is_expected(call.task, error))
    if traced.wish is not None:
        return _retried(traced.wish, failure)
    return _failed(failure, exhausted=call.exhausted)


def _rejected(lease: Lease, wish: Reject) -> _Ending:
    kind = OutcomeKind.RELEASED if wish.requeue else OutcomeKind.REJECTED
    joblog.rejected(lease, wish)
    return _Ending(kind, error=None if wish.requeue else describe_failure(wish))


def _retried(wish: Retry, failure: Failure) -> _Ending:
    return _Ending(
        OutcomeKind.RETRY,
        error=failure,
        delay=wish.delay.total_seconds() if wish.delay is not None else 0.0,
        max_retries=wish.max_retries,
        changes=wish.changes,
    )


def _is_expected(task: Task[..., Any], error: BaseException) -> bool:
    return isinstance(error, exception_classes(task.throws))


def _failed(failure: Failure, *, exhausted: bool = False) -> _Ending:
    return _Ending(
        OutcomeKind.FAILED, error=failure, reason=Reason.RETRIES_EXHAUSTED.value if exhausted else None
    )


def _give_back(lease: Lease, registry: Registry) -> Outcome:
    reason = f"this worker knows no task {lease.task!r}"
    log.error("%s; it imported %s", reason, ", ".join(registry.modules()) or "no tasks")
    if task_unknown.receivers:
        task_unknown.send(
            None,
            message=lease,
            exc=NotRegistered(reason, task=lease.task),
            name=lease.task,
            id=str(lease.job_id),
        )
    return Outcome(lease_id=lease.id, job_id=lease.job_id, kind=OutcomeKind.RELEASED, reason=reason)
