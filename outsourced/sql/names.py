"""Queues and tasks by number and by name, remembered by the process: numbers never change hands."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from outsourced.errors import UnknownQueue
from outsourced.sql.models import Queue, QueueTask, TaskName
from outsourced.wording import similar

T = TypeVar("T")

#: queues named in a message, at most
LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFacts:
    """What a producer believes of a queue; the database checks it again."""

    id: int
    name: str
    bounded: bool


class Store(Protocol):
    """Where names are read and written: the parts of `Database` this needs."""

    def connect(self) -> AbstractContextManager[Connection]: ...

    def write(self, work: Callable[[Connection], T]) -> T: ...


class Names:
    """The process's memory of `queues`, `tasks` and the pairs that ever held a job."""

    def __init__(self, database: Store, *, default_queue: str | None = None) -> None:
        """`default_queue` is the one of jobs that name none; None: the one marked so in the database."""
        self._database = database
        self.default_queue = default_queue
        self._queues: dict[str, QueueFacts] = {}
        self._default: str | None = None
        self._queue_names: dict[int, str] = {}
        self._task_ids: dict[str, int] = {}
        self._task_names: dict[int, str] = {}
        self._pairs: set[tuple[int, int]] = set()

    def forget_queues(self) -> None:
        """Reads the queues anew at the next use: one was created, changed or is no longer the default."""
        self._queues = {}
        self._default = None

    def queue(self, name: str | None) -> QueueFacts:
        """The queue of this name, or the default one; raises UnknownQueue."""
        if name is None:
            name = self.default_queue or self._default
        if name is None or name not in self._queues:
            self._load_queues()
            name = self._default if name is None else name
        if name is None:
            raise UnknownQueue("there is no queue yet: create one with `flask outsourcer queue create NAME`")
        try:
            return self._queues[name]
        except KeyError:
            raise UnknownQueue(f"there is no queue {name!r}{self._instead_of(name)}", queue=name) from None

    def _instead_of(self, name: str) -> str:
        known = ", ".join(sorted(self._queues)[:LISTED]) + (", …" if len(self._queues) > LISTED else "")
        return similar(name, self._queues) or (
            f" (there are: {known or 'none'}): `flask outsourcer queue create {name}`"
        )

    def queue_name(self, queue_id: int) -> str:
        if queue_id not in self._queue_names:
            self._load_queues()
        return self._queue_names[queue_id]

    def task_name(self, task_id: int) -> str:
        if task_id not in self._task_names:
            self._load_tasks()
        return self._task_names[task_id]

    def tasks(self) -> list[str]:
        """The names of all tasks that ever had a job."""
        self._load_tasks()
        return list(self._task_ids)

    def task_id(self, task: str) -> int:
        """The task's number; a task seen for the first time is written down."""
        if task not in self._task_ids:
            self._write_task(task)
        return self._task_ids[task]

    def pair(self, queue: QueueFacts, task: str) -> tuple[int, int]:
        """The pair's numbers; a task or pair seen for the first time is written down."""
        pair = (queue.id, self.task_id(task))
        if pair not in self._pairs:
            self._insert_unless_there(insert(QueueTask).values(queue_id=pair[0], task_id=pair[1]))
            self._pairs.add(pair)
        return pair

    def pairs(self, ids: Iterable[tuple[int, int]]) -> list[tuple[str, str]]:
        """Names for numbers of pairs."""
        return [(self.queue_name(queue_id), self.task_name(task_id)) for queue_id, task_id in ids]

    def _load_queues(self) -> None:
        with self._database.connect() as connection:
            rows = connection.execute(select(Queue.id, Queue.name, Queue.capacity, Queue.is_default)).all()
        self._queues = {
            row.name: QueueFacts(id=row.id, name=row.name, bounded=row.capacity is not None) for row in rows
        }
        self._queue_names = {row.id: row.name for row in rows}
        self._default = next((row.name for row in rows if row.is_default), None)

    def _load_tasks(self) -> None:
        with self._database.connect() as connection:
            rows = connection.execute(select(TaskName.id, TaskName.name)).all()
        self._task_ids = {row.name: row.id for row in rows}
        self._task_names = {row.id: row.name for row in rows}

    def _write_task(self, task: str) -> None:
        self._load_tasks()
        if task not in self._task_ids:
            self._insert_unless_there(insert(TaskName).values(name=task))
            self._load_tasks()

    def _insert_unless_there(self, statement: object) -> None:
        try:
            self._database.write(lambda connection: connection.execute(statement))  # type: ignore[call-overload]
        except IntegrityError:
            return  # another process was first
