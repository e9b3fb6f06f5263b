"""One task over many arguments: in one job (`map`, `starmap`), or a job for so many at a time (`chunks`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from outsourced.canvas.composite import group
from outsourced.canvas.signature import Signature

#: the tasks that every worker knows; see `outsourced.mapping`
MAP, STARMAP = "outsourced.map", "outsourced.starmap"


def xmap(task: Signature, it: Iterable[Any]) -> Signature:
    """One job that calls the task with each of these, and returns the list of what it returned."""
    return _over(MAP, task, it)


def xstarmap(task: Signature, it: Iterable[Any]) -> Signature:
    """Likewise, each of these being the arguments of one call."""
    return _over(STARMAP, task, it)


class chunks(group):  # noqa: N801 - Celery's name
    """A group of jobs, each a `starmap` over the next `n` of these."""

    def __init__(self, task: Signature, it: Iterable[Any], n: int) -> None:
        if n < 1:
            raise ValueError(f"chunks have at least one item, not {n}")
        super().__init__(xstarmap(task, part) for part in _parts(it, n))

    def group(self) -> group:
        """The same as a plain group."""
        return group(self.tasks)


def _over(name: str, task: Signature, it: Iterable[Any]) -> Signature:
    call = {"task": task.task, "args": task.args, "kwargs": task.kwargs, "it": list(it)}
    # in the task's own queue, unless its signature names one
    made = Signature(name, (), call, dict(task.options), immutable=True)
    return made.set(queue=task.options.get("queue") or getattr(task.type, "queue", None))


def _parts(it: Iterable[Any], n: int) -> Iterator[list[Any]]:
    iterator = iter(it)
    while part := list(islice(iterator, n)):
        yield part
