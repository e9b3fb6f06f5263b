"""A wake-up that any thread may ring, and a signal handler too."""

from __future__ import annotations

from queue import Empty, SimpleQueue


class Bell:
    """Wakes one waiting thread; rings before it waits count as one.

    Built on SimpleQueue, whose `put` may run inside a signal handler, where an Event could deadlock.
    """

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()
        self._rung = False

    def ring(self) -> None:
        """Wakes the waiter, or lets its next wait return at once."""
        if not self._rung:
            self._rung = True
            self._rings.put(None)

    def wait(self, timeout: float | None = None) -> None:
        """Returns at the next ring, or after `timeout` seconds. Look at the facts after it, not before."""
        try:
            self._rings.get(timeout=timeout)
        except Empty:
            return
        self._rung = False
