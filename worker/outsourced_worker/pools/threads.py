"""Several jobs at a time, each in a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from outsourced.records import OutcomeKind
from outsourced.signals import worker_process_init
from outsourced_worker.assignment import Assignment
from outsourced_worker.pools.base import Backlog, Bench, Chosen, Report, perform


class ThreadPool:
    """Runs jobs in threads; the one that calls `run` only waits, and so is free for signals."""

    interrupts = False

    def __init__(self, slots: int, bench: Bench, *, report: Report, on_idle: Callable[[], None]) -> None:
        self.slots = slots
        self._bench = bench
        self._report = report
        self._backlog = Backlog(on_idle)
        # daemons: at a second TERM the process ends although a task goes on
        self._threads = [
            threading.Thread(target=self._work, name=f"outsourced-slot-{number}", daemon=True)
            for number in range(1, slots + 1)
        ]

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
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        self._backlog.close(len(self._threads))

    def _work(self) -> None:
        while (assignment := self._backlog.take()) is not None:
            self._report(assignment, perform(assignment, self._bench))
