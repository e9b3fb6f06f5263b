"""The parent's side of one slot process."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import deque
from multiprocessing.context import SpawnContext

from outsourced.exceptions import TimeLimitExceeded, WorkerLostError
from outsourced.records import Failure, Outcome, OutcomeKind, Progress
from outsourced_worker.assignment import Assignment
from outsourced_worker.pools.child import BEGUN, BEGUN_AT, VOID, ChildSetup, run_child
from outsourced_worker.pools.frames import FrameReader, pack_assignment, unpack_outcome, write_all

#: bytes of jobs sent at once when there is more than one: well below a pipe's 64 KiB, so writing never
#: waits for a child that may itself wait for us to read
MAX_BATCH = 16 * 1024
#: seconds to wait for a child that holds the lock; only one that was stopped from outside holds it long
_LOCK_WAIT = 0.2
#: seconds a child gets to end after its pipe was closed
_END_WAIT = 2.0


class Slot:
    """A child process and the jobs it was sent; all methods are called under the pool's lock."""

    def __init__(self, context: SpawnContext, setup: ChildSetup, *, number: int) -> None:
        self._board = context.RawArray("d", 3)
        self._lock = context.Lock()
        jobs, self._jobs = context.Pipe(duplex=False)
        self._outcomes, outcomes = context.Pipe(duplex=False)
        self._reader = FrameReader(self._outcomes.fileno())
        self._last = 0
        self.number = number
        self.sent: dict[int, Assignment] = {}
        self.ready = False
        self.deadline: tuple[int, float] | None = None  #: a job that has begun, and by when it has to end
        self.verdict: OutcomeKind | None = None  #: what to report of the job we killed the child for
        self.started_at = time.monotonic()
        self.process = context.Process(
            target=run_child,
            args=(jobs, outcomes, self._board, self._lock, setup),
            name=f"outsourced-slot-{number}",
            daemon=False,
        )
        self.process.start()
        jobs.close()
        outcomes.close()

    @property
    def outcomes_fd(self) -> int:
        return self._outcomes.fileno()

    def send_from(self, queue: deque[Assignment], *, limit: int) -> None:
        """Sends up to `limit` jobs from the queue in one write; a large one only to an idle child."""
        batch: list[bytes] = []
        size = 0
        while queue and len(batch) < limit:
            packed = pack_assignment(self._last + 1, queue[0])
            size += len(packed)
            if size > MAX_BATCH and self.sent:
                break
            self._last += 1
            self.sent[self._last] = queue.popleft()
            batch.append(packed)
        # a dead child's jobs are found unbegun when its death is noticed
        with contextlib.suppress(BrokenPipeError):
            write_all(self._jobs.fileno(), b"".join(batch))

    def receive(self) -> list[tuple[Assignment, Outcome]] | None:
        """The outcomes that one read brings; None at the end of the pipe."""
        frames = self._reader.read()
        if frames is None:
            return None
        ended = []
        for content in frames:
            if len(content) == 1:
                self.ready = True
                continue
            if len(content) == 2:
                self.deadline = content
                continue
            if len(content) == 3:
                self._note(*content)
                continue
            self.deadline = None
            assignment = self.sent.pop(content[0])
            ended.append((assignment, unpack_outcome(assignment, content)))
        return ended

    def _note(self, number: int, state: str, meta: str) -> None:
        """Keeps the progress of a job that the child is still in."""
        if number in self.sent:
            self.sent[number].note(Progress(state=state, meta=meta))

    def drain(self) -> list[tuple[Assignment, Outcome]]:
        """What a dead child still wrote."""
        os.set_blocking(self.outcomes_fd, False)
        ended: list[tuple[Assignment, Outcome]] = []
        with contextlib.suppress(BlockingIOError):
            while (received := self.receive()) is not None:
                ended += received
        return ended

    def refresh(self) -> None:
        """Writes down when the job that the child is in began."""
        number, begun_at = self._board[BEGUN], self._board[BEGUN_AT]
        assignment = self.sent.get(int(number))
        if assignment is not None and assignment.begun_at is None and self._board[BEGUN] == number:
            assignment.begun_at = begun_at

    def begun(self) -> Assignment | None:
        """The job the child is in, or was in when it died."""
        self.refresh()
        return self.sent.get(int(self._board[BEGUN]))

    def take_back(self) -> list[Assignment]:
        """The jobs sent that have not begun, and now never will in this child."""
        if not self._lock.acquire(timeout=_LOCK_WAIT):
            return []
        try:
            begun = int(self._board[BEGUN])
            self._board[VOID] = self._last
        finally:
            self._lock.release()
        return [self.sent.pop(number) for number in sorted(self.sent) if number > begun]

    def kill_in(self, assignment: Assignment, kind: OutcomeKind) -> None:
        """Kills the child if it is still in this job, which is then reported as `kind`."""
        held = self._lock.acquire(timeout=_LOCK_WAIT)
        try:
            if self.begun() is assignment:
                self.verdict = kind
                self.process.kill()
        finally:
            if held:
                self._lock.release()

    def bury(self) -> tuple[Assignment | None, list[Assignment]]:
        """After the child's death: the job it was in, and the ones that had not begun."""
        self.process.join()
        victim = self.begun()
        unbegun = [assignment for assignment in self.sent.values() if assignment is not victim]
        self.sent.clear()
        self._close()
        return victim, unbegun

    def close(self) -> None:
        """Lets the child end, by force if it does not."""
        self._jobs.close()
        self.process.join(_END_WAIT)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self._outcomes.close()

    def _close(self) -> None:
        self._jobs.close()
        self._outcomes.close()

    def kill_overdue(self, now: float) -> Assignment | None:
        """Kills the child if its job has used up its time limit; gives that job."""
        if self.deadline is None or now < self.deadline[1] or self.verdict is not None:
            return None
        assignment = self.sent.get(self.deadline[0])
        self.deadline = None
        if assignment is not None:
            self.kill_in(assignment, OutcomeKind.FAILED)
        return assignment

    def loss(self, victim: Assignment) -> Outcome:
        """The outcome of the job that the child died in."""
        reason = f"process died: {describe_exit(self.process.exitcode)}"
        ran_for = time.monotonic() - (victim.begun_at or self.started_at)
        kind = self.verdict or OutcomeKind.LOST
        lost = kind is OutcomeKind.LOST
        return Outcome(
            lease_id=victim.lease.id,
            job_id=victim.lease.job_id,
            kind=kind,
            error=self._error(kind, reason, ran_for),
            ran_for=ran_for,
            reason=reason if lost else None,
        )

    @staticmethod
    def _error(kind: OutcomeKind, reason: str, ran_for: float) -> Failure | None:
        if kind is OutcomeKind.LOST:
            return Failure(type=_name(WorkerLostError), message=reason)
        if kind is OutcomeKind.FAILED:
            message = f"the task was stopped after {ran_for:.1f} s, past its time_limit"
            return Failure(type=_name(TimeLimitExceeded), message=message)
        return None


def _name(error: type[BaseException]) -> str:
    return f"{error.__module__}.{error.__qualname__}"


def describe_exit(code: int | None) -> str:
    """An exit code in words."""
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"signal {-code} ({signal.Signals(-code).name})"
        return f"signal {-code}"
    return f"exit code {code}"
