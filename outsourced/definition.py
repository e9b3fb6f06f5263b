"""How a function becomes a task: `@task`, and what an app of Celery's shape makes of its own.

Each function has a class of its own, a subclass of `Task` or of the `base` it is given, as in Celery.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

from outsourced.calls import limit, require_soft_first
from outsourced.decorator import TaskOptions, typed
from outsourced.pydantic_models import Models
from outsourced.rates import rate
from outsourced.registry import default_name, registry
from outsourced.tasks import Task

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


def define(
    function: Callable[..., Any],
    *,
    base: type[Task[..., Any]] = Task,
    bind: bool = False,
    options: Mapping[str, Any],
) -> Task[..., Any]:
    """A task of this function, not yet registered; raises TypeError or ValueError for what it cannot be."""
    _require_function(function)
    made: Task[..., Any] = _class_of(function, base, bind=bind, options=options)()
    made._made_of = (function, bind, options)
    functools.update_wrapper(made, function)
    _complete(made)
    return made


def _class_of(
    function: Callable[..., Any], base: type[Task[..., Any]], *, bind: bool, options: Mapping[str, Any]
) -> type[Task[..., Any]]:
    given = dict(options)
    if given.get("ignore_result") is None:
        given.pop("ignore_result", None)  # as the app says
    members = {
        "run": function if bind else staticmethod(function),
        "__module__": function.__module__,
        "__doc__": function.__doc__,
        **given,
        "name": options.get("name") or default_name(function),
    }
    return type(function.__name__, (base,), members)


def _complete(task: Task[..., Any]) -> None:
    if task.pydantic:
        setattr(task, "run", Models(task).wrap(task.run))  # noqa: B010 - a method, to mypy
    require_sound(task)


#: the class of tasks that name no `base`: `Task`, or that of the current app
_shared_class: type[Task[..., Any]] = Task
_shared: WeakSet[Task[..., Any]] = WeakSet()


def register(task: Task[P, R]) -> Task[P, R]:
    """Registers an instance of a subclass that defines `run`; its name is its class's, if it gives none."""
    cls = type(task)
    task.name = task.name or f"{cls.__module__}.{cls.__qualname__}"
    require_sound(task)
    registry.add(task)
    return task


def require_sound(task: Task[..., Any]) -> None:
    """Raises TypeError or ValueError for an option that cannot be."""
    for name in ("time_limit", "soft_time_limit"):
        if getattr(task, name) is not None:
            limit(name, getattr(task, name))
    require_soft_first(task.soft_time_limit, task.time_limit)
    rate(task.rate_limit)
    _ = task.retry_policy


def _require_function(function: Callable[..., Any]) -> None:
    if not inspect.isroutine(inspect.unwrap(function)):
        raise TypeError(
            f"a task is made of a function, not of {function!r}; options go by name: @task(name=…)"
        )
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{function.__qualname__} is async: write a plain function that calls asyncio.run")


@typed
def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    bind: bool = False,
    base: type[Task[..., Any]] | None = None,
    **options: Any,
) -> Any:
    """Makes a function a task and registers it; with `bind=True` it gets the task as first argument.

    `base` is a subclass of Task: its hooks and attributes hold, and attributes of its own are options too.
    Raises TypeError for an unknown option, TaskAlreadyRegistered for a name that is taken.
    """

    def decorate(function: Callable[..., R]) -> Task[..., R]:
        given = {**options, "bind": bind}
        made: Task[..., R] = make(function, base=base or _shared_class, options=given)
        if base is None:
            _shared.add(made)
        return made

    require_known(options, base or _shared_class)
    return decorate if function is None else decorate(function)


def make(
    function: Callable[..., R], *, base: type[Task[..., Any]], options: Mapping[str, Any]
) -> Task[..., R]:
    """A task of this class, registered; raises likewise."""
    given = {name: value for name, value in options.items() if name not in ("base", "bind")}
    require_known(given, base)
    made = define(function, base=base, bind=bool(options.get("bind")), options=given)
    registry.add(made)
    return made


def adopt(task: Task[..., Any], base: type[Task[..., Any]]) -> None:
    """Makes a task one of this class, where it stands: whoever holds it holds the same."""
    function, bind, options = task._made_of
    task.__class__ = _class_of(function, base, bind=bind, options=options)
    for name in ("has_own_call", "parameters", "run"):
        task.__dict__.pop(name, None)
    base.__init__(task)
    _complete(task)


def share(base: type[Task[..., Any]]) -> None:
    """Makes this the class of all tasks, present ones too, that name no `base` and belong to no app."""
    global _shared_class
    _shared_class = base
    for task in list(_shared):
        adopt(task, base)


def require_known(options: Mapping[str, Any], base: type[Task[..., Any]]) -> None:
    """Raises TypeError that names what is no option of `@task`, nor an attribute of the base."""
    if not isinstance(base, type) or not issubclass(base, Task):
        raise TypeError(f"base is a subclass of outsourced.Task, not {base!r}")
    unknown = sorted(
        name for name in options if name not in TaskOptions.__annotations__ and not hasattr(base, name)
    )
    if unknown:
        known = ", ".join(sorted(("base", "bind", *TaskOptions.__annotations__)))
        raise TypeError(f"@task has no option {', '.join(map(repr, unknown))} (options: {known})")


shared_task = task
