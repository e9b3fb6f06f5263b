"""What a case is written against: the same names, whichever library is behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any


@dataclass
class Api:
    """One library, in one way of running: by a worker, or here and now by `apply`."""

    task: Callable[..., Any]  #: the decorator
    base: type[Any]  #: the class Task
    signals: ModuleType
    exceptions: ModuleType
    results: ModuleType
    group: Callable[..., Any]
    canvas: ModuleType  #: chain, group, chord and so on
    settle: Callable[[], None]  #: lets the worker do what there is to do
    eager: bool = False
    seen: list[Any] = field(default_factory=list)  #: what the case's tasks wrote down

    def send(self, task: Any, *args: Any, **options: Any) -> Any:
        """Has the task run with these arguments, and these options; gives the result object."""
        kwargs = options.pop("kwargs", None)
        send = task.apply if self.eager else task.apply_async
        result = send(args, kwargs, **options)
        self.settle()
        return result

    def end(self, task: Any, *args: Any, **options: Any) -> Any:
        """How the task ended, in plain values."""
        return ended(self.send(task, *args, **options))


def ended(result: Any) -> Any:
    """State and value, or state and exception."""
    try:
        value = result.get(timeout=10, interval=0.01)
    except Exception as error:  # noqa: BLE001 - whatever the task raised
        return [result.state, kind(error), str(error)]
    return [result.state, value]


def kind(error: Any) -> str:
    """The exception's class by Celery's name, without its module, which differs."""
    name = type(error).__name__
    return OUR_NAMES.get(name, name)


#: what has another name of its own here, beside Celery's
OUR_NAMES = {
    "ConfigurationError": "ImproperlyConfigured",
    "JobRevoked": "TaskRevokedError",
    "MaxRetriesExceeded": "MaxRetriesExceededError",
}


@dataclass
class Case:
    """`build` defines tasks, and gives what runs them; both libraries are to give the same.

    `differs` says why they do not: then they must not. `worker_differs` says so of a worker alone.
    """

    name: str
    build: Callable[[Api], Callable[[], Any]]
    differs: str = ""
    worker_differs: str = ""
    eager: bool = True  #: whether it is for `apply` too


CASES: list[Case] = []


def case(
    *, differs: str = "", worker_differs: str = "", eager: bool = True
) -> Callable[[Callable[[Api], Callable[[], Any]]], Any]:
    """Adds a case, named like its function."""

    def add(build: Callable[[Api], Callable[[], Any]]) -> Callable[[Api], Callable[[], Any]]:
        made = Case(build.__name__, build, differs=differs, worker_differs=worker_differs, eager=eager)
        CASES.append(made)
        return build

    return add
