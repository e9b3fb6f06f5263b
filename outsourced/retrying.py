"""Small steps of `Task.retry`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

from outsourced import calls, clock
from outsourced.calls import Options
from outsourced.context import Call
from outsourced.exceptions import Retry
from outsourced.payload import changed_call, decode_call
from outsourced.records import Changed, NewJob

if TYPE_CHECKING:
    from outsourced.tasks import Task

#: options of a call that the next try may have anew
CHANGEABLE = frozenset(
    {"priority", "expires", "time_limit", "soft_time_limit", "headers", "ignore_result", "shadow"}
)
#: Celery's, which mean nothing here
MEANINGLESS = frozenset({"serializer", "compression", "retry", "retry_policy", "add_to_parent"})


class Again(NamedTuple):
    """What the task is called with at its next try."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]


def raise_with_context(error: BaseException) -> NoReturn:
    """Raises the error, because of the one that is being handled."""
    handled = sys.exc_info()[1]
    if handled is None or handled is error:
        raise error
    raise error from handled


def again(call: Call, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> Again | None:
    """What the next try is called with; None: the same. Raises TypeError for what the task does not take.

    Where only one of the two is given it goes before what the other one says of the same parameters.
    """
    if args is None and kwargs is None:
        return None
    task: Task[..., Any] = call.task
    made = _complete(task.parameters, call, args, kwargs)
    task.check(*made)
    return made


def _complete(
    signature: inspect.Signature,
    call: Call,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
) -> Again:
    parameters = signature.parameters
    both = inspect.Parameter.POSITIONAL_OR_KEYWORD
    if args is None:
        args, kwargs = list(call.args), dict(kwargs or {})
        for number, name in enumerate(list(parameters)[: len(args)]):
            if parameters[name].kind is both and name in kwargs:
                args[number] = kwargs.pop(name)
        return Again(args, kwargs)
    if kwargs is None:
        taken = {name for name in list(parameters)[: len(args)] if parameters[name].kind is both}
        kwargs = {name: value for name, value in call.kwargs.items() if name not in taken}
    return Again(args, kwargs)


def changes(call: Call, made: Again | None, options: Mapping[str, Any]) -> Changed | None:
    """What is other about the job at its next try, for the store; None: nothing is, or there is no job.

    Raises TypeError, ValueError or PayloadError, each naming the argument that is wrong.
    """
    given = {name: value for name, value in options.items() if value is not None and name not in MEANINGLESS}
    if call.lease is not None and given.get("queue") == call.lease.queue:
        del given["queue"]  # where it is
    _require_changeable(given)
    if call.lease is None or (made is None and not given):
        return None
    job = calls.new_job(call.task.name, (), {}, options=cast(Options, given))
    return Changed(
        payload=_payload(call, made, extras=decode_call(job.payload).extras),
        priority=job.priority if "priority" in given else None,
        expires_in=_seconds_to_expiry(job),
    )


def _require_changeable(given: Mapping[str, Any]) -> None:
    refused = sorted(given.keys() - CHANGEABLE)
    if refused:
        raise TypeError(
            f"retry() cannot change {', '.join(refused)}: the job stays what it is but for its arguments, "
            f"{', '.join(sorted(CHANGEABLE))}; enqueue another one, and raise Ignore()"
        )


def _payload(call: Call, made: Again | None, *, extras: Mapping[str, Any]) -> str | None:
    if made is None and not extras:
        return None
    assert call.lease is not None
    limits = {**call.extras, **extras}
    calls.require_soft_first(limits.get("soft_time_limit"), limits.get("time_limit"))
    args, kwargs = (None, None) if made is None else call.task.dumped(*made)
    return changed_call(call.lease.payload, args=args, kwargs=kwargs, extras=extras)


def _seconds_to_expiry(job: NewJob) -> float | None:
    if job.expires_at is not None:
        return max(0.0, (job.expires_at - clock.now()).total_seconds())
    return None if job.expires_in is None else job.expires_in.total_seconds()


def wish(
    exc: BaseException | None,
    *,
    delay: timedelta,
    max_retries: int | None,
    when: float | timedelta | datetime | None,
    again: Again | None = None,
    changes: Changed | None = None,
) -> Retry:
    """What tells the worker to try the job again."""
    return Retry(
        None,
        exc,
        when if isinstance(when, datetime) else delay.total_seconds(),
        delay=delay,
        max_retries=max_retries,
        again=again,
        changes=changes,
    )
