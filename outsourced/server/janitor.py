"""The background duties of a serving process: it gives `maintenance.tick` its ticks.

Every process has one; which of them does a duty is decided in the database, tick by tick.
"""

from __future__ import annotations

from datetime import timedelta

from outsourced.server.config import Settings
from outsourced.server.service import Service
from outsourced.sql import maintenance
from outsourced.sql.backend import SqlBackend


class Janitor(Service):
    """Promotes, rescues, expires and prunes, without traffic and without cron."""

    def __init__(self, backend: SqlBackend, settings: Settings) -> None:
        super().__init__("janitor", min(settings.promote_interval, settings.janitor_interval))
        self._backend = backend
        self._intervals: dict[str, timedelta] = {
            "promote": settings.promote_interval,
            "rescue": settings.janitor_interval,
            "expire": settings.janitor_interval,
        }

    def tick(self) -> dict[str, int]:
        """Does what is due and nobody else took; gives how many jobs each duty moved."""
        return maintenance.tick(self._backend, self._intervals)
