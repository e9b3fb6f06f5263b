"""The tasks this process knows, by name. Explicit: a name is never imported because somebody sent it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outsourced.errors import NotRegistered, TaskAlreadyRegistered
from outsourced.wording import similar

if TYPE_CHECKING:
    from outsourced.tasks import Task


class Registry:
    """Tasks by name; iterating gives the names. Tasks of the package itself are found, but not listed."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task[..., Any]] = {}
        self._own: dict[str, Task[..., Any]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def runnable(self) -> tuple[str, ...]:
        """The names of all tasks a worker with this registry can run, the package's own too."""
        return tuple(sorted({*self._tasks, *self._own}))

    def get(self, name: str) -> Task[..., Any] | None:
        """The task of this name, or None."""
        return self._tasks.get(name) or self._own.get(name)

    def __getitem__(self, name: str) -> Task[..., Any]:
        """The task of this name; raises NotRegistered, which says what was imported and what to do."""
        task = self.get(name)
        if task is None:
            raise NotRegistered(self._explain_missing(name), task=name)
        return task

    def add_own(self, task: Task[..., Any]) -> None:
        """Registers a task of the package itself."""
        self._own[task.name] = task

    def add(self, task: Task[..., Any], *, also: str | None = None) -> None:
        """Registers the task, under a second name too; raises TaskAlreadyRegistered if one is taken.

        The same function once more, after a reload or from a factory called twice, takes its own place.
        """
        names = (task.name,) if also is None else (task.name, also)
        for name in names:
            self._require_free(name, task)
        self._tasks.update(dict.fromkeys(names, task))

    def _require_free(self, name: str, task: Task[..., Any]) -> None:
        known = self._tasks.get(name)
        if known is not None and not _is_same(known.function, task.function):
            raise TaskAlreadyRegistered(
                f"two functions claim the task name {name!r}: {_whereabouts(known.function)} and "
                f"{_whereabouts(task.function)}; give one of them another name=",
                task=name,
            )

    def modules(self) -> list[str]:
        """The modules whose tasks are registered."""
        return sorted({task.function.__module__ for task in self._tasks.values()})

    def _explain_missing(self, name: str) -> str:
        modules = self.modules()
        found = (
            f"tasks were imported from {', '.join(modules)}"
            if modules
            else "no module with tasks was imported"
        )
        return (
            f"no task is named {name!r}: {found}. Import the module that defines it "
            f"(on a worker: `include:` in its configuration, or `-I MODULE`){similar(name, self._tasks)}"
        )


def default_name(function: Callable[..., Any]) -> str:
    """`module.function`; for the main module the name under which others import it."""
    module = function.__module__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        path = getattr(main, "__file__", None)
        module = spec.name if spec else Path(path).stem if path else module
    return f"{module}.{function.__name__}"


def _is_same(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    if one.__qualname__ != other.__qualname__:
        return False
    # by file too: a module run as __main__ and imported under its name is the same source
    return one.__module__ == other.__module__ or _source(one) == _source(other)


def _source(function: Callable[..., Any]) -> str:
    return inspect.getsourcefile(inspect.unwrap(function)) or ""


def _whereabouts(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__} in {_source(function)}"


#: the tasks of this process: what `@outsourced.task` adds to
registry = Registry()
