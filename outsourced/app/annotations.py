"""`task_annotations`: attributes of tasks, said in the settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from outsourced.errors import ConfigurationError
from outsourced.tasks import Task

#: stands for every task
ANY = "*"


def annotate(annotations: Any, tasks: Iterable[Task[..., Any]]) -> None:
    """Gives the tasks their attributes: `{"tasks.add": {"rate_limit": "10/m"}, "*": {…}}`, or several such.

    As in Celery the first that has something for the task holds, and what is said of all tasks comes last.
    Raises ConfigurationError for what is no such mapping.
    """
    if not annotations:
        return
    several = annotations if isinstance(annotations, list | tuple) else [annotations]
    for task in tasks:
        for attributes in _of(several, task):
            for name, value in attributes.items():
                setattr(task, name, value)


def _of(several: Iterable[Any], task: Task[..., Any]) -> Iterator[Mapping[str, Any]]:
    for name in (task.name, ANY):
        found = (_read(one).get(name) for one in several)
        attributes: Any = next((one for one in found if one is not None), {})
        if not isinstance(attributes, Mapping) or any(key.startswith("@") for key in attributes):
            raise ConfigurationError(
                f"task_annotations of {name!r} are attributes by their names, and none that begins with @: "
                f"{attributes!r}"
            )
        yield attributes


def _read(one: Any) -> Mapping[str, Any]:
    if not isinstance(one, Mapping):
        raise ConfigurationError(f"task_annotations are mappings by the names of tasks, not {one!r}")
    return one
