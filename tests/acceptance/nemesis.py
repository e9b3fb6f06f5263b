"""Kills workers, slot processes and servers at a chosen phase of a job's way.

Which phase it is, is known from outside: from what passes the proxy, and from the ledger. The product
has no hooks for it. A kill that turns out to have come a moment too late is tried again.
"""

from __future__ import annotations

import os
import queue
import random
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import psutil

from outsourced.states import Event
from tests.acceptance.deployment import Deployment
from tests.acceptance.ledger import Run
from tests.acceptance.process import Process
from tests.acceptance.proxy import Passing, Verdict, Watcher
from tests.acceptance.waiting import PATIENCE, is_gone, wait_until

#: kills that came too late, in a row, before something must be wrong
MAX_MISSES = 20


class Victim(StrEnum):
    WORKER = "worker"
    SLOT = "slot process"
    SERVER = "server"


class Phase(StrEnum):
    """How far a job has come when it happens."""

    CLAIMED = "claimed"  #: its lease has reached the worker, and it has not begun
    BEGUN = "begun"  #: it runs
    SENT = "outcome sent"  #: its outcome is on the wire, and nothing is committed
    COMMITTED = "committed but unanswered"  #: the outcome counts, and the worker does not know


@dataclass(frozen=True, slots=True)
class Aim:
    """Who is to be killed, and when."""

    victim: Victim
    phase: Phase


@dataclass(frozen=True, slots=True)
class Kill:
    """What was killed, at which moment (`time.monotonic()`), and the leases whose phase it was."""

    aim: Aim
    name: str
    pid: int
    at: float
    leases: tuple[UUID, ...]

    @classmethod
    def of(cls, process: Process, aim: Aim, leases: Sequence[UUID], *, at: float) -> Kill:
        """The kill of a process that still runs."""
        assert process.pid is not None
        return cls(aim, process.name, process.pid, at, tuple(leases))

    def __str__(self) -> str:
        return f"{self.aim.victim}: {self.aim.phase} ({self.name}, pid {self.pid}, {len(self.leases)} jobs)"


class Nemesis(Watcher):
    """Strikes once at a time; what it killed it starts again."""

    def __init__(self, deployment: Deployment, random: random.Random) -> None:
        self._deployment = deployment
        self._random = random
        self._aim: Aim | None = None  #: what the next fitting message is waited for with
        self._lock = threading.Lock()
        self._struck: queue.Queue[Kill] = queue.Queue()

    def strike(self, aim: Aim) -> Kill:
        """Kills as aimed, sees to what must hold at once, and starts the victim again."""
        for _ in range(MAX_MISSES):
            kill = self._strike_running(aim) if aim.phase is Phase.BEGUN else self._strike_passing(aim)
            for process in (*self._deployment.workers, *self._deployment.servers):
                process.revive(_say_nothing)
            if self._bears_out(kill):
                return kill
        raise AssertionError(f"no {aim.victim} could be killed in the phase {aim.phase!r}")

    # --- by what passes the proxy

    def on_request(self, passing: Passing) -> Verdict:
        aim = self._take(Phase.SENT, passing, passing.said["outcomes"])
        if aim is None:
            return Verdict.PASS
        self._kill_end_of(passing, aim, [UUID(outcome["lease_id"]) for outcome in passing.said["outcomes"]])
        # a dead worker's last words may arrive, or not
        return self._random.choice(list(Verdict)) if aim.victim is Victim.WORKER else Verdict.CUT

    def on_answer(self, passing: Passing) -> Verdict:
        settled = passing.answered.get("settled")
        aim = self._take(Phase.COMMITTED, passing, settled)
        if aim is None or settled is None:
            return Verdict.PASS
        self._kill_end_of(passing, aim, [UUID(one["lease_id"]) for one in settled])
        return Verdict.CUT

    def after_answer(self, passing: Passing) -> None:
        leases = passing.answered.get("leases")
        aim = self._take(Phase.CLAIMED, passing, leases)
        if aim is not None and leases is not None:
            self._kill_end_of(passing, aim, [UUID(lease["id"]) for lease in leases])

    def _strike_passing(self, aim: Aim) -> Kill:
        with self._lock:
            self._aim = aim
        try:
            return self._struck.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"nothing passed in the phase {aim.phase!r}: {self._how_it_is()}") from None

    def _how_it_is(self) -> str:
        processes = (*self._deployment.workers, *self._deployment.servers)
        down = [process.name for process in processes if not process.runs]
        last = max((passing.at for passing in self._deployment.proxy.carried), default=0.0)
        return (
            f"{self._deployment.unfinished()} jobs unfinished, {len(self._deployment.ledger.running())} runs "
            f"without an end, down: {down}, last exchange {time.monotonic() - last:.1f} s ago"
        )

    def _take(self, phase: Phase, passing: Passing, jobs: object) -> Aim | None:
        """The aim, if this message of this phase is what it waits for; nobody else gets it then."""
        with self._lock:
            aim = self._aim
            if not jobs or aim is None or aim.phase is not phase or self._worker(passing.worker_pid) is None:
                return None
            self._aim = None
            return aim

    def _kill_end_of(self, passing: Passing, aim: Aim, leases: list[UUID]) -> None:
        """Kills the worker that said it or the server it was said to."""
        at = time.monotonic()
        if aim.victim is Victim.SERVER:
            process = self._deployment.servers[passing.server]
            kill = Kill.of(process, aim, leases, at=at)
            process.kill_all()
        else:
            found = self._worker(passing.worker_pid)
            assert found is not None
            kill = Kill.of(found, aim, leases, at=at)
            found.kill()
        self._struck.put(kill)

    # --- by the ledger

    def _strike_running(self, aim: Aim) -> Kill:
        wait_until(lambda: self._deployment.serving() != [])
        run = self._running_job(aim.victim)
        worker = self._worker(run.worker_pid)
        assert worker is not None
        at = time.monotonic()
        if aim.victim is Victim.SLOT:
            return self._kill_slot(aim, run, worker)
        victim = worker if aim.victim is Victim.WORKER else self._random.choice(self._deployment.serving())
        kill = Kill.of(victim, aim, [run.lease_id], at=at)
        victim.kill() if victim is worker else victim.kill_all()
        return kill

    def _running_job(self, victim: Victim) -> Run:
        """One of the jobs that run just now; in a slot process, where one is to be killed."""
        found: list[Run] = []

        def look() -> bool:
            found[:] = [
                run
                for run in self._deployment.ledger.running()
                if self._worker(run.worker_pid) is not None
                and (victim is not Victim.SLOT or run.pid != run.worker_pid)
                and psutil.pid_exists(run.pid)
            ]
            return bool(found)

        wait_until(look)
        return self._random.choice(found)

    def _kill_slot(self, aim: Aim, run: Run, worker: Process) -> Kill:
        siblings = [
            other
            for other in self._deployment.ledger.running()
            if other.worker_pid == run.worker_pid and other.pid != run.pid and psutil.pid_exists(other.pid)
        ]
        slot = psutil.Process(run.pid)
        kill = Kill(aim, f"slot of {worker.name}", run.pid, time.monotonic(), (run.lease_id,))
        os.kill(run.pid, signal.SIGKILL)
        wait_until(lambda: is_gone(slot))
        if self._bears_out(kill):
            # it is missed, and alone: its worker and its siblings go on
            wait_until(lambda: self.rescuer_of(kill) is not None)
            wait_until(lambda: all(sibling.ended is not None for sibling in self._again(siblings)))
            assert worker.runs
            assert worker.pid == run.worker_pid
        return kill

    def rescuer_of(self, kill: Kill) -> str | None:
        """Who took back the lease that the killed one held: its worker, or a janitor where that came late."""
        (lease,) = kill.leases
        (run,) = (run for run in self._deployment.ledger.runs() if run.lease_id == lease)
        rescues = (
            row.actor
            for row in self._deployment.backend.history(run.job_id)
            if row.lease_id == lease and row.event is Event.RESCUE
        )
        return next(rescues, None)

    def _again(self, runs: list[Run]) -> list[Run]:
        leases = {run.lease_id for run in runs}
        return [run for run in self._deployment.ledger.runs() if run.lease_id in leases]

    def _worker(self, pid: int) -> Process | None:
        """The worker with this process id, if it runs."""
        return next((one for one in self._deployment.workers if one.pid == pid and one.runs), None)

    def _bears_out(self, kill: Kill) -> bool:
        """Whether the ledger agrees that the phase was the one aimed at."""
        runs = {run.lease_id: run for run in self._deployment.ledger.runs()}
        if kill.aim.phase is Phase.CLAIMED:
            return any(lease not in runs or runs[lease].began > kill.at for lease in kill.leases)
        if kill.aim.phase is Phase.BEGUN:
            ended = runs[kill.leases[0]].ended
            return ended is None or ended > kill.at
        return True


def _say_nothing(text: str) -> None:
    """For what is known already."""
