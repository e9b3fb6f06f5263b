"""What to say to the server next, and what to make of its answers."""

from __future__ import annotations

import logging
import random
import threading
import time
from uuid import UUID, uuid4

from outsourced.errors import OutsourcedError
from outsourced.records import (
    CommandKind,
    ExchangeReply,
    ExchangeRequest,
    Failure,
    Instance,
    Lease,
    Outcome,
    OutcomeKind,
    Told,
)
from outsourced_worker.assignment import Assignment
from outsourced_worker.holding import MAX_CLAIM, MAX_HELD, PATIENCE, slots_wanted
from outsourced_worker.ledger import LINGER, Ledger, Survey
from outsourced_worker.poller import Poller
from outsourced_worker.pools.base import Pool
from outsourced_worker.signalling import tell_received

log = logging.getLogger(__name__)

#: seconds a task runs before its begin is reported on its own account
BEGIN_REPORT = 0.4
#: seconds between two requests for the sake of progress alone
TELLING = 0.5
#: characters of progress in one request, the first one aside
MAX_TELLING = 256 * 1024
#: seconds between two looks at running tasks
TICK = 0.5
#: a lease's time to live, in heartbeats
BEATS = 3
#: seconds between heartbeats until a lease names its own time to live
FIRST_INTERVAL = 20.0
#: seconds to stay away, at least, after a poll that came back at once with nothing
_EMPTY_PAUSE = 0.5
#: seconds
_SHORTEST_WAIT = 0.001


class Dialogue:
    """Composes requests and takes replies: few exchanges in flight settle and claim, one poll parks.

    While jobs come in plenty, each exchange carries the outcomes so far and asks for the next batch.
    Once a claim comes up short, the poller parks with the free slots, and exchanges only settle.
    Safe to use from several threads; each request must come back by `take`, `recover` or `take_back`.
    """

    def __init__(
        self,
        ledger: Ledger,
        pool: Pool,
        poller: Poller,
        *,
        instance: Instance,
        tasks: tuple[str, ...],
        poll_wait: float,
        burst: bool,
    ) -> None:
        self._ledger = ledger
        self._pool = pool
        self._poller = poller
        self._instance = instance
        self._tasks = tasks
        self._poll_wait = poll_wait
        self._burst = burst
        self._lock = threading.RLock()
        self.draining = False
        self._dry = False  #: the last claim came up short
        self._coming = 0  #: leases asked for by the exchanges in flight
        self._unconfirmed: list[Assignment] = []
        self._interval = FIRST_INTERVAL
        self._heard_at = 0.0  #: when the newest exchange was asked that has been answered
        self._beat_at = 0.0
        self._tick_at = 0.0
        self._told_at = 0.0
        self._park_after = 0.0

    def drain(self) -> bool:
        """Claims no more; the next request gives back what has not begun. False if it was draining."""
        with self._lock:
            begins = not self.draining
            self.draining = True
            self._dry = True
            return begins

    def is_done(self) -> bool:
        """Whether there is nothing left to do: when draining, or in a burst."""
        if self._ledger.held or self._ledger.owed or self._coming:
            return False
        return self.draining or (self._burst and self._dry)

    def is_stale(self, request: ExchangeRequest, asked_at: float) -> bool:
        """Whether it is a claim asked so long ago that its leases, if it made any, have lapsed."""
        return bool(request.slots) and time.monotonic() - asked_at > self._lease_life

    @property
    def _lease_life(self) -> float:
        return self._interval * BEATS

    def next_request(self) -> ExchangeRequest | None:
        """What is to be said now; None: nothing yet. Parks a poll on the way where one is missing."""
        with self._lock:
            request = self._compose(time.monotonic())
            if request is not None:
                self._coming += request.slots
            return request

    def _compose(self, now: float) -> ExchangeRequest | None:
        self._pool.refresh()
        survey = self._ledger.survey()
        self._give_back(survey, now)
        wanted = self._wanted(survey, now)
        self._park(survey, wanted, now)
        slots = wanted if self._may_claim() else 0
        begun = self._begun_due(survey, now)
        beating = self._beats(now)
        news = [assignment for assignment in survey.running if assignment.has_news]
        telling = bool(news) and now - self._told_at >= TELLING
        hungry = len(survey) + self._coming < self._pool.slots
        if not (begun or beating or telling or self._is_due(survey, slots, hungry=hungry, now=now)):
            self._set_alarm(survey, wanted)
            return None
        if beating:
            self._beat_at = now
        outcomes = self._ledger.collect()
        if not (outcomes or slots or begun or beating or telling):
            return None
        return ExchangeRequest(
            instance=self._instance,
            claim_id=uuid4() if slots else None,
            slots=slots,
            tasks=self._tasks if slots else (),
            held=tuple(a.as_held() for a in self._ledger.snapshot()) if beating else None,
            begun=tuple(a.as_held() for a in begun),
            outcomes=outcomes,
            progress=self._tell(news, now),
        )

    def _tell(self, news: list[Assignment], now: float) -> tuple[Told, ...]:
        """The news for one request; what is too much for it goes with the next one."""
        told: list[Told] = []
        size = 0
        for assignment in news[:MAX_CLAIM]:
            assert assignment.progress is not None
            size += len(assignment.progress.meta)
            if told and size > MAX_TELLING:
                break
            told.append(assignment.tell())
            self._told_at = now
        return tuple(told)

    def patience(self) -> float | None:
        """Seconds until there may be something to say without anybody ringing."""
        now = time.monotonic()
        moments = []
        oldest = self._ledger.oldest_end()
        if oldest is not None:
            moments.append(oldest + LINGER)
        if self._ledger.held:
            moments.append(self._tick_at + TICK)
        if self._park_after > now:
            moments.append(self._park_after)
        return max(0.001, min(moments) - now) if moments else None

    def farewell(self) -> ExchangeRequest:
        """A last request: outcomes, nothing wanted."""
        return ExchangeRequest(instance=self._instance, outcomes=self._ledger.collect())

    def superseding(self) -> ExchangeRequest:
        """A poll of the shortest kind, which ends the one that is parked."""
        return ExchangeRequest(instance=self._instance, wait=_SHORTEST_WAIT)

    def take(self, request: ExchangeRequest, reply: ExchangeReply, *, asked_at: float) -> None:
        """Takes the answer to an exchange."""
        with self._lock:
            self._coming -= request.slots
            self._heard_at = max(self._heard_at, asked_at)
            self._ledger.settle(request, reply.settled)
            self._obey(reply)
            self._admit_confirmed(request)
            self._receive(reply.leases, asked_at)
            if request.slots:
                self._dry = self.draining or len(reply.leases) < request.slots

    def take_poll(self, request: ExchangeRequest, reply: ExchangeReply, *, asked_at: float) -> None:
        """Takes the answer to a parked poll; called in the poller's thread."""
        now = time.monotonic()
        with self._lock:
            if reply.leases:
                self._heard_at = max(self._heard_at, asked_at)
            self._obey(reply)
            self._receive(reply.leases, asked_at)
            if request.slots:
                self._dry = self.draining or len(reply.leases) < request.slots
            if reply.retry_after is not None:
                self._park_after = now + reply.retry_after
            elif not (reply.leases or reply.commands) and now - asked_at < _EMPTY_PAUSE:
                self._park_after = now + random.uniform(_EMPTY_PAUSE / 2, _EMPTY_PAUSE)

    def take_back(self, request: ExchangeRequest) -> None:
        """After a request that was given up: what it said is still to be said."""
        with self._lock:
            self._coming -= request.slots
            self._ledger.put_back(request.outcomes)
            self._ask_begun_again(request)
            for told in request.progress:
                if told.lease_id in self._ledger.held:
                    self._ledger.held[told.lease_id].told = None

    def recover(self, request: ExchangeRequest, error: OutsourcedError) -> None:
        """After a request the server cannot read: each outcome on its own, and a failure for the culprit."""
        log.error("the server would not take the request: %s", error)
        with self._lock:
            if len(request.outcomes) == 1:
                self._coming -= request.slots
                self._fail_unreadable(request, error)
            else:
                self.take_back(request)
                self._ledger.send_alone(len(request.outcomes))
            self._ask_begun_again(request)

    def _ask_begun_again(self, request: ExchangeRequest) -> None:
        for held in request.begun:
            assignment = self._ledger.held.get(held.lease_id)
            if assignment is not None:
                assignment.begin_reported = False

    def _fail_unreadable(self, request: ExchangeRequest, error: OutsourcedError) -> None:
        (outcome,) = request.outcomes
        self._ledger.replace(
            Outcome(
                lease_id=outcome.lease_id,
                job_id=outcome.job_id,
                kind=OutcomeKind.FAILED,
                error=Failure(
                    type=type(error).__name__, message=f"the server refused the outcome: {error}"[:1000]
                ),
                ran_for=outcome.ran_for,
                ended_at=outcome.ended_at,
            )
        )

    def _wanted(self, survey: Survey, now: float) -> int:
        if self._ledger.held and now - self._heard_at > self._lease_life:
            # the server may have taken back what is held: bring it home first, lest it is claimed anew
            return 0
        if self.draining or (self._burst and self._dry and not self._ledger.owed):
            return 0
        return slots_wanted(
            self._pool.slots,
            self._ledger.times,
            waiting=[assignment.lease.task for assignment in survey.waiting],
            running=[(a.lease.task, now - (a.begun_at or now)) for a in survey.running],
            coming=self._coming,
        )

    def _may_claim(self) -> bool:
        return (self._burst or not self._dry) and not self._poller.slots

    def _is_due(self, survey: Survey, slots: int, *, hungry: bool, now: float) -> bool:
        oldest = self._ledger.oldest_end()
        if oldest is not None and (hungry or self._ledger.owed >= MAX_CLAIM or now - oldest >= LINGER):
            return True
        return bool(slots) and (hungry or slots >= self._batch(survey, slots))

    def _batch(self, survey: Survey, slots: int) -> int:
        """How many slots are worth a request of their own: half of what may be held."""
        return min(MAX_CLAIM, -(-(len(survey) + self._coming + slots) // 2))

    def _set_alarm(self, survey: Survey, wanted: int) -> None:
        """The first outcome wakes the loop, to start its linger; then the one that makes a batch."""
        owed = self._ledger.owed
        missing = max(1, min(MAX_CLAIM, MAX_HELD // 2) - wanted) if self._may_claim() else MAX_CLAIM
        self._ledger.ring_at = 1 if not owed else min(MAX_CLAIM, owed + missing)

    def _begun_due(self, survey: Survey, now: float) -> list[Assignment]:
        due = [a for a in survey.running if now - (a.begun_at or now) >= BEGIN_REPORT]
        self._tick_at = now
        for assignment in self._unconfirmed:
            assignment.begun_at = assignment.begun_at or now
        # one that awaits confirmation counts as running by now; none is named while another request does
        due = [a for a in dict.fromkeys(due + self._unconfirmed) if not a.begin_reported]
        for assignment in due:
            assignment.begin_reported = True
        return due

    def _beats(self, now: float) -> bool:
        since = self._ledger.oldest_claim()
        return since is not None and now >= max(self._beat_at, since) + self._interval

    def _give_back(self, survey: Survey, now: float) -> None:
        """Releases what has waited too long, or everything not begun when draining."""
        if not survey.waiting:
            return
        cutoff = now if self.draining else now - PATIENCE
        if survey.waiting[0].arrived_at > cutoff:
            return
        withdrawn = self._pool.withdraw(lambda assignment: assignment.arrived_at <= cutoff)
        self._ledger.close_all(withdrawn, OutcomeKind.RELEASED)
        if withdrawn and self._burst and not self.draining:
            self._dry = False  # there is work again: what we gave back
        survey.waiting = [assignment for assignment in survey.waiting if not assignment.ended]

    def _park(self, survey: Survey, wanted: int, now: float) -> None:
        if self.draining or self._burst or now < self._park_after or not self._poller.has_room:
            return
        parked = self._poller.newest
        if parked is None:
            long_running = any(a.begin_reported for a in survey.running)
            needed = (self._dry and wanted > 0) or (not wanted and long_running)
        else:
            needed = self._dry and wanted > 0 and not self._poller.slots
        if needed:
            self._poller.park(
                ExchangeRequest(
                    instance=self._instance,
                    claim_id=uuid4() if wanted else None,
                    slots=wanted,
                    wait=self._poll_wait,
                    tasks=self._tasks if wanted else (),
                )
            )

    def _receive(self, leases: tuple[Lease, ...], asked_at: float) -> None:
        if not leases:
            return
        self._interval = min(lease.ttl for lease in leases) / BEATS
        new = self._ledger.accept(leases, asked_at=asked_at)
        tell_received(new)
        self._unconfirmed += [assignment for assignment in new if assignment.lease.confirm]
        self._pool.put([assignment for assignment in new if not assignment.lease.confirm])

    def _admit_confirmed(self, request: ExchangeRequest) -> None:
        """Lets those jobs run whose begin the server has now recorded."""
        if not self._unconfirmed:
            return
        told = {held.lease_id for held in request.begun}
        ready = [a for a in self._unconfirmed if a.lease.id in told and a.lease.id in self._ledger.held]
        self._unconfirmed = [a for a in self._unconfirmed if a.lease.id not in told]
        for assignment in ready:
            assignment.begin_reported, assignment.begun_at = True, None
        self._pool.put(ready)

    def _obey(self, reply: ExchangeReply) -> None:
        lost = {command.lease_id for command in reply.commands if command.kind is CommandKind.LOST}
        cancelled = {command.lease_id for command in reply.commands if command.kind is CommandKind.CANCEL}
        if lost:
            self._lose(lost)
        if cancelled:
            self._cancel(cancelled)

    def _lose(self, ids: set[UUID]) -> None:
        dropped = self._ledger.drop(lambda assignment: assignment.lease.id in ids)
        if dropped:
            log.warning("%d leases have ended at the server; their outcomes do not count", len(dropped))
        self._pool.withdraw(lambda assignment: assignment.lease.id in ids)
        self._pool.interrupt(lambda assignment: assignment.lease.id in ids, OutcomeKind.RELEASED)

    def _cancel(self, ids: set[UUID]) -> None:
        withdrawn = self._pool.withdraw(lambda assignment: assignment.lease.id in ids)
        waiting = [a for a in self._unconfirmed if a.lease.id in ids]
        self._unconfirmed = [a for a in self._unconfirmed if a.lease.id not in ids]
        self._ledger.close_all(withdrawn + waiting, OutcomeKind.CANCELLED)
        self._pool.interrupt(lambda assignment: assignment.lease.id in ids, OutcomeKind.CANCELLED)
