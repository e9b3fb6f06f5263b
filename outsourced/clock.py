"""The wall clock, read here and nowhere else.

Leases, due times and history go by the *database's* clock; this one is for the rest.
"""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def parse(text: str) -> datetime:
    """An ISO 8601 moment as an aware UTC datetime; raises ValueError, also for one without an offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset")
    return moment.astimezone(UTC)


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC; a naive one is taken as UTC, as Celery takes it with `enable_utc`."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
