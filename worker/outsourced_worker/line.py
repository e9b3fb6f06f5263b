"""One request to the server, sent again until it is answered."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

from outsourced.backend import Consumer
from outsourced.errors import (
    AuthenticationFailed,
    BackendError,
    InvalidRequest,
    OutsourcedError,
    TooLarge,
    WorkerLocked,
    WorkerTooOld,
)
from outsourced.records import ExchangeReply, ExchangeRequest

log = logging.getLogger(__name__)

#: seconds: the first and the longest back-off
FIRST_BACKOFF = 0.25
LONGEST_BACKOFF = 30.0
#: seconds between two looks at whether to give up
_LOOK = 0.1

#: what no repetition of the same request will cure
HOPELESS = (WorkerTooOld, InvalidRequest, TooLarge)


class Line:
    """Calls to the server, from any thread. An outage is logged when it begins and when it ends."""

    def __init__(self, consumer: Consumer, *, on_locked: Callable[[WorkerLocked], None]) -> None:
        self._consumer = consumer
        self._on_locked = on_locked
        self.locked = False
        self._out = False

    def call(self, request: ExchangeRequest, *, give_up: Callable[[], bool]) -> ExchangeReply | None:
        """The answer; None once `give_up` says so while there is none.

        Raises AuthenticationFailed and the errors of HOPELESS.
        """
        failures = 0
        while True:
            try:
                reply = self._consumer.exchange(request)
            except WorkerLocked as error:
                self._note_lock(error)
            except AuthenticationFailed:
                raise
            except HOPELESS:
                raise
            except OutsourcedError as error:
                if not self._out:
                    self._out = True
                    log.warning("no answer from the server, trying again: %s", error)
                elif not isinstance(error, BackendError):
                    log.debug("still refused: %s", error)
            else:
                self._note_answer()
                return reply
            failures += 1
            if not pause(backoff(failures), give_up):
                return None

    def _note_lock(self, error: WorkerLocked) -> None:
        if not self.locked:
            self.locked = True
            self._on_locked(error)

    def _note_answer(self) -> None:
        if self._out or self.locked:
            log.warning("the server answers again%s", ", the worker is unlocked" if self.locked else "")
        self.locked = self._out = False


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
