"""Job classes, as delayed_job has them: a class with `perform`, and hooks around it.

    class SendInvoice:
        max_attempts = 5
        queue_name = "mail"

        def perform(self, order_id): ...
        def failure(self, job, error): ...

A class becomes a task under its short name and under `module.Class`. Beside `perform` it may have
the methods `enqueue(job)`, called where the job is enqueued and free to raise; `before(job)`,
`after(job)`, `success(job)`, `error(job, error)` and `failure(job, error)`, called where it runs; and
`reschedule_at(now, attempts)`, which gives the moment of the next try. A new instance, made without
arguments, does all of that for one attempt.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import ModuleType
from typing import Any, Unpack

from outsourced import clock
from outsourced.calls import Options
from outsourced.context import current_job
from outsourced.definition import define
from outsourced.exceptions import TaskPredicate
from outsourced.records import Edge, NewJob
from outsourced.registry import Registry, registry
from outsourced.tasks import Task

#: how often a job is tried unless its class says otherwise, as in delayed_job
MAX_ATTEMPTS = 25


class JobClassTask(Task[..., Any]):
    """A job class as a task."""

    job_class: type

    def new_job(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> NewJob:
        """As of every task; the class's own `enqueue` is called with it, and may refuse it by raising."""
        job = super().new_job(args, kwargs, **options)
        _call(self.job_class(), "enqueue", job)
        return job

    def waiting_job(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        after: tuple[Edge, ...],
        options: Mapping[str, Any],
    ) -> NewJob:
        job = super().waiting_job(args, kwargs, after=after, options=options)
        _call(self.job_class(), "enqueue", job)
        return job


def is_job_class(thing: object) -> bool:
    """Whether it is a class that defines, or inherits, `perform`."""
    return isinstance(thing, type) and callable(getattr(thing, "perform", None))


def task_of(job_class: type, *, into: Registry = registry) -> JobClassTask:
    """The class's task, registered; raises TypeError, or TaskAlreadyRegistered for a name that is taken."""
    if not is_job_class(job_class):
        raise TypeError(f"{job_class.__name__} is no job class: it has no method `perform`")
    task = into.get(_full_name(job_class))
    if isinstance(task, JobClassTask) and task.job_class is job_class:
        return task
    task = _task(job_class)
    into.add(task, also=_full_name(job_class))
    return task


def _task(job_class: type) -> JobClassTask:
    made = define(
        _performing(job_class),
        base=JobClassTask,
        bind=True,
        options={
            "job_class": job_class,
            "name": job_class.__name__,
            "queue": getattr(job_class, "queue_name", None),
            "priority": getattr(job_class, "priority", 0),
            "max_retries": max(0, getattr(job_class, "max_attempts", MAX_ATTEMPTS) - 1),
        },
    )
    assert isinstance(made, JobClassTask)
    return made


def register(module: ModuleType, *, into: Registry = registry) -> None:
    """Registers the job classes that this module itself defines; raises TaskAlreadyRegistered."""
    for thing in vars(module).values():
        if is_job_class(thing) and thing.__module__ == module.__name__:
            task_of(thing, into=into)


def _full_name(job_class: type) -> str:
    return f"{job_class.__module__}.{job_class.__qualname__}"


def _performing(job_class: type) -> Callable[..., Any]:
    """The function that the task runs: one attempt, hooks and all."""

    @functools.wraps(job_class.perform)  # type: ignore[attr-defined]
    def perform(task: JobClassTask, *args: Any, **kwargs: Any) -> Any:
        job, me = current_job, job_class()
        try:
            _call(me, "before", job)
            value = me.perform(*args, **kwargs)
            _call(me, "success", job)
        except TaskPredicate:
            raise  # no error: it says how the attempt ends
        except Exception as error:
            _call(me, "error", job, error)
            attempts = task.request.retries + 1
            if task.max_retries is not None and attempts > task.max_retries:
                _call(me, "failure", job, error)
                raise
            task.retry(exc=error, countdown=_wait(me, attempts), max_retries=task.max_retries)
        finally:
            _call(me, "after", job)
        return value

    return perform


def _call(instance: Any, hook: str, *args: Any) -> None:
    method = getattr(instance, hook, None)
    if callable(method):
        method(*args)


def _wait(instance: Any, attempts: int) -> timedelta:
    """delayed_job's: five seconds and the fourth power of the number of attempts."""
    reschedule_at = getattr(instance, "reschedule_at", None)
    if callable(reschedule_at):
        now = clock.now()
        return max(timedelta(0), clock.as_utc(reschedule_at(now, attempts)) - now)
    return timedelta(seconds=attempts**4 + 5)
