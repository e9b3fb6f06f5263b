"""Tasks run here and now: `Task.apply`, and what `delay` does where `task_always_eager` is set.

As a worker would: with hooks, signals and retries, though nothing waits for the next try. There is no
job, so `current_job` and what a job alone has, files and history, are not there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from outsourced import celery_states as states
from outsourced import task_settings
from outsourced.calls import Options, job_id
from outsourced.canvas.signature import Signature, maybe_signature, signatures
from outsourced.context import Call, current_call, hostname, stamped_with
from outsourced.errbacks import takes_several
from outsourced.errors import JobRevoked
from outsourced.payload import decode_call
from outsourced.records import NewJob
from outsourced.request import Request
from outsourced.results import AsyncResult
from outsourced.tracing import Traced, trace

if TYPE_CHECKING:
    from outsourced.tasks import Task

log = logging.getLogger(__name__)

R = TypeVar("R")


class EagerResult(AsyncResult[R]):
    """What became of a task that has run here already."""

    def __init__(
        self, id: str, ret_value: Any, state: str, traceback: str | None = None, name: str | None = None
    ) -> None:
        super().__init__(id)
        self._value = ret_value
        self._state = state
        self._traceback = traceback
        self._name = name
        self._end = (ret_value if state in states.PROPAGATE_STATES else None,)

    def __repr__(self) -> str:
        return f"<EagerResult {self.id}>"

    @property
    def job(self) -> None:
        """There is none."""

    @property
    def state(self) -> str:
        return self._state

    status = state

    def exists(self) -> bool:
        return True

    def ready(self) -> bool:
        return True

    @property
    def result(self) -> R | BaseException | None:
        return cast("R | BaseException | None", self._value)

    info = result

    @property
    def traceback(self) -> str | None:
        return self._traceback

    @property
    def name(self) -> str | None:
        return self._name

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,  # noqa: FBT001, FBT002 - Celery's order
        interval: float | None = None,
        *,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """The return value, at once; raises what the task raised, or RuntimeError inside a task."""
        if disable_sync_subtasks:
            self.require_waiting_allowed()
        if self._state in states.PROPAGATE_STATES and propagate:
            raise self._value
        return cast(R, self._value)

    wait = get

    def forget(self) -> None:
        """Nothing: it is not kept."""

    @property
    def children(self) -> list[AsyncResult[Any]]:
        """None are known."""
        return []

    def revoke(self, *, terminate: bool = False, signal: str | None = None) -> bool:
        """Makes it look revoked: it has run already."""
        self._state = states.REVOKED
        self._value = JobRevoked("revoked", job_id=str(self.job_id))
        self._traceback = None
        return True


@dataclass(frozen=True, slots=True)
class Links:
    """What is called with the result of a call, and if it fails."""

    callbacks: list[Signature] | None
    errbacks: list[Signature] | None

    @classmethod
    def of(cls, link: Any, link_error: Any) -> Links:
        """The signatures: each is one, or several, or None."""
        return cls(signatures(link) or None, signatures(link_error) or None)


def request_of(
    task: Task[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Options,
    links: Links,
) -> Request:
    """The request of a call that runs here and now."""
    outer = current_call()
    parent = outer.request if outer is not None else None
    task_id = str(options.get("task_id") or job_id(None))
    hard, soft = options.get("time_limit"), options.get("soft_time_limit")
    ignored = options.get("ignore_result")
    return Request(
        id=task_id,
        task=task.name,
        args=args,
        kwargs=kwargs,
        is_eager=True,
        called_directly=False,
        hostname=hostname(),
        parent_id=None if parent is None else parent.id,
        root_id=task_id if parent is None else parent.root_id or task_id,
        headers=options.get("headers"),
        time_limit=task.limits[0] if hard is None else hard,
        soft_time_limit=task.limits[1] if soft is None else soft,
        ignore_result=task.ignore_result if ignored is None else ignored,
        shadow=options.get("shadow"),
        callbacks=links.callbacks,
        errbacks=links.errbacks,
        **stamped_with(options.get("stamps")),
        delivery_info={
            "is_eager": True,
            "exchange": options.get("exchange"),
            "routing_key": options.get("routing_key"),
            "priority": options.get("priority"),
        },
    )


def apply(task: Task[..., R], request: Request, *, throw: bool, may_wait: bool = True) -> EagerResult[R]:
    """Runs the call, and runs it again as often as it asks for that."""
    while True:
        args, kwargs = request.args or (), request.kwargs or {}
        call = Call(task, args, kwargs, request=request, may_wait=may_wait)
        traced = trace(call, encode=lambda _: None, then=partial(_call_links, request), hooks_may_fail=True)
        if traced.state != states.RETRY:
            return _result(task, request, traced, throw=throw)
        if traced.wish is not None and traced.wish.again is not None:
            request.args, request.kwargs = traced.wish.again
        request.retries += 1


def _result(task: Task[..., R], request: Request, traced: Traced, *, throw: bool) -> EagerResult[R]:
    assert request.id is not None
    if traced.state == states.FAILURE and throw:
        raise traced.value
    traceback = None if traced.einfo is None else traced.einfo.traceback
    return EagerResult(request.id, traced.value, traced.state, traceback=traceback, name=task.name)


def _call_links(request: Request, traced: Traced) -> None:
    if traced.state == states.SUCCESS:
        for callback in request.callbacks or ():
            maybe_signature(callback).apply_async((traced.value,))
    elif traced.state == states.FAILURE:
        for errback in request.errbacks or ():
            _call_errback(maybe_signature(errback), request, traced)


def _call_errback(errback: Signature, request: Request, traced: Traced) -> None:
    """As in Celery: called inline with request, exception and traceback, or run with the id alone."""
    parameters = getattr(errback.type, "parameters", None)
    if errback.kind is not None or parameters is None or not takes_several(parameters):
        errback.apply((request.id,))
        return
    traceback = None if traced.einfo is None else traced.einfo.traceback
    try:
        errback(request, traced.value, traceback)
    except Exception:
        log.exception("errback %r of %s[%s] failed", errback, request.task, request.id)


def apply_as_if_sent(task: Task[..., R], job: NewJob, options: Options, links: Links) -> EagerResult[R]:
    """Runs a job that would have been enqueued, with its arguments as they would have arrived."""
    args, kwargs, _ = decode_call(job.payload)
    request = request_of(task, args, kwargs, {**options, "task_id": options.get("task_id") or job.id}, links)
    throw = task_settings.current().eager_propagates
    result = apply(task, request, throw=throw, may_wait=False)
    call = current_call()
    if call is not None and options.get("add_to_parent", True):
        call.request.children.append(result)
    return result
