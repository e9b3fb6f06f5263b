"""The process of one slot: reads jobs from a pipe, runs them one after the other, writes outcomes."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Lock
from typing import Any

from outsourced import workdir
from outsourced.signals import worker_process_init, worker_process_shutdown
from outsourced_worker.pools.base import Equip, perform
from outsourced_worker.pools.frames import (
    FrameReader,
    FrameWriter,
    frame,
    pack_outcome,
    unpack_assignment,
)
from outsourced_worker.pools.limits import Limits
from outsourced_worker.pools.telling import Teller

#: places on the board that parent and child share
BEGUN, BEGUN_AT, VOID = range(3)

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifespan:
    """After how much a slot process makes room for a fresh one; None: never."""

    max_tasks: int | None = None  #: jobs it has run
    max_memory: int | None = None  #: KiB that it has had at most

    def is_over(self, tasks: int) -> bool:
        """Whether this process, after so many jobs, is to end."""
        if self.max_tasks is not None and tasks >= self.max_tasks:
            return True
        return self.max_memory is not None and _peak_memory() > self.max_memory


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSetup:
    """What a slot process needs to know; picklable."""

    equip: Equip
    parent: int
    lifespan: Lifespan = Lifespan()


def run_child(jobs: Connection, outcomes: Connection, board: Any, lock: Lock, setup: ChildSetup) -> None:
    """The life of a slot process; it ends when the parent closes the pipe, or dies, or by its lifespan.

    Numbers of jobs grow. `board[BEGUN]` is the newest that began, so the parent knows without a
    message what a dead child was in. Jobs up to `board[VOID]` that had not begun when the parent
    wrote it belong to the parent again; the lock keeps the two decisions apart.
    """
    _leave_signals_to_the_parent()
    _die_with(setup.parent)
    workdir.sweep()  # this process may be in the place of one that was killed
    bench = setup.equip()
    worker_process_init.send(None)
    reader, out = FrameReader(jobs.fileno()), FrameWriter(outcomes.fileno())
    number = 0
    limits = Limits(lambda until: out.write(frame((number, until))))
    teller = Teller(out)
    out.write(frame((0,)))
    tasks = 0
    while (frames := reader.read()) is not None:
        for content in frames:
            number, assignment = unpack_assignment(content)
            with lock:
                if number <= board[VOID]:
                    continue
                board[BEGUN_AT] = time.monotonic()
                board[BEGUN] = number
            outcome = perform(assignment, bench, limit=limits, tell=partial(teller.tell, number))
            out.write(pack_outcome(number, assignment.begun_at, outcome))
            tasks += 1
            if setup.lifespan.is_over(tasks):
                # what was sent and has not begun goes to another
                worker_process_shutdown.send(None, pid=os.getpid(), exitcode=0)
                return
    worker_process_shutdown.send(None, pid=os.getpid(), exitcode=0)


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def _leave_signals_to_the_parent() -> None:
    # A handler, not SIG_IGN: programs that tasks start must not inherit deafness. Without SA_RESTART
    # the calls it interrupts would fail in C extensions.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
        signal.siginterrupt(number, False)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit()
