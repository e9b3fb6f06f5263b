"""One call of a task from its first signal to its last: what a worker does, and `Task.apply`.

`trace` never raises what the task raised: however it ends becomes one Traced. Hooks and signals come in
Celery's order: prerun, before_start, the function, on_success, on_retry or on_failure with its signal,
after_return, postrun.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from outsourced import celery_states as states
from outsourced import signals
from outsourced.context import Call
from outsourced.einfo import ExceptionInfo
from outsourced.errors import PayloadError
from outsourced.exceptions import Ignore, Reject, Retry

log = logging.getLogger(__name__)

#: makes what holds a call to its time limits: the hard one and the soft one, in seconds
Limit = Callable[[float | None, float | None], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """How a call ended."""

    state: str  #: Celery's name
    value: Any = None  #: the return value, or the exception
    encoded: str | None = None  #: the return value as it travels
    wish: Retry | None = None  #: to be tried again, if there is a try left
    einfo: ExceptionInfo | None = None


def unlimited(_hard: float | None, _soft: float | None) -> AbstractContextManager[Any]:
    """Holds nothing to its limits."""
    return nullcontext()


def trace(
    call: Call,
    *,
    encode: Callable[[Any], str | None],
    limit: Limit = unlimited,
    then: Callable[[Traced], None] | None = None,
    hooks_may_fail: bool = False,
) -> Traced:
    """Runs the call with its hooks and signals; `encode` puts the return value in a form that travels.

    `then` is told of the end before the hooks are. With `hooks_may_fail` what a hook raises after the end is
    raised; else it is only logged.
    """
    traced = Traced(state=states.FAILURE)
    with call.here():
        if signals.task_prerun.receivers:
            signals.task_prerun.send(
                call.task, task_id=call.id, task=call.task, args=call.args, kwargs=call.kwargs
            )
        try:
            traced = _run(call, encode, limit)
            if then is not None:
                then(traced)
            _follow_up(call, traced, hooks_may_fail=hooks_may_fail)
        finally:
            if signals.task_postrun.receivers:
                signals.task_postrun.send(
                    call.task,
                    task_id=call.id,
                    task=call.task,
                    args=call.args,
                    kwargs=call.kwargs,
                    retval=traced.value,
                    state=traced.state,
                )
    return traced


def _run(call: Call, encode: Callable[[Any], str | None], limit: Limit) -> Traced:
    try:
        with limit(*call.limits):
            call.task.before_start(call.id, call.args, call.kwargs)
            value = call.run()
        if call.wish is not None:
            raise call.wish
        return Traced(state=states.SUCCESS, value=value, encoded=encode(value))
    except Retry as wish:
        return Traced(state=states.RETRY, value=wish, wish=wish, einfo=ExceptionInfo(_told(wish)))
    except Ignore as wish:
        return Traced(state=states.IGNORED, value=wish)
    except Reject as wish:
        return Traced(state=states.REJECTED, value=wish)
    except BaseException as error:  # noqa: BLE001 - SystemExit too is the job's failure, not the worker's end
        return after_error(call, error)


def after_error(call: Call, error: BaseException) -> Traced:
    """What an exception of the task means: a failure, or another try where the task wants that."""
    wish = None if call.exhausted or isinstance(error, PayloadError) else _automatic_retry(call, error)
    budget = call.max_retries if wish is None or wish.max_retries is None else wish.max_retries
    is_last = wish is None or (budget is not None and call.retries >= budget)
    return Traced(
        state=states.FAILURE if is_last else states.RETRY,
        # the store has the last word on the budget, hence the wish even so
        value=error if is_last else wish,
        wish=wish,
        einfo=ExceptionInfo(without_our_frames(error)),
    )


def _automatic_retry(call: Call, error: BaseException) -> Retry | None:
    policy = call.task.retry_policy
    if not policy.retries(error):
        return None
    given = call.task.retry_kwargs
    delay = policy.next_delay(call.retries)
    if not policy.backoff and "countdown" in given:
        delay = timedelta(seconds=given["countdown"])
    return Retry(
        None,
        error,
        delay.total_seconds(),
        delay=delay,
        max_retries=given.get("max_retries"),
    )


def _follow_up(call: Call, traced: Traced, *, hooks_may_fail: bool) -> None:
    try:
        _tell(call, traced)
    except Exception:
        if hooks_may_fail:
            raise
        log.exception("a hook of %s[%s] failed; the task has ended all the same", call.task.name, call.id)


def _tell(call: Call, traced: Traced) -> None:
    task, facts, einfo = call.task, (call.id, call.args, call.kwargs), traced.einfo
    match traced.state:
        case states.SUCCESS:
            task.on_success(traced.value, *facts)
            if signals.task_success.receivers:
                signals.task_success.send(task, result=traced.value)
        case states.RETRY:
            assert einfo is not None
            task.on_retry(traced.value.exc, *facts, einfo)
            if signals.task_retry.receivers:
                signals.task_retry.send(task, request=call.request, reason=traced.value, einfo=einfo)
        case states.FAILURE:
            assert einfo is not None
            task.on_failure(traced.value, *facts, einfo)
            _tell_failure(call, traced)
        case states.REJECTED:
            if signals.task_rejected.receivers:
                signals.task_rejected.send(task, message=call.request, exc=traced.value)
    if traced.state in (states.SUCCESS, states.FAILURE):
        task.after_return(traced.state, traced.value, *facts, einfo)


def _tell_failure(call: Call, traced: Traced) -> None:
    if signals.task_failure.receivers:
        signals.task_failure.send(
            call.task,
            task_id=call.id,
            exception=traced.value,
            args=call.args,
            kwargs=call.kwargs,
            traceback=traced.value.__traceback__,
            einfo=traced.einfo,
        )


def _told(wish: Retry) -> BaseException:
    """The exception that is the cause of another try."""
    if wish.exc is None:
        return without_our_frames(wish.__context__ or wish)
    if wish.exc.__traceback__ is None:
        wish.exc.__traceback__ = wish.__traceback__
    return without_our_frames(wish.exc)


def without_our_frames(error: BaseException) -> BaseException:
    """The exception, its traceback beginning in the application's code."""
    frames = error.__traceback__
    while (
        frames is not None
        and frames.tb_next is not None
        and frames.tb_frame.f_globals.get("__name__") in _OURS
    ):
        frames = frames.tb_next
    return error.with_traceback(frames)


_OURS = frozenset(
    {
        __name__,
        Call.__module__,
        "outsourced.execution",
        "outsourced.tasks",
        "outsourced.pydantic_models",
    }
)
