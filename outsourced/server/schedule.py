"""What the app says of rate limits, of schedules, and of how long results are kept: ours, and Celery's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from flask import Flask

from outsourced.app.periodic import Entry
from outsourced.conf import Conf
from outsourced.errors import ConfigurationError
from outsourced.registry import registry
from outsourced.schedules import zone_named
from outsourced.server.celery_app import celery_of
from outsourced.server.config import Settings
from outsourced.signals import beat_init
from outsourced.sql import limits, recurring
from outsourced.sql.backend import SqlBackend
from outsourced.sql.retention import RETENTION, Retention


def declare(app: Flask, backend: SqlBackend, settings: Settings) -> None:
    """Declares the tasks' rate limits, OUTSOURCED_BEAT_SCHEDULE and what recurs in the app of Celery's shape.

    Where neither of the two is there, nothing is said of schedules, and nothing changes. Raises
    ConfigurationError.
    """
    celery = celery_of(app)
    if celery is not None:
        celery.finalize()
    limits.declare(backend, dict(_rate_limits(None if celery is None else celery.conf)))
    if celery is None and settings.beat_schedule is None:
        return
    entries = {} if celery is None else {entry.name: entry for entry in celery.periodic_tasks}
    entries |= {name: Entry.read(name, entry) for name, entry in (settings.beat_schedule or {}).items()}
    zone = settings.timezone if celery is None else _zone(str(celery.conf.zone), settings)
    beat_init.send(celery)
    recurring.declare(backend, list(entries.values()), zone=zone, declared_by=app.name)


def _rate_limits(conf: Conf | None) -> Iterator[tuple[str, str | float | None]]:
    """Each task's own, or else the app's `task_default_rate_limit`."""
    default = None if conf is None else conf["task_default_rate_limit"]
    for name in registry:
        own = registry[name].rate_limit
        yield name, default if own is None else own


def _zone(of_celery: str, settings: Settings) -> str:
    if of_celery == "UTC":
        return settings.timezone
    try:
        zone_named(of_celery)
    except ValueError as error:
        raise ConfigurationError(f"timezone: {error}") from error
    return of_celery


def retention_of(app: Flask, settings: Settings) -> Retention:
    """OUTSOURCED_RETENTION; of results, where that is left as it is, Celery's `result_expires`."""
    celery = celery_of(app)
    kept = None if celery is None else celery.conf.results_kept_for
    if kept is None or settings.retention.results != RETENTION.results:
        return settings.retention
    return replace(settings.retention, results=kept)
