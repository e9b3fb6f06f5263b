"""What people do to the queues and workers of a `MemoryBackend`, by the verbs of `flask outsourcer`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from outsourced.errors import AlreadyExists
from outsourced.states import LEASED, Reason, State
from outsourced.testing import moves
from outsourced.testing.kept import KeptJob, KeptQueue, KeptWorker
from outsourced.testing.store import Store

#: the person, as history names them
ADMIN = "admin:test"


class Queues:
    """The queues of a store; the one created first is the default."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, name: str, *, capacity: int | None = None) -> None:
        """Makes a queue, unlimited where capacity is None or 0; raises AlreadyExists."""
        with self._store.changed:
            if name in self._store.queues:
                raise AlreadyExists(f"there is a queue {name!r} already", queue=name)
            self._store.queues[name] = KeptQueue(name=name, capacity=capacity or None)

    def pause(self, name: str) -> None:
        """Hands out no job of the queue any more; those in hand go on."""
        self._set_paused(name, paused=True)

    def resume(self, name: str) -> None:
        """Hands out the queue's jobs again."""
        self._set_paused(name, paused=False)

    def _set_paused(self, name: str, *, paused: bool) -> None:
        with self._store.changed:
            self._store.queue(name).paused = paused
            self._store.changed.notify_all()


class Workers:
    """The workers of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, name: str) -> None:
        """Makes a worker, hired for nothing yet; raises AlreadyExists."""
        with self._store.changed:
            if name in self._store.workers:
                raise AlreadyExists(f"there is a worker {name!r} already", name=name)
            self._store.workers[name] = KeptWorker(name=name)

    def hire(self, name: str, *queues: str) -> None:
        """Lets the worker work these queues too."""
        with self._store.changed:
            self._store.worker(name).hired |= {self._store.queue(queue).name for queue in queues}
            self._store.changed.notify_all()

    def fire(self, name: str, queue: str, *, jobs: Literal["finish", "release", "cancel"] = "finish") -> None:
        """Takes the queue from the worker: no new claims, what it has not begun goes back.

        What it has begun finishes, is given back (`release`), or is cancelled.
        """
        with self._store.changed:
            self._store.worker(name).hired.discard(self._store.queue(queue).name)
            for kept in [kept for kept in self._held_by(name) if kept.job.queue == queue]:
                if jobs == "release":
                    moves.release(self._store, kept, actor=ADMIN, reason=Reason.FIRED)
                elif kept.state is State.ASSIGNED:
                    moves.rescue(self._store, kept, actor=ADMIN, reason=Reason.FIRED)
                elif jobs == "cancel":
                    moves.request_stop(self._store, kept)

    def lock(self, name: str) -> None:
        """Locks the worker out at once; all it has in hand goes back."""
        with self._store.changed:
            worker = self._store.worker(name)
            if not worker.locked:
                worker.locked = True
                for kept in list(self._held_by(name)):
                    moves.rescue(self._store, kept, actor=ADMIN, reason=Reason.LOCKED)
                self._store.changed.notify_all()

    def unlock(self, name: str) -> None:
        """Lets a locked worker in again."""
        with self._store.changed:
            self._store.worker(name).locked = False

    def pause(self, name: str) -> None:
        """Gives the worker no new jobs; what it has goes on."""
        with self._store.changed:
            self._store.worker(name).paused = True

    def resume(self, name: str) -> None:
        """Gives a paused worker jobs again."""
        with self._store.changed:
            self._store.worker(name).paused = False
            self._store.changed.notify_all()

    def _held_by(self, name: str) -> Iterator[KeptJob]:
        return (kept for kept in self._store.jobs.values() if kept.state in LEASED and kept.holder == name)
