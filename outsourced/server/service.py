"""A background service of a serving process: a thread that ticks until it is told to end."""

from __future__ import annotations

import logging
import os
import threading
from abc import ABC, abstractmethod
from datetime import timedelta

log = logging.getLogger(__name__)

#: seconds to wait after an error, at most
RETRY_TO = 30.0


class Service(ABC):
    """Started and stopped at any time. A fork leaves the thread behind, and may start its own."""

    def __init__(self, name: str, interval: timedelta) -> None:
        self._name, self._interval = name, interval
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._ending = threading.Event()

    @abstractmethod
    def tick(self) -> object:
        """Does what is due."""

    def start(self) -> None:
        """Starts the thread unless it runs."""
        if self._runs():
            return
        with self._lock:
            if self._runs():
                return
            self._pid, self._ending = os.getpid(), threading.Event()
            self._thread = threading.Thread(
                target=self._loop, args=(self._ending,), name=f"outsourced-{self._name}", daemon=True
            )
            self._thread.start()

    def _runs(self) -> bool:
        return self._pid == os.getpid() and self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Ends the thread once its tick is done; does nothing when there is none."""
        self._ending.set()
        thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid():
            thread.join(timeout=5)

    def _loop(self, ending: threading.Event) -> None:
        pause = interval = self._interval.total_seconds()
        while not ending.wait(pause):
            try:
                self.tick()
                pause = interval
            except Exception as error:  # noqa: BLE001 - a service loop survives whatever happens to the database
                pause = min(RETRY_TO, pause * 2)
                log.warning("the %s failed, next try in %.1f s: %s", self._name, pause, error)
