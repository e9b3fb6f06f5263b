"""Enqueueing by whatever stands for a task: the task itself, a job class, or a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack
from uuid import UUID

from outsourced import backend
from outsourced.calls import Options
from outsourced.jobclasses import task_of
from outsourced.records import NewJob
from outsourced.registry import registry
from outsourced.results import AsyncResult
from outsourced.tasks import RemoteTask

#: what `enqueue` takes: a task, a job class, or the name of one
Target = RemoteTask[..., Any] | type | str
#: what `enqueue_many` takes of each job: the target, its arguments, and options beside `kwargs`
Entry = tuple[Target] | tuple[Target, Sequence[Any]] | tuple[Target, Sequence[Any], Mapping[str, Any]]


def enqueue(
    target: Target,
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    session: Any = None,
    **options: Unpack[Options],
) -> AsyncResult[Any]:
    """Enqueues a call of a task, or of a task's name, with these arguments."""
    return _resolve(target).apply_async(args, kwargs, session=session, **options)


def enqueue_many(entries: Iterable[Entry], *, session: Any = None) -> list[AsyncResult[Any]]:
    """Enqueues all of these calls, or none: (target, args) or (target, args, options).

    `session` as in `apply_async`, for all of them.
    """
    made = []
    for number, entry in enumerate(entries):
        try:
            made.append(_entry_job(*entry))
        except (TypeError, ValueError) as error:
            error.add_note(f"in entry {number} of enqueue_many; nothing was enqueued")
            raise
    if made:
        backend.current().enqueue([job for job, _ in made], session=session)
    return [AsyncResult(task_id or job.id) for job, task_id in made]


def send_task(
    name: str,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    session: Any = None,
    **options: Unpack[Options],
) -> AsyncResult[Any]:
    """Enqueues a call of the task of this name, whether or not it is known here."""
    return _resolve(name).apply_async(args, kwargs, session=session, **options)


def _resolve(target: Target) -> RemoteTask[..., Any]:
    if isinstance(target, RemoteTask):
        return target
    if isinstance(target, str):
        return registry.get(target) or RemoteTask(target)
    if isinstance(target, type):
        return task_of(target)
    raise TypeError(
        f"{target!r} is no task, no job class, and not the name of one: decorate it with @outsourced.task"
    )


def _entry_job(
    target: Target, args: Sequence[Any] = (), options: Mapping[str, Any] | None = None
) -> tuple[NewJob, str | UUID | None]:
    given = dict(options or {})
    kwargs = given.pop("kwargs", None)
    return _resolve(target).new_job(args, kwargs, **given), given.get("task_id")


outsource = enqueue
