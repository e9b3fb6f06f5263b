"""An entry of `beat_schedule`: what recurs, when, and with which options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from outsourced.canvas import Signature
from outsourced.errors import ConfigurationError
from outsourced.remotes import RemoteTask
from outsourced.schedules import Recurring, crontab, maybe_schedule, schedule

_KEYS = {"task", "schedule", "args", "kwargs", "options", "relative"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One recurring call of a task."""

    name: str
    task: str
    schedule: schedule | crontab
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, name: str, entry: Mapping[str, Any]) -> Entry:
        """The entry of a `beat_schedule`; raises ConfigurationError that names what is wrong with it."""
        if not isinstance(entry, Mapping) or not {"task", "schedule"} <= entry.keys() <= _KEYS:
            raise ConfigurationError(
                f"schedule {name!r}: expected task and schedule, and maybe args, kwargs and options, "
                f"not {entry!r}"
            )
        try:
            return cls(
                name=name,
                task=_task_name(entry["task"]),
                schedule=maybe_schedule(entry["schedule"]),
                args=tuple(entry.get("args") or ()),
                kwargs=dict(entry.get("kwargs") or {}),
                options=dict(entry.get("options") or {}),
            )
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"schedule {name!r}: {error}") from error


def entry_of_call(
    recurring: Recurring,
    target: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    name: str | None,
    options: Mapping[str, Any],
) -> Entry:
    """The entry of `add_periodic_task`: of a task, its name, or a signature with arguments of its own."""
    if isinstance(target, (str, RemoteTask)):
        task = _task_name(target)
    else:
        call = _one_call(target)
        task, args, kwargs = call.task, (*args, *call.args), {**call.kwargs, **kwargs}
        options = {**call.options, **options}
    when = maybe_schedule(recurring)
    given = {"task": task, "schedule": when, "args": args, "kwargs": kwargs, "options": options}
    shown = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
    return Entry.read(name or f"{task}({shown}) {when.spec}", given)


def _one_call(target: Any) -> Signature:
    if type(target) is not Signature or target.links or target.errbacks:
        raise TypeError(
            f"a schedule enqueues one call, not {target!r}: let it call a task that enqueues the rest"
        )
    return target


def _task_name(task: Any) -> str:
    if isinstance(task, RemoteTask):
        return task.name
    if not isinstance(task, str) or not task:
        raise TypeError(f"task is a task or its name, not {task!r}")
    return task
