"""One job at a time, in the main thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from outsourced.records import OutcomeKind
from outsourced.signals import worker_process_init
from outsourced_worker.assignment import Assignment
from outsourced_worker.pools.base import Backlog, Bench, Chosen, Report, perform


class SoloPool:
    """Runs jobs in the thread that calls `run`."""

    interrupts = False
    slots = 1

    def __init__(self, bench: Bench, *, report: Report, on_idle: Callable[[], None]) -> None:
        self._bench = bench
        self._report = report
        self._backlog = Backlog(on_idle)

    def put(self, assignments: Sequence[Assignment]) -> None:
        self._backlog.put(assignments)

    def withdraw(self, chosen: Chosen) -> list[Assignment]:
        return self._backlog.withdraw(chosen)

    def interrupt(self, chosen: Chosen, kind: OutcomeKind) -> None:
        """Nothing: a thread cannot be stopped."""

    def refresh(self) -> None:
        """Nothing: `begun_at` is written at the begin."""

    def run(self) -> None:
        worker_process_init.send(None)
        while (assignment := self._backlog.take()) is not None:
            self._report(assignment, perform(assignment, self._bench))

    def stop(self) -> None:
        self._backlog.close(1)
