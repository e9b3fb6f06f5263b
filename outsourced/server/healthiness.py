"""What `healthz` says: whether this process reaches its database and files, and whether duties are done."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from outsourced.errors import BackendUnavailable, StorageMismatch
from outsourced.server.services import Services
from outsourced.sql import installation, storage_mark

#: ticks of the janitor that may be missed
MISSED_TICKS = 3


@dataclass(slots=True)
class Health:
    """What was found; green without any trouble."""

    last_tick: datetime | None = None
    last_tick_age: float | None = None  #: seconds
    troubles: list[str] = field(default_factory=list)

    @property
    def is_green(self) -> bool:
        return not self.troubles

    def tree(self) -> dict[str, Any]:
        """As it is answered, to anybody: it names no hosts and no places."""
        return {
            "status": "green" if self.is_green else "red",
            "troubles": self.troubles,
            "last_tick": self.last_tick and self.last_tick.isoformat(),
            "last_tick_age": self.last_tick_age,
        }


def examine(services: Services) -> Health:
    """Looks at database, duties and storage; raises ConfigurationError where nothing is set up."""
    health = Health()
    try:
        _look_at_duties(services, health)
    except BackendUnavailable:
        health.troubles.append("the database cannot be reached")
        return health
    try:
        storage_mark.require(services.backend)
    except StorageMismatch as error:
        health.troubles.append(str(error))
    except BackendUnavailable:
        health.troubles.append("the storage of files cannot be reached")
    return health


def _look_at_duties(services: Services, health: Health) -> None:
    health.last_tick = installation.read(services.database).alive_at
    with services.database.connect() as connection:
        now = services.database.now(connection)
    if health.last_tick is None:
        health.troubles.append("no server has done the background duties yet")
        return
    health.last_tick_age = (now - health.last_tick).total_seconds()
    allowed = MISSED_TICKS * services.settings.janitor_interval.total_seconds()
    if health.last_tick_age > allowed:
        health.troubles.append(
            f"nobody has done the background duties for {health.last_tick_age:.0f} s: serving processes do "
            "where they may have threads, and so does `flask outsourcer maintain`"
        )
