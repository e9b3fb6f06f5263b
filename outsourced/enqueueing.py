"""Enqueueing by whatever stands for a task: the task itself, a job class, or a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack

from outsourced.calls import Options
from outsourced.canvas import Signature
from outsourced.canvas.plan import AnyResult, Plan
from outsourced.jobclasses import task_of
from outsourced.registry import registry
from outsourced.remotes import RemoteTask
from outsourced.results import AsyncResult

#: what `enqueue` takes: a task, a job class, or the name of one
Target = RemoteTask[..., Any] | type | str
#: what `enqueue_many` takes: of a job the target, arguments, and options beside `kwargs`; or a signature
Entry = (
    tuple[Target] | tuple[Target, Sequence[Any]] | tuple[Target, Sequence[Any], Mapping[str, Any]] | Signature
)


def enqueue(
    target: Target,
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    session: Any = None,
    **options: Unpack[Options],
) -> AsyncResult[Any]:
    """Enqueues a call of a task, or of a task's name, with these arguments."""
    return _resolve(target).apply_async(args, kwargs, session=session, **options)


def enqueue_many(entries: Iterable[Entry], *, session: Any = None) -> list[Any]:
    """Enqueues all of these calls, or none: (target, args), (target, args, options), or signatures.

    Gives an AsyncResult for each; for a signature what its own `apply_async` gives.

    `session` as in `apply_async`, for all of them.
    """
    plan, made = Plan(), []
    for number, entry in enumerate(entries):
        try:
            made.append(_laid(plan, entry))
        except (TypeError, ValueError) as error:
            error.add_note(f"in entry {number} of enqueue_many; nothing was enqueued")
            raise
    plan.enqueue(session)
    return made


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


def _laid(plan: Plan, entry: Entry) -> AnyResult:
    return entry.lay(plan) if isinstance(entry, Signature) else _called(plan, *entry)


def _called(
    plan: Plan, target: Target, args: Sequence[Any] = (), options: Mapping[str, Any] | None = None
) -> AsyncResult[Any]:
    given = dict(options or {})
    kwargs = given.pop("kwargs", None)
    job = _resolve(target).new_job(args, kwargs, **given)
    plan.add(job)
    return AsyncResult(given.get("task_id") or job.id)


outsource = enqueue
