"""A leased job, run to its outcome: used by every pool of the worker, and by tests.

`execute` never raises what the task raised: whatever happens becomes one Outcome.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from outsourced.context import Call, LeaseSide, RunningJob
from outsourced.errbacks import called_with
from outsourced.errors import PayloadError
from outsourced.exceptions import Ignore, Reject, Retry
from outsourced.payload import decode_call, describe_failure, encode_result
from outsourced.records import Failure, Lease, Outcome, OutcomeKind
from outsourced.registry import Registry
from outsourced.states import Reason
from outsourced.tasks import Task

log = logging.getLogger(__name__)


class _Ending(NamedTuple):
    """How a call ended; the fields are the Outcome's."""

    kind: OutcomeKind
    result: str | None = None
    error: Failure | None = None
    delay: float | None = None
    max_retries: int | None = None
    reason: str | None = None


#: makes what surrounds one call
Around = Callable[[], AbstractContextManager[Any, None]]


def execute(lease: Lease, registry: Registry, files: LeaseSide, *, around: Around = nullcontext) -> Outcome:
    """Runs the job in this thread and tells how it ended.

    The call runs inside a fresh `around()`; what that raises is the job's failure too.
    """
    task = registry.get(lease.task)
    if task is None:
        return _give_back(lease, registry)
    began = time.monotonic()
    job = RunningJob(lease, files)
    try:
        ending = _run(task, job, around)
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
    )


def _run(task: Task[..., Any], job: RunningJob, around: Around) -> _Ending:
    call: Call | None = None
    try:
        args, kwargs = decode_call(job.lease.payload)
        call = Call(task, called_with(args, task.parameters), kwargs, job=job)
        with around():
            value = call.run()
            if call.wish is not None:
                raise call.wish
            return _completed(task, job.lease, value)
    except (Retry, Ignore, Reject) as wish:
        return _as_wished(job.lease, wish)
    except BaseException as error:  # noqa: BLE001 - SystemExit too is the job's failure, not the worker's end
        return _failed(task, job.lease, error, exhausted=call is not None and call.exhausted)


def _completed(task: Task[..., Any], lease: Lease, value: Any) -> _Ending:
    # what nobody asks for may yet be what another job is to be given
    if value is None or (task.ignore_result and not lease.passes_result):
        return _Ending(OutcomeKind.COMPLETED)
    return _Ending(OutcomeKind.COMPLETED, encode_result(value))


def _as_wished(lease: Lease, wish: Retry | Ignore | Reject) -> _Ending:
    match wish:
        case Retry():
            log.info("%s[%s] %s", lease.task, lease.job_id, wish)
            return _Ending(
                OutcomeKind.RETRY,
                error=describe_failure(_cause_of(wish)),
                delay=wish.delay.total_seconds() if wish.delay is not None else 0.0,
                max_retries=wish.max_retries,
            )
        case Ignore():
            return _Ending(OutcomeKind.IGNORED)
        case Reject():
            kind = OutcomeKind.RELEASED if wish.requeue else OutcomeKind.REJECTED
            log.info("%s[%s] is %s by its task: %s", lease.task, lease.job_id, kind, wish.reason)
            return _Ending(kind, error=None if wish.requeue else describe_failure(wish))


def _cause_of(wish: Retry) -> BaseException:
    if wish.exc is None:
        return wish.__context__ or wish
    return wish.exc if wish.exc.__traceback__ else wish.exc.with_traceback(wish.__traceback__)


def _failed(task: Task[..., Any], lease: Lease, error: BaseException, *, exhausted: bool) -> _Ending:
    failure = describe_failure(_without_our_frames(error))
    if not exhausted and not isinstance(error, PayloadError) and task.retry_policy.retries(error):
        delay = task.retry_policy.next_delay(lease.failures).total_seconds()
        log.info(
            "%s[%s] failed, may be tried again in %g s: %s", lease.task, lease.job_id, delay, failure.message
        )
        return _Ending(OutcomeKind.RETRY, error=failure, delay=delay)
    if isinstance(error, task.throws):
        log.info("%s[%s] failed as expected: %s: %s", lease.task, lease.job_id, failure.type, failure.message)
    else:
        log.error("%s[%s] failed\n%s", lease.task, lease.job_id, failure.traceback.rstrip())
    return _Ending(
        OutcomeKind.FAILED, error=failure, reason=Reason.RETRIES_EXHAUSTED.value if exhausted else None
    )


def _without_our_frames(error: BaseException) -> BaseException:
    frames = error.__traceback__
    while (
        frames is not None
        and frames.tb_next is not None
        and frames.tb_frame.f_globals.get("__name__") in _OURS
    ):
        frames = frames.tb_next
    return error.with_traceback(frames)


_OURS = frozenset({__name__, Call.__module__})


def _give_back(lease: Lease, registry: Registry) -> Outcome:
    reason = f"this worker knows no task {lease.task!r}"
    log.error("%s; it imported %s", reason, ", ".join(registry.modules()) or "no tasks")
    return Outcome(lease_id=lease.id, job_id=lease.job_id, kind=OutcomeKind.RELEASED, reason=reason)
