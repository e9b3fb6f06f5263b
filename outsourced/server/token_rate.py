"""How often one client may ask for a token from one address: a bounded memory, and never a lock-out."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from outsourced.errors import TooManyRequests
from outsourced.sql.people import MAX_NAME

#: (client, address) pairs remembered, at most; those not heard of for longest are forgotten first
MAX_PAIRS = 10_000
#: seconds
MINUTE = 60.0


class TokenRate:
    """Admits `per_minute` requests of a pair at once, and then one each time a share of a minute has passed.

    The generic cell rate algorithm: all it keeps of a pair is the moment at which the pair has no
    debt any more. What is refused adds none. Each process counts for itself.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._clear_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._clear_at)

    def admit(self, client: str, address: str) -> None:
        """Counts a request; raises TooManyRequests. No number of refusals makes the wait any longer."""
        if not self._per_minute:
            return
        share, pair = MINUTE / self._per_minute, (client[:MAX_NAME], address)
        with self._lock:
            now = self._clock()
            clear_at = max(now, self._clear_at.get(pair, now)) + share
            wait = clear_at - now - MINUTE
            if wait <= 0:
                self._clear_at[pair] = clear_at
                self._clear_at.move_to_end(pair)
                if len(self._clear_at) > MAX_PAIRS:
                    self._clear_at.popitem(last=False)
                return
        raise TooManyRequests(
            f"more than {self._per_minute} requests a minute of one worker from one address: "
            f"wait {math.ceil(wait)} s",
            retry_after=math.ceil(wait),
        )
