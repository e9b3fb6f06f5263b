"""The second connection: a request parked at the server until there is a job or a command."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

from outsourced.errors import OutsourcedError
from outsourced.records import ExchangeReply, ExchangeRequest
from outsourced_worker.bell import Bell
from outsourced_worker.line import Line

log = logging.getLogger(__name__)

#: one parked, and for a moment the one it supersedes
_MAX_PARKED = 2

Answered = Callable[[ExchangeRequest, ExchangeReply, float], None]


class Poller:
    """Parks requests, each on a thread of its own; the server ends a poll when a newer one comes."""

    def __init__(
        self,
        line: Line,
        bell: Bell,
        *,
        answered: Answered,
        failed: Callable[[OutsourcedError], None],
        give_up: Callable[[ExchangeRequest, float], bool],
    ) -> None:
        self._line = line
        self._bell = bell
        self._answered = answered
        self._failed = failed
        self._give_up = give_up
        self._requests: SimpleQueue[ExchangeRequest] = SimpleQueue()
        self._parked: list[ExchangeRequest] = []
        self._threads = 0

    @property
    def newest(self) -> ExchangeRequest | None:
        """The request that is parked now."""
        parked = self._parked
        return parked[-1] if parked else None

    @property
    def slots(self) -> int:
        """How many leases the parked requests may still bring."""
        return sum(request.slots for request in tuple(self._parked))

    @property
    def has_room(self) -> bool:
        """Whether another request can be parked now, superseding the one there is."""
        return len(self._parked) < _MAX_PARKED

    def park(self, request: ExchangeRequest) -> None:
        """Parks a request; its answer goes to `answered`."""
        self._parked.append(request)
        if self._threads < len(self._parked):
            self._threads += 1
            threading.Thread(target=self._loop, name="outsourced-poll", daemon=True).start()
        self._requests.put(request)

    def _loop(self) -> None:
        while True:
            request = self._requests.get()
            asked_at = time.monotonic()
            try:
                reply = self._line.call(request, give_up=partial(self._give_up, request, asked_at))
            except OutsourcedError as error:
                self._failed(error)
                reply = None
            except Exception:
                log.exception("the poll failed")
                reply = None
            # its leases are in the books before it stops counting as parked: nobody parks for their slots
            self._answered(request, reply or ExchangeReply(), asked_at)
            self._parked.remove(request)
            self._bell.ring()
