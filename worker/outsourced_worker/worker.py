"""A worker process: the claim loop beside the pool, and how both come to their end."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from outsourced import signals
from outsourced.backend import Consumer
from outsourced.context import hostname
from outsourced.errors import AuthenticationFailed, OutsourcedError, WorkerLocked, WorkerTooOld
from outsourced.records import ExchangeReply, ExchangeRequest, Instance, OutcomeKind
from outsourced_worker.assignment import Assignment
from outsourced_worker.bell import Bell
from outsourced_worker.dialogue import Dialogue
from outsourced_worker.hearing import hearing
from outsourced_worker.ledger import Ledger
from outsourced_worker.line import Line, backoff, pause
from outsourced_worker.poller import Poller
from outsourced_worker.pools.base import Pool

log = logging.getLogger(__name__)

#: seconds: how long a thread keeps the interpreter while others want it. Python's 5 ms would delay each
#: step of an exchange by as much while tasks compute.
SWITCH_INTERVAL = 0.0005
#: seconds a superseded poll gets to return when the worker ends
_POLL_END = 2.0

MakePool = Callable[[Ledger, Bell], Pool]


class Worker:
    """Claims, runs and settles until it is told to stop.

    The main thread runs the pool, two more exchange, so that the server reads one request while the
    other waits for its database, and one parks. The first TERM or INT
    drains: nothing more is claimed, what has not begun is given back, what has begun is finished and
    settled. The second gives everything back at once.
    """

    def __init__(
        self,
        consumer: Consumer,
        make_pool: MakePool,
        *,
        instance: Instance,
        tasks: tuple[str, ...],
        poll_wait: float = 25.0,
        burst: bool = False,
    ) -> None:
        self._bell = Bell()
        self.ledger = Ledger(self._bell)
        self.pool = make_pool(self.ledger, self._bell)
        self._line = Line(consumer, on_locked=self._obey_lock)
        self._poller = Poller(
            self._line,
            self._bell,
            answered=self._take_poll,
            failed=self._fail,
            give_up=self._gives_up_poll,
        )
        self.dialogue = Dialogue(
            self.ledger,
            self.pool,
            self._poller,
            instance=instance,
            tasks=tasks,
            poll_wait=poll_wait,
            burst=burst,
        )
        self._signals = 0
        self._ended = False
        self.failure: OutsourcedError | None = None

    def run(self) -> int:
        """Works until TERM or INT; gives the exit code. Call it from the main thread."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        with hearing((signal.SIGTERM, signal.SIGINT), self._hear):
            return self.work()

    def work(self) -> int:
        """Works until `stop`; gives the exit code. The pool runs in the calling thread."""
        signals.worker_init.send(self)
        loop = threading.Thread(target=self._converse, name="outsourced-exchange", daemon=True)
        loop.start()
        signals.worker_ready.send(self)
        try:
            self.pool.run()
        except OutsourcedError as error:
            self._fail(error)
        loop.join()
        signals.worker_shutdown.send(self)
        return 1 if self.failure else 0

    def stop(self) -> None:
        """Drains; called again, gives everything back at once. May be called from any thread."""
        self._signals += 1
        self._bell.ring()

    def _hear(self) -> None:
        self.stop()
        if self._signals > 2 or (self._ended and self._signals > 1):
            os._exit(1)

    def _converse(self) -> None:
        """Both lanes of the exchange, and then the end."""
        second = threading.Thread(target=self._loop, name="outsourced-exchange-2", daemon=True)
        second.start()
        self._loop()
        second.join()
        self._end()

    def _loop(self) -> None:
        try:
            while not self._finished():
                self._turn()
        except OutsourcedError as error:
            self._fail(error)
        except Exception as error:
            log.exception("the claim loop failed; this is a bug")
            self._fail(OutsourcedError(f"the claim loop failed: {error!r}"))
        self._bell.ring()  # the other lane is to see it too

    def _turn(self) -> None:
        if self._signals and self.dialogue.drain():
            log.warning("draining: %d jobs to finish; once more to give them back", len(self.ledger.survey()))
            signals.worker_shutting_down.send(hostname(), sig="SIGTERM", how="Warm", exitcode=0)
            return
        request = self.dialogue.next_request()
        if request is None:
            self._bell.wait(self.dialogue.patience())
            return
        self._bell.ring()  # there may be more to say, by the other lane
        asked_at = time.monotonic()
        reply = self._call(request, asked_at)
        if reply is not None:
            self.dialogue.take(request, reply, asked_at=asked_at)

    def _call(self, request: ExchangeRequest, asked_at: float) -> ExchangeReply | None:
        try:
            reply = self._line.call(request, give_up=lambda: self._gives_up(request, asked_at))
        except (AuthenticationFailed, WorkerTooOld):
            self.dialogue.take_back(request)
            raise
        except OutsourcedError as error:
            self.dialogue.recover(request, error)
            pause(backoff(1), lambda: self._signals > 1)
            return None
        if reply is None:
            self.dialogue.take_back(request)
        return reply

    def _gives_up(self, request: ExchangeRequest, asked_at: float) -> bool:
        """Whether to stop asking: at the second signal, or at the first if nothing can be lost by it."""
        if self.dialogue.is_stale(request, asked_at):
            return True
        if self._signals == 1:
            return self._line.locked or not (request.outcomes or len(self.ledger.held))
        return self._signals > 1 or self.failure is not None

    def _gives_up_poll(self, request: ExchangeRequest, asked_at: float) -> bool:
        return self._signals > 0 or self.failure is not None or self.dialogue.is_stale(request, asked_at)

    def _finished(self) -> bool:
        if self._signals > 1 or self.failure is not None:
            return True
        if self._signals and self._line.locked:
            return True
        return self.dialogue.is_done()

    def _take_poll(self, request: ExchangeRequest, reply: ExchangeReply, asked_at: float) -> None:
        self.dialogue.take_poll(request, reply, asked_at=asked_at)

    def _fail(self, error: OutsourcedError) -> None:
        self.failure = self.failure or error
        self._bell.ring()

    def _obey_lock(self, error: WorkerLocked) -> None:
        """Stops what can be stopped and forgets the leases; their outcomes so far are kept."""
        log.error("%s; asking again until it is", error)
        dropped = self.ledger.drop(lambda assignment: not assignment.ended)
        self._abandon(dropped, OutcomeKind.RELEASED)

    def _abandon(self, assignments: list[Assignment], kind: OutcomeKind) -> None:
        ids = {assignment.lease.id for assignment in assignments}
        self.pool.withdraw(lambda assignment: assignment.lease.id in ids)
        self.pool.interrupt(lambda assignment: assignment.lease.id in ids, kind)

    def _end(self) -> None:
        """Settles what is left, ends the poll and the pool, and with them what else cannot be stopped."""
        running = self.ledger.survey().running
        if self._signals > 1 or self.failure is not None:
            self._give_back()
        self._end_poll()
        if self.ledger.owed:
            self.failure = self.failure or OutsourcedError("the last outcomes could not be delivered")
            log.error("%d outcomes not delivered; the server hands those jobs out again", self.ledger.owed)
        self._ended = True
        self.pool.stop()
        if running and not self.pool.interrupts:
            self._exit_now()

    def _give_back(self) -> None:
        survey = self.ledger.survey()
        self._abandon(survey.waiting, OutcomeKind.RELEASED)
        self.ledger.close_all(survey.waiting, OutcomeKind.RELEASED)
        if self.pool.interrupts:
            self._stop_running(survey.running)
        else:
            self.ledger.close_all(survey.running, OutcomeKind.RELEASED)
        if self.failure is None:
            self._send_last()

    def _stop_running(self, running: list[Assignment]) -> None:
        self._abandon(running, OutcomeKind.RELEASED)
        until = time.monotonic() + _POLL_END
        while not all(assignment.ended for assignment in running) and time.monotonic() < until:
            self._bell.wait(0.05)

    def _send_last(self) -> None:
        while self.ledger.owed:
            request = self.dialogue.farewell()
            reply = self._line.call(request, give_up=lambda: True)
            if reply is None:
                self.ledger.put_back(request.outcomes)
                return
            self.ledger.settle(request, reply.settled)

    def _end_poll(self) -> None:
        """Supersedes a parked poll, so that it takes no job along; gives back what it brings."""
        if self._poller.newest is None or self.failure is not None or self._line.locked:
            return
        self._line.call(self.dialogue.superseding(), give_up=lambda: True)
        until = time.monotonic() + _POLL_END
        while self._poller.newest is not None and time.monotonic() < until:
            self._bell.wait(0.05)
        self.ledger.close_all(self.pool.withdraw(lambda _: True), OutcomeKind.RELEASED)
        self._send_last()

    def _exit_now(self) -> None:
        code = 1 if self.failure else 0
        if self.failure:
            log.error("%s", self.failure)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
