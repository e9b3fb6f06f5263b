"""Time limits inside a slot process.

The soft limit interrupts the task by an alarm of this process. The hard one is the parent's to keep: it is
told the moment, and kills the process. So both hold whatever the task does.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from outsourced.exceptions import SoftTimeLimitExceeded


class Limits:
    """Holds calls to their limits; call it in the main thread."""

    def __init__(self, announce: Callable[[float], None]) -> None:
        """`announce` tells the parent by when, of `time.monotonic()`, the call that begins has to end."""
        self._announce = announce
        self._soft: float | None = None
        signal.signal(signal.SIGALRM, self._interrupt)

    @contextmanager
    def __call__(self, hard: float | None, soft: float | None) -> Iterator[None]:
        """Limits what runs in the block, in seconds; it may raise SoftTimeLimitExceeded anywhere."""
        if hard is not None:
            self._announce(time.monotonic() + hard)
        if soft is None:
            yield
            return
        self._soft = soft
        signal.setitimer(signal.ITIMER_REAL, soft)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._soft = None

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._soft is not None:
            soft, self._soft = self._soft, None
            raise SoftTimeLimitExceeded(f"the task has run for {soft:g} s, its soft_time_limit")
