"""Several jobs at a time, each in a process of its own: the only pool that can stop a task.

A slot is a child process and two pipes. Short jobs travel in small batches, so that neither side
makes a system call and a change of context for each; a long or unknown one travels alone. A child
that dies takes only the job it was in along: its batch-mates go back to the queue, and another
child takes its place.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from outsourced.errors import ConfigurationError
from outsourced.records import Outcome, OutcomeKind
from outsourced_worker.assignment import Assignment
from outsourced_worker.holding import HORIZON, RunTimes
from outsourced_worker.pools.base import Chosen, Equip, Report
from outsourced_worker.pools.child import ChildSetup, Lifespan
from outsourced_worker.pools.slot import Slot, describe_exit

log = logging.getLogger(__name__)

#: seconds of work sent to a child at once
WINDOW = 0.02
#: jobs sent to a child and not yet ended
MAX_SENT = 64
#: seconds between two reads of outcomes when they stream in: one wake-up for many jobs
READ_INTERVAL = 0.002
#: seconds before a child that never got ready is replaced
RESPAWN_DELAY = 1.0
#: children in a row that never got ready, before the pool gives up
MAX_STILLBORN = 5
#: slot processes live as long as the worker
NEVER = Lifespan()


class ProcessPool:
    """Slots that are processes; the thread that calls `run` feeds and watches them."""

    interrupts = True

    def __init__(
        self,
        slots: int,
        equip: Equip,
        *,
        report: Report,
        on_idle: Callable[[], None],
        times: RunTimes,
        lifespan: Lifespan = NEVER,
    ) -> None:
        self._wanted = slots
        self._setup = ChildSetup(equip=equip, parent=os.getpid(), lifespan=lifespan)
        self._report = report
        self._on_idle = on_idle
        self._times = times
        # spawn: the worker has threads, and a fork of those is not safe
        self._context = multiprocessing.get_context("spawn")
        self._lock = threading.RLock()
        self._queue: deque[Assignment] = deque()
        self._slots: list[Slot] = []
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        os.set_blocking(self._wake_reader, False)
        self._stopping = False
        self._stillborn = 0
        self._born_after = 0.0
        self._read_at = 0.0

    @property
    def slots(self) -> int:
        return sum(slot.ready for slot in self._slots)

    @property
    def pids(self) -> list[int]:
        """The process ids of the slots."""
        return [slot.process.pid for slot in self._slots if slot.process.pid is not None]

    def put(self, assignments: Sequence[Assignment]) -> None:
        with self._lock:
            self._queue.extend(assignments)
            self._feed()

    def withdraw(self, chosen: Chosen) -> list[Assignment]:
        with self._lock:
            self.refresh()
            for slot in self._slots:
                if any(a.begun_at is None and chosen(a) for a in slot.sent.values()):
                    self._queue.extendleft(reversed(slot.take_back()))
            taken = [assignment for assignment in self._queue if chosen(assignment)]
            self._queue = deque(assignment for assignment in self._queue if not chosen(assignment))
            self._feed()
            return taken

    def interrupt(self, chosen: Chosen, kind: OutcomeKind) -> None:
        with self._lock:
            for slot in self._slots:
                assignment = slot.begun()
                if assignment is not None and chosen(assignment):
                    slot.kill_in(assignment, kind)

    def refresh(self) -> None:
        with self._lock:
            for slot in self._slots:
                slot.refresh()

    def run(self) -> None:
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        try:
            while not self._finished():
                self._replace_missing()
                self._step(self._selector.select(self._patience()))
        finally:
            for slot in self._slots:
                slot.close()
            self._selector.close()

    def stop(self) -> None:
        self._stopping = True
        self._wake()

    def _finished(self) -> bool:
        with self._lock:
            return self._stopping and not self._queue and not any(slot.sent for slot in self._slots)

    def _patience(self) -> float | None:
        moments = [slot.deadline[1] for slot in self._slots if slot.deadline is not None]
        patience = [max(0.0, min(moments) - time.monotonic())] if moments else []
        if len(self._slots) < self._wanted and not self._stopping:
            patience.append(RESPAWN_DELAY)
        return min(patience, default=None)

    def _wake(self) -> None:
        try:
            os.write(self._wake_writer, b"\0")
        except BlockingIOError:
            return

    def _step(self, events: list[tuple[selectors.SelectorKey, int]]) -> None:
        self._gather()
        dead: list[Slot] = []
        ended: list[tuple[Assignment, Outcome]] = []
        with self._lock:
            for key, _ in events:
                slot, dying = key.data or (None, False)
                if slot is None:
                    os.read(self._wake_reader, 4096)
                elif dying:
                    dead.append(slot)
                else:
                    ended += self._read(slot)
            for slot in dead:
                ended += self._bury(slot)
            self._stop_overdue()
            self._feed()
            idle = not self._queue and any(slot.ready and not slot.sent for slot in self._slots)
        for assignment, outcome in ended:
            self._report(assignment, outcome)
        if idle:
            self._on_idle()

    def _stop_overdue(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            stopped = slot.kill_overdue(now)
            if stopped is not None:
                log.error("%s[%s] is past its time limit: stopped", stopped.lease.task, stopped.lease.job_id)

    def _gather(self) -> None:
        """Lets outcomes that stream in collect for a moment; a lone one is not kept waiting."""
        early = self._read_at + READ_INTERVAL - time.monotonic()
        if early > 0:
            time.sleep(early)

    def _read(self, slot: Slot) -> list[tuple[Assignment, Outcome]]:
        was_ready = slot.ready
        received = slot.receive()
        if received is None:
            # its death is told by the sentinel too; until then do not wake for the pipe's end
            self._unregister(slot.outcomes_fd)
            return []
        if slot.ready and not was_ready:
            self._stillborn = 0
        if received:
            self._read_at = time.monotonic()
        return received

    def _feed(self) -> None:
        """Sends waiting jobs to the slots that are running out, idle ones first."""
        queue = self._queue
        if not queue or not self._slots:
            return
        share = -(-len(queue) // len(self._slots))
        for slot in sorted(self._slots, key=lambda slot: len(slot.sent)):
            if not queue:
                return
            if not slot.ready or self._overstays(slot):
                continue
            window = self._window(queue[0])
            if len(slot.sent) <= window // 2:
                slot.send_from(queue, limit=min(share, window - len(slot.sent)))

    def _overstays(self, slot: Slot) -> bool:
        """Whether the slot's run is not expected to end soon: nothing is to wait behind it."""
        running = slot.begun() if slot.sent else None
        if running is None or running.begun_at is None:
            return False
        age = time.monotonic() - running.begun_at
        return self._times.remaining(running.lease.task, age) >= HORIZON

    def _window(self, assignment: Assignment) -> int:
        """How many jobs like this one a child may have at hand; one while nothing is known of it."""
        return max(1, min(MAX_SENT, int(WINDOW / self._times.of(assignment.lease.task))))

    def _bury(self, slot: Slot) -> list[tuple[Assignment, Outcome]]:
        self._slots.remove(slot)
        ended = slot.drain()
        self._unregister(slot.outcomes_fd)
        self._unregister(slot.process.sentinel)
        victim, unbegun = slot.bury()
        self._queue.extendleft(reversed(unbegun))
        if victim is not None:
            ended.append((victim, slot.loss(victim)))
        if slot.ready and slot.process.exitcode == 0:
            log.debug("slot process %d has done its share", slot.process.pid)
        elif slot.verdict is None:
            log.warning("slot process %d died: %s", slot.process.pid, describe_exit(slot.process.exitcode))
        if not slot.ready:
            self._stillborn += 1
            self._born_after = time.monotonic() + RESPAWN_DELAY
        return ended

    def _unregister(self, descriptor: int) -> None:
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def _replace_missing(self) -> None:
        if self._stillborn >= MAX_STILLBORN:
            raise ConfigurationError(
                f"{MAX_STILLBORN} slot processes in a row died before they were ready; "
                "see their messages above, or try `-P threads`"
            )
        if self._stopping and not self._queue:
            return
        while len(self._slots) < self._wanted and time.monotonic() >= self._born_after:
            slot = Slot(self._context, self._setup, number=len(self._slots) + 1)
            with self._lock:
                self._slots.append(slot)
            self._selector.register(slot.outcomes_fd, selectors.EVENT_READ, (slot, False))
            self._selector.register(slot.process.sentinel, selectors.EVENT_READ, (slot, True))
