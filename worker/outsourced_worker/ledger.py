"""What this worker holds and owes: leases not yet settled, outcomes not yet delivered."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from uuid import UUID

from outsourced.records import ExchangeRequest, Lease, Outcome, OutcomeKind, Settled, SettledStatus
from outsourced_worker.assignment import Assignment
from outsourced_worker.bell import Bell
from outsourced_worker.holding import RunTimes
from outsourced_worker.signalling import REVOKED, tell_revoked

log = logging.getLogger(__name__)

#: outcomes sent in one request
MAX_OUTCOMES = 200
#: characters of results and tracebacks in one request, the first outcome aside
MAX_TEXT = 1024 * 1024
#: seconds an outcome may wait for company while every slot is busy
LINGER = 0.05

#: ends that tell nothing of how long the task runs when it is let
_CUT_SHORT = frozenset({OutcomeKind.LOST, OutcomeKind.RELEASED, OutcomeKind.CANCELLED})


@dataclass(slots=True)
class Survey:
    """The leases in hand that have not ended."""

    waiting: list[Assignment]
    running: list[Assignment]

    def __len__(self) -> int:
        return len(self.waiting) + len(self.running)


class Ledger:
    """Leases by id, and the outcomes that go with the next exchange.

    Pools report into it once a job, without a lock; the rest happens once a batch.
    """

    def __init__(self, bell: Bell) -> None:
        self.held: dict[UUID, Assignment] = {}
        self.times = RunTimes()
        self.ring_at = 1  #: how many outcomes wake the claim loop
        self._bell = bell
        self._outcomes: deque[Outcome] = deque()
        self._lock = Lock()
        self._alone = 0  #: outcomes still to be sent one by one, after the server refused a body

    def accept(self, leases: Iterable[Lease], *, asked_at: float) -> list[Assignment]:
        """Takes leases into the books; one that is held already (a replayed claim) is not taken twice."""
        now = time.monotonic()
        with self._lock:
            new = [Assignment(lease, asked_at, now) for lease in leases if lease.id not in self.held]
            self.held.update((assignment.lease.id, assignment) for assignment in new)
        return new

    def report(self, assignment: Assignment, outcome: Outcome) -> None:
        """Records how a job ended here; it is delivered with the next exchange."""
        assignment.ended = True
        if outcome.kind in REVOKED:
            tell_revoked(assignment, outcome.kind)
        outcomes = self._outcomes
        outcomes.append(outcome)
        if len(outcomes) >= self.ring_at:
            self._bell.ring()

    def close_all(
        self, assignments: Iterable[Assignment], kind: OutcomeKind, reason: str | None = None
    ) -> None:
        """Reports the same outcome for each."""
        for assignment in assignments:
            self.report(assignment, assignment.outcome(kind, reason=reason))

    def survey(self) -> Survey:
        """What waits and what runs."""
        found = Survey([], [])
        with self._lock:
            for assignment in self.held.values():
                if not assignment.ended:
                    (found.waiting if assignment.begun_at is None else found.running).append(assignment)
        return found

    def oldest_claim(self) -> float | None:
        """When the lease held longest was asked for."""
        with self._lock:
            return next((assignment.asked_at for assignment in self.held.values()), None)

    def snapshot(self) -> list[Assignment]:
        """Every lease not yet settled, in the order of arrival."""
        with self._lock:
            return list(self.held.values())

    @property
    def owed(self) -> int:
        """How many outcomes wait to be sent."""
        return len(self._outcomes)

    def oldest_end(self) -> float | None:
        """When the outcome that has waited longest came."""
        try:
            return self._outcomes[0].ended_at
        except IndexError:
            return None

    def collect(self) -> tuple[Outcome, ...]:
        """Takes the outcomes for one request; `settle` or `put_back` must follow."""
        taken: list[Outcome] = []
        limit, text = 1 if self._alone else MAX_OUTCOMES, 0
        while self._outcomes and len(taken) < limit:
            text += _text_of(self._outcomes[0])
            if taken and text > MAX_TEXT:
                break
            outcome = self._outcomes.popleft()
            assignment = self.held.get(outcome.lease_id)
            if assignment is None:
                log.info("job %s: %s not reported, its lease has ended", outcome.job_id, outcome.kind)
                continue
            taken.append(outcome)
            if outcome.ran_for is not None and outcome.kind not in _CUT_SHORT:
                self.times.observe(assignment.lease.task, outcome.ran_for)
        self._alone = max(0, self._alone - 1)
        return tuple(taken)

    def settle(self, request: ExchangeRequest, settled: Sequence[Settled]) -> None:
        """Closes what the server has answered for; what it passed over is sent again."""
        answers = {answer.lease_id: answer for answer in settled}
        missed = [outcome for outcome in request.outcomes if outcome.lease_id not in answers]
        self._outcomes.extendleft(reversed(missed))
        with self._lock:
            for answer in settled:
                self.held.pop(answer.lease_id, None)
        for answer in settled:
            if answer.status is SettledStatus.REFUSED:
                log.warning(
                    "lease %s: outcome refused: %s %s", answer.lease_id, answer.code, answer.reason or ""
                )

    def put_back(self, outcomes: Sequence[Outcome]) -> None:
        """Takes outcomes back that were not delivered."""
        self._outcomes.extendleft(reversed(outcomes))

    def send_alone(self, number: int) -> None:
        """Sends the next so many outcomes each in a request of its own: one of them cannot be read."""
        self._alone += number

    def replace(self, outcome: Outcome) -> None:
        """Sends this outcome in place of one that the server would not read."""
        self._outcomes.appendleft(outcome)

    def drop(self, chosen: Callable[[Assignment], bool]) -> list[Assignment]:
        """Forgets leases that have ended at the server, and what their tasks may still report."""
        with self._lock:
            dropped = [assignment for assignment in self.held.values() if chosen(assignment)]
            for assignment in dropped:
                del self.held[assignment.lease.id]
        return dropped


def _text_of(outcome: Outcome) -> int:
    size = len(outcome.result or "")
    if outcome.error is not None:
        size += len(outcome.error.traceback) + len(outcome.error.message)
    return size
