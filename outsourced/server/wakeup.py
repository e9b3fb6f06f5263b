"""Parked polls, and what wakes them. Holds no database connection and reads no row for them.

A waiter is registered *before* the claim that may come up empty, and a wake stays with it until it
waits: so none is lost between the claim and the wait. What other processes do is heard by the
`Listener` and told to them by the `Announcer`.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from uuid import UUID

from outsourced.records import Changes
from outsourced.server.announcer import Announcer
from outsourced.server.listener import Listener
from outsourced.sql.database import Database


class Waiter:
    """One parked poll. `refused`: there was no room for it; `superseded`: it is to wait no longer."""

    def __init__(self, worker: str, instance_id: UUID, *, refused: bool) -> None:
        self.worker, self.instance_id = worker, instance_id
        self.tasks: frozenset[str] = frozenset()
        self.queues: frozenset[str] = frozenset()
        self.refused = refused
        self.superseded = False
        self._woken = threading.Event()

    def wait(self, timeout: float) -> bool:
        """Waits to be woken, at most `timeout` seconds; tells whether there is reason to claim again.

        A wake since the last wait counts. False at once for a waiter refused or superseded.
        """
        if self.refused:
            return False
        woken = self._woken.wait(timeout)
        self._woken.clear()
        return woken and not self.superseded

    def wants(self, queue: str, task: str) -> bool:
        """Whether such a job is one it could claim and is not woken for another."""
        return not self._woken.is_set() and queue in self.queues and task in self.tasks

    def wake(self) -> None:
        """Lets it claim again."""
        self._woken.set()

    def supersede(self) -> None:
        """Ends its waiting for good."""
        self.superseded = True
        self._woken.set()


class Wakeup:
    """The parked polls of this process, first come first woken.

    `listens` off, nothing is heard from other processes and no thread started: for tests, and for
    processes that park nobody.
    """

    def __init__(self, database: Database, *, max_waiters: int, listens: bool = True) -> None:
        self.max_waiters = max_waiters
        self._lock = threading.Lock()
        self._waiters: dict[tuple[str, UUID], Waiter] = {}
        self._guests = 0
        self._announcer = Announcer(database)
        self._listener = Listener(database, self) if listens else None
        self._released = False

    @contextmanager
    def waiting(
        self, worker: str, instance_id: UUID, tasks: Collection[str], queues: Collection[str]
    ) -> Iterator[Waiter]:
        """A place for one poll; a newer poll of the same instance ends the older.

        Assign `queues` anew after each wait: what the worker may claim from may have changed.
        """
        waiter = self._enter(worker, instance_id)
        waiter.tasks, waiter.queues = frozenset(tasks), frozenset(queues)
        if self._listener is not None and not waiter.refused:
            self._listener.start()
        try:
            yield waiter
        finally:
            self._leave(waiter)

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Room for somebody else who waits, counted with the polls; tells whether there is any."""
        with self._lock:
            admitted = len(self._waiters) + self._guests < self.max_waiters
            self._guests += admitted
        try:
            yield admitted
        finally:
            with self._lock:
                self._guests -= admitted

    def _enter(self, worker: str, instance_id: UUID) -> Waiter:
        with self._lock:
            older = self._waiters.pop((worker, instance_id), None)
            if older is not None:
                older.supersede()
            full = len(self._waiters) >= self.max_waiters
            waiter = Waiter(worker, instance_id, refused=full or self._released)
            if not waiter.refused:
                self._waiters[worker, instance_id] = waiter
        return waiter

    def _leave(self, waiter: Waiter) -> None:
        with self._lock:
            if self._waiters.get((waiter.worker, waiter.instance_id)) is waiter:
                del self._waiters[waiter.worker, waiter.instance_id]

    @property
    def parked(self) -> int:
        """How many polls wait here now."""
        return len(self._waiters)

    def notify(self, changes: Changes) -> None:
        """Wakes whom a commit of this process concerns, here and in the other processes."""
        self.wake(changes)
        self._announcer.announce(changes)

    def wake(self, changes: Changes) -> None:
        """Wakes as many waiters as there are jobs, and all of the workers named; in this process only."""
        with self._lock:
            for waiter in self._waiters.values():
                if waiter.worker in changes.workers:
                    waiter.wake()
            for (queue, task), number in changes.ready.items():
                self._wake_first(queue, task, number)

    def _wake_first(self, queue: str, task: str, number: int) -> None:
        for waiter in self._waiters.values():
            if number <= 0:
                return
            if waiter.wants(queue, task):
                waiter.wake()
                number -= 1

    def wake_all(self) -> None:
        """Wakes every waiter of this process."""
        with self._lock:
            for waiter in self._waiters.values():
                waiter.wake()

    def release(self) -> None:
        """Sends everybody away for good: this process is told to end, and would wait for them."""
        with self._lock:
            self._released = True
            for waiter in self._waiters.values():
                waiter.supersede()

    def stop(self) -> None:
        """Ends the listener's thread; waiters stay until their time is up."""
        if self._listener is not None:
            self._listener.stop()
        self._announcer.stop()
