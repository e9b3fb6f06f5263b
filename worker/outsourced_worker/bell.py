"""A wake-up that any thread may ring."""

from __future__ import annotations

import threading


class Bell:
    """Wakes one waiting thread; rings before it waits count as one.

    Not a SimpleQueue: in Python 3.11, one whose wait a signal interrupts at its end waits for ever.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rung = False

    def ring(self) -> None:
        """Wakes the waiter, or lets its next wait return at once."""
        with self._condition:
            self._rung = True
            self._condition.notify()

    def wait(self, timeout: float | None = None) -> None:
        """Returns at the next ring, or after `timeout` seconds. Look at the facts after it, not before."""
        with self._condition:
            self._condition.wait_for(lambda: self._rung, timeout)
            self._rung = False
