"""The background duties of a serving process: it gives `maintenance.tick` its ticks.

Every process has one; which of them does a duty is decided in the database, tick by tick.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from outsourced.errors import BackendError
from outsourced.server.config import Settings
from outsourced.server.service import Service
from outsourced.sql import maintenance
from outsourced.sql.backend import SqlBackend

log = logging.getLogger(__name__)


class Janitor(Service):
    """Promotes, rescues, expires and prunes, without traffic and without cron."""

    def __init__(self, backend: SqlBackend, settings: Settings, *, declare: Callable[[], None]) -> None:
        super().__init__("janitor", min(settings.promote_interval, settings.janitor_interval))
        self._backend = backend
        self._declare = declare
        self._has_declared = False
        self._intervals: dict[str, timedelta] = {
            "promote": settings.promote_interval,
            "rescue": settings.janitor_interval,
            "expire": settings.janitor_interval,
        }

    def tick(self) -> dict[str, int]:
        """Does what is due and nobody else took; gives how many jobs each duty moved.

        The first tick declares the app's rate limits and schedules. What is wrong with them stops no other
        duty.
        """
        if not self._has_declared:
            try:
                self._declare()
            except BackendError:
                raise
            except Exception:
                log.exception("the schedules stay as they are: the app's own cannot be read")
            self._has_declared = True
        return maintenance.tick(self._backend, self._intervals)
