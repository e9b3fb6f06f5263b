"""One request to the server, sent again until it is answered."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

from outsourced.backend import Consumer
from outsourced.errors import (
    AuthenticationFailed,
    BackendUnavailable,
    InvalidRequest,
    OutsourcedError,
    PayloadError,
    TooLarge,
    WorkerLocked,
    WorkerTooOld,
    retry_after,
)
from outsourced.records import ExchangeReply, ExchangeRequest

log = logging.getLogger(__name__)

#: seconds: the first and the longest back-off
FIRST_BACKOFF = 0.25
LONGEST_BACKOFF = 30.0
#: seconds between two looks at whether to give up
_LOOK = 0.1

#: seconds: the longest time away that a server is believed to ask for
LONGEST_AWAY = 300.0

#: what no repetition of the same request will cure. All else passes, a server that is not set up included
HOPELESS = (WorkerTooOld, InvalidRequest, PayloadError, TooLarge)


class Line:
    """Calls to the server, from any thread. Trouble is logged when it begins, changes, and ends."""

    def __init__(self, consumer: Consumer, *, on_locked: Callable[[WorkerLocked], None]) -> None:
        self._consumer = consumer
        self._on_locked = on_locked
        self.locked = False
        self._trouble = ""  #: the code of the last refusal

    def call(self, request: ExchangeRequest, *, give_up: Callable[[], bool]) -> ExchangeReply | None:
        """The answer, whose `expires_in` count from now; None once `give_up` says so while there is none.

        Raises AuthenticationFailed and the errors of HOPELESS.
        """
        failures, first_sent_at = 0, time.monotonic()
        while True:
            sent_at = time.monotonic()
            try:
                reply = self._consumer.exchange(request)
            except WorkerLocked as error:
                self._note_lock(error)
                away = away_after(error, failures)
            except (AuthenticationFailed, *HOPELESS):
                raise
            except OutsourcedError as error:
                self._note_trouble(error)
                away = away_after(error, failures)
            else:
                self._note_answer()
                return reply.delayed(sent_at - first_sent_at) if failures else reply
            failures += 1
            if not pause(away, give_up):
                return None

    def _note_trouble(self, error: OutsourcedError) -> None:
        if self._trouble != error.code:
            self._trouble = error.code
            log.warning("%s; trying again, with growing pauses", _in_words(error))

    def _note_lock(self, error: WorkerLocked) -> None:
        if not self.locked:
            self.locked = True
            self._on_locked(error)

    def _note_answer(self) -> None:
        if self._trouble or self.locked:
            log.warning("the server answers again%s", ", the worker is unlocked" if self.locked else "")
        self.locked, self._trouble = False, ""


def away_after(error: OutsourcedError, failures: int) -> float:
    """Seconds to wait after one failure more: as the server asks, and our own back-off on top."""
    return min(retry_after(error), LONGEST_AWAY) + backoff(failures + 1)


def _in_words(error: OutsourcedError) -> str:
    # what the network did says so itself; the words of the server need its name
    return str(error) if type(error) is BackendUnavailable else f"the server cannot answer now: {error}"


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: full jitter under a doubling ceiling."""
    return random.uniform(0, min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(failures - 1, 10)))


def pause(seconds: float, give_up: Callable[[], bool]) -> bool:
    """Waits; False as soon as `give_up` says so. Polls a flag, as a signal handler may not set an Event."""
    until = time.monotonic() + seconds
    while not give_up():
        left = until - time.monotonic()
        if left <= 0:
            return True
        time.sleep(min(left, _LOOK))
    return False
