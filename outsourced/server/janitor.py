"""The background duties of a serving process: a thread that gives `maintenance.tick` its ticks.

Every process has one; which of them does a duty is decided in the database, tick by tick.
"""

from __future__ import annotations

import logging
import os
import threading
from datetime import timedelta

from outsourced.server.config import Settings
from outsourced.sql import maintenance
from outsourced.sql.backend import SqlBackend

log = logging.getLogger(__name__)

#: seconds to wait after an error, at most
RETRY_TO = 30.0


class Janitor:
    """Promotes, rescues, expires and prunes, without traffic and without cron."""

    def __init__(self, backend: SqlBackend, settings: Settings) -> None:
        self._backend = backend
        self._interval = min(settings.promote_interval, settings.janitor_interval)
        self._intervals: dict[str, timedelta] = {
            "promote": settings.promote_interval,
            "rescue": settings.janitor_interval,
            "expire": settings.janitor_interval,
        }
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._ending = threading.Event()

    def start(self) -> None:
        """Starts the thread unless it runs; again after a fork, which leaves threads behind."""
        if self._runs():
            return
        with self._lock:
            if self._runs():
                return
            self._pid, self._ending = os.getpid(), threading.Event()
            self._thread = threading.Thread(
                target=self._loop, args=(self._ending,), name="outsourced-janitor", daemon=True
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

    def tick(self) -> dict[str, int]:
        """Does what is due and nobody else took; gives how many jobs each duty moved."""
        return maintenance.tick(self._backend, self._intervals)

    def _loop(self, ending: threading.Event) -> None:
        pause = interval = self._interval.total_seconds()
        while not ending.wait(pause):
            try:
                self.tick()
                pause = interval
            except Exception as error:  # noqa: BLE001 - a service loop survives whatever happens to the database
                pause = min(RETRY_TO, pause * 2)
                log.warning("the background duties failed, next try in %.1f s: %s", pause, error)
