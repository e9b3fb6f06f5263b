"""What every pool offers the claim loop, and the steps from a lease to its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from outsourced.context import LeaseSide, Tell
from outsourced.execution import Around, execute
from outsourced.records import Outcome, OutcomeKind
from outsourced.registry import Registry
from outsourced.tracing import Limit, unlimited
from outsourced_worker.assignment import Assignment

Report = Callable[[Assignment, Outcome], None]
Chosen = Callable[[Assignment], bool]


class Pool(Protocol):
    """A number of slots that run jobs; each outcome goes to the `report` the pool was made with."""

    #: whether a task that has begun can be stopped
    interrupts: bool

    @property
    def slots(self) -> int:
        """How many jobs can run at once now."""

    def put(self, assignments: Sequence[Assignment]) -> None:
        """Queues jobs, to begin in this order."""

    def withdraw(self, chosen: Chosen) -> list[Assignment]:
        """Takes back those chosen that have not begun."""

    def interrupt(self, chosen: Chosen, kind: OutcomeKind) -> None:
        """Stops those chosen that have begun, and reports them as `kind`; does nothing if it cannot."""

    def refresh(self) -> None:
        """Brings `begun_at` of the running jobs up to date."""

    def run(self) -> None:
        """Works in the calling thread until `stop`."""

    def stop(self) -> None:
        """Ends `run` once the jobs at hand are done; may be called from any thread, and twice."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a slot works with: the tasks, what they ask of the server, and what surrounds each call."""

    registry: Registry
    side: LeaseSide
    around: Around = nullcontext


#: makes a Bench in a process of its own; picklable
Equip = Callable[[], Bench]


def perform(
    assignment: Assignment, bench: Bench, *, limit: Limit = unlimited, tell: Tell | None = None
) -> Outcome:
    """Runs a job in this thread and gives its outcome; one that came too late is not begun.

    `tell` takes its progress; None: the assignment itself.
    """
    now = time.monotonic()
    if assignment.is_expired(now):
        return assignment.outcome(OutcomeKind.EXPIRED)
    assignment.begun_at = now
    return execute(
        assignment.lease,
        bench.registry,
        bench.side,
        around=bench.around,
        limit=limit,
        tell=tell or assignment.note,
    )


class Backlog:
    """Jobs that wait for a slot. Taking one costs neither a lock nor a wake-up while there are more."""

    def __init__(self, on_idle: Callable[[], None]) -> None:
        self._on_idle = on_idle
        self._queue: SimpleQueue[Assignment | None] = SimpleQueue()

    def put(self, assignments: Iterable[Assignment]) -> None:
        """Adds jobs at the end."""
        for assignment in assignments:
            self._queue.put(assignment)

    def take(self) -> Assignment | None:
        """The next job, waiting for one; None when the pool is to end."""
        try:
            return self._queue.get_nowait()
        except Empty:
            self._on_idle()
            return self._queue.get()

    def withdraw(self, chosen: Chosen) -> list[Assignment]:
        """Takes out those chosen; the others stay in order."""
        waiting: list[Assignment | None] = []
        while True:
            try:
                waiting.append(self._queue.get_nowait())
            except Empty:
                break
        taken = []
        for assignment in waiting:
            if assignment is not None and chosen(assignment):
                taken.append(assignment)
            else:
                self._queue.put(assignment)
        return taken

    def close(self, takers: int) -> None:
        """Lets each of so many takers end."""
        for _ in range(takers):
            self._queue.put(None)
