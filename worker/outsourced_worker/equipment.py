"""What a slot of a remote worker works with: tasks by import, the server by a connection of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from outsourced.backend import Consumer, Producer
from outsourced.records import Lease, StoredFile
from outsourced_worker.loader import load_tasks
from outsourced_worker.logs import Logs
from outsourced_worker.pools.base import Bench


@dataclass(frozen=True, slots=True)
class Equipment:
    """Equips a slot process; picklable where `connect` is."""

    include: tuple[str, ...]
    connect: Callable[[], Consumer]
    logs: Logs | None = None  #: None: those of the process that has them already

    def __call__(self) -> Bench:
        if self.logs is not None:
            self.logs.configure()
        tasks = load_tasks(self.include)
        if self.logs is not None:
            self.logs.hand_over()
        return Bench(tasks, LazySide(self.connect))


class LazySide:
    """The server, by a connection of this process's own, made when a task first needs it."""

    def __init__(self, connect: Callable[[], Consumer]) -> None:
        self._connect = connect
        self._made: Consumer | None = None

    @property
    def _consumer(self) -> Consumer:
        if self._made is None:
            self._made = self._connect()
        return self._made

    def fetch_attachment(self, lease: Lease, target: Path) -> None:
        self._consumer.fetch_attachment(lease, target)

    def save_file(self, lease: Lease, name: str, source: Path, content_type: str) -> StoredFile:
        return self._consumer.save_file(lease, name, source, content_type)

    def producer(self, lease: Lease) -> Producer:
        return self._consumer.producer(lease)
